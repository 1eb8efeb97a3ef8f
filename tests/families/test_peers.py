"""The published methods in every family where they are defined, and a reason where they are not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from swiftprof.errors import SwiftprofError
from swiftprof.runtime.decoder import locate
from swiftprof.runtime.prune import prune
from swiftprof.runtime.trace import Trace

PEERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("fastv", {}),
    ("fastv", {"queries": "all"}),
    ("pdrop", {}),
    ("pdrop", {"positions": "kept"}),
    ("sparsevlm", {}),
    ("sparsevlm", {"positions": "kept"}),
    ("merge", {}),
    ("swiftvlm", {"first": "before", "spread": 0.35}),
    ("sparsevlm-plus", {}),
    ("dart", {}),
    ("divprune", {}),
    ("divprune", {"positions": "kept"}),
    ("cdpruner-embeddings", {"positions": "kept"}),
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
    merge = 0.05 if method in ("sparsevlm", "merge", "swiftvlm") else 0.0
    plan = plan_of(
        (4, 0.5, merge), (6, 0.3, 0.0 if method == "swiftvlm" else merge), method=method, **options
    )
    plan.model = SimpleNamespace(num_layers=len(locate(case.model).layers))
    compacts = method in ("pdrop", "sparsevlm", "divprune") and not options
    if compacts and locate(case.model).mrope:
        with pytest.raises(SwiftprofError, match=r"three dimensions.*options.positions to 'kept'"):
            prune(case.model, plan)
        return
    together = logits(case, (0, 1), plan)
    for place, row in enumerate((0, 1)):
        assert (together[place] - logits(case, (row,), plan)[0]).abs().max() < 5e-4


@pytest.mark.parametrize("name", ["visionzip", "vispruner", "hiprune"])
def test_methods_of_the_tower_run_on_llava_and_say_why_not_elsewhere(
    case: Any, plan_of: Any, name: str
) -> None:
    plan = plan_of((0, 0.2, 0.1 if name == "visionzip" else 0.0), method=name)
    plan.model = SimpleNamespace(num_layers=len(locate(case.model).layers))
    if case.model.config.model_type == "llava":
        together = logits(case, (0, 2), plan)
        assert (together[1] - logits(case, (2,), plan)[0]).abs().max() < 5e-4
        with pytest.raises(SwiftprofError, match="one image each"):
            logits(case, (1,), plan)
        return
    with pytest.raises(SwiftprofError, match=rf"{name}'.*choose another method"):
        prune(case.model, plan)


def test_feather_takes_the_grid_that_an_image_has(case: Any, plan_of: Any) -> None:
    """Rows and columns of each image; a family that cuts images into tiles has none."""
    plan = plan_of((4, 0.5), method="feather", stride=100)
    if case.model.config.model_type not in ("llava", "qwen2_vl", "qwen2_5_vl", "qwen3_vl"):
        with pytest.raises(SwiftprofError, match="cuts images into tiles"):
            prune(case.model, plan)
        return
    inputs, trace = case.batch(1), Trace()
    n = int(case.visual(inputs).sum())
    plan = plan_of((4, 2 / n), method="feather", stride=100)
    with prune(case.model, plan, on_stage=trace), torch.no_grad():
        case.model(**inputs)
    # With so wide a stride each of the two images keeps its first token, wherever that is.
    ids = case.visual(inputs)[0]
    first = [s for s in range(1, len(ids)) if ids[s] and not ids[s - 1]]
    places = [int(ids[:s].sum()) for s in first] if len(first) == 2 else [0, n // 2]
    assert trace.prefills[0].kept(0, 0) == places


def test_feather_knows_rows_of_an_image_that_is_no_square(build: Any, plan_of: Any) -> None:
    """36 tokens of 4 rows and 9 columns are no image of 6 x 6."""
    from PIL import Image

    case = build("qwen2_vl")
    picture = Image.effect_noise((72, 32), 50).convert("RGB")
    inputs = case.vlm.inputs([[picture]], ["w1 w2"])
    grid = inputs["image_grid_thw"][0].tolist()
    rows, columns = grid[1] // 2, grid[2] // 2
    assert (rows, columns) == (4, 9)
    trace, wanted = Trace(), [9 * r + c for r in (0, 3) for c in (0, 3, 6)]
    with (
        prune(case.model, plan_of((3, 6 / 36), method="feather"), on_stage=trace),
        torch.no_grad(),
    ):
        case.model(**inputs)
    assert trace.prefills[0].kept(0, 0) == wanted


def test_images_of_different_sizes_get_what_they_are_worth(case: Any, plan_of: Any) -> None:
    plan, inputs, trace = plan_of((4, 0.25), method="drop", per="image"), case.batch(1), Trace()
    with prune(case.model, plan, on_stage=trace), torch.no_grad():
        case.model(**inputs)
    visual = case.visual(inputs)[0].tolist()
    runs, number = [], -1
    for slot, here in enumerate(visual):
        number += here and not visual[slot - 1]
        if here:
            runs.append(number)
    if case.name == "llava":
        runs = [place // 36 for place in range(len(runs))]
    kept = [runs[place] for place in trace.prefills[0].kept(0, 0)]
    for run in set(runs):
        assert abs(kept.count(run) - len(kept) * runs.count(run) / len(runs)) < 1
