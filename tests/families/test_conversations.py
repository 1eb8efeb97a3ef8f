"""A picture in a later turn, on a cache that holds earlier turns, in every family."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from swiftprof.runtime.prune import prune
from tests.families.conftest import PICTURES
from tests.helpers.masked import masked_logits

PLANS = {
    "swiftvlm": ((4, 0.5, 0.1), (6, 0.3, 0.1), (8, 0.1)),
    "drop": ((3, 0.5), (5, 0.3), (8, 0.1)),
}
ROWS = (3, 0, 2)  # a system prompt of text, then a picture, then another one


def seen_by_text(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """Positions that the model itself gives the whole conversation."""
    seen = []

    def note(_: Any, args: Any, kwargs: Any) -> None:
        seen.append(kwargs.get("position_ids"))

    handle = model.get_decoder().register_forward_pre_hook(note, with_kwargs=True)
    with torch.no_grad():
        model(**inputs, use_cache=False)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("name", PLANS)
def test_pictures_on_a_filled_cache_equal_the_masked_model(
    case: Any, plan_of: Any, name: str
) -> None:
    plan, model = plan_of(*PLANS[name], method=name), case.model
    parts = [case.batch(row) for row in ROWS]
    # OneVision cuts several images of one prompt less finely: there they come from two prompts.
    one = case.vlm.inputs([PICTURES[0] + PICTURES[2]], ["w1"])
    whole = case.batch(0, 2) if case.name == "llava_onevision" else one
    for key in ("input_ids", "attention_mask", "mm_token_type_ids"):
        if key in whole:
            rows = [p.get(key, torch.zeros_like(p["input_ids"])) for p in parts]
            whole[key] = torch.cat(rows, 1)
    positions = seen_by_text(model, whole)
    ends = torch.tensor([p["input_ids"].shape[1] for p in parts]).cumsum(0).tolist()

    cache, start, got = None, 0, []
    with prune(model, plan), torch.no_grad():
        for part, end in zip(parts, ends, strict=True):
            given = {**part, "attention_mask": whole["attention_mask"][:, :end]}
            if positions is not None:
                given["position_ids"] = positions[..., start:end]
            out = model(**given, past_key_values=cache, use_cache=True)
            cache, start = out.past_key_values, end
            got.append(out.logits[0, -1])
    image = {case.vlm.image_token_id}
    last = [end - 1 for end in ends]
    expected = masked_logits(model, whole, [plan] * 3, last, image)
    for number, end in enumerate(last):
        assert (got[number] - expected[end]).abs().max() < 5e-4, number
    plain = masked_logits(model, whole, [plan_of()] * 3, last, image)
    assert (got[2] - plain[last[2]]).abs().max() > 0.02
