"""The published methods in every family where they are defined, and a reason where they are not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from swiftprof.errors import SwiftprofError
from swiftprof.runtime.decoder import locate
from swiftprof.runtime.prune import prune

PEERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("fastv", {}),
    ("fastv", {"queries": "all"}),
    ("pdrop", {}),
    ("pdrop", {"positions": "kept"}),
    ("sparsevlm", {}),
    ("sparsevlm", {"positions": "kept"}),
    ("merge", {}),
)


@torch.no_grad()
def logits(case: Any, rows: tuple[int, ...], plan: Any) -> torch.Tensor:
    settings = {"max_new_tokens": 3, "min_new_tokens": 3, "do_sample": False}
    settings |= {"output_logits": True, "return_dict_in_generate": True}
    with prune(case.model, plan):
        return torch.stack(case.model.generate(**case.batch(*rows), **settings).logits, 1)


@pytest.mark.parametrize(("method", "options"), PEERS, ids=lambda value: str(value))
def test_rows_of_a_batch_are_what_they_are_alone(
    case: Any, plan_of: Any, method: str, options: dict[str, Any]
) -> None:
    merge = 0.05 if method in ("sparsevlm", "merge") else 0.0
    plan = plan_of((4, 0.5, merge), (6, 0.3, merge), method=method, **options)
    plan.model = SimpleNamespace(num_layers=len(locate(case.model).layers))
    compacts = method in ("pdrop", "sparsevlm") and not options
    if compacts and locate(case.model).mrope:
        with pytest.raises(SwiftprofError, match=r"three dimensions.*options.positions to 'kept'"):
            prune(case.model, plan)
        return
    together = logits(case, (0, 1), plan)
    for place, row in enumerate((0, 1)):
        assert (together[place] - logits(case, (row,), plan)[0]).abs().max() < 5e-4


def test_visionzip_runs_on_llava_and_says_why_not_elsewhere(case: Any, plan_of: Any) -> None:
    plan = plan_of((0, 0.2, 0.1), method="visionzip")
    plan.model = SimpleNamespace(num_layers=len(locate(case.model).layers))
    if case.model.config.model_type == "llava":
        together = logits(case, (0, 2), plan)
        assert (together[1] - logits(case, (2,), plan)[0]).abs().max() < 5e-4
        with pytest.raises(SwiftprofError, match="one image each"):
            logits(case, (1,), plan)
        return
    with pytest.raises(SwiftprofError, match=r"visionzip'.*choose another method"):
        prune(case.model, plan)
