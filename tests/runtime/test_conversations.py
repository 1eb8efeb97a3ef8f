"""Turn after turn on one cache: what is cached stays, each turn is pruned by its own plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch

from swiftprof.errors import SwiftprofError
from swiftprof.methods.base import Method
from swiftprof.methods.view import StageView
from swiftprof.runtime.cache import cached_keys
from swiftprof.runtime.prune import prune
from tests.helpers.masked import masked_logits

IMAGE = 127
THREE = ((3, 0.5, 0.1), (5, 0.3, 0.1), (7, 0.1))
OTHER = ((2, 0.3, 0.1), (6, 0.2))
PLANS = {
    "swiftvlm": (THREE, {}),
    "swiftvlm first before": (THREE, {"first": "before"}),
    "drop": (((2, 0.5), (5, 0.25)), {}),
    "merge": (((3, 0.4, 0.2), (6, 0.2, 0.1)), {}),
}
PEERS = {
    "fastv": (((2, 0.4),), {}),
    "fastv all": (((2, 0.4),), {"queries": "all"}),
    "pdrop": (((3, 0.5), (6, 0.3)), {}),
    "sparsevlm": (((3, 0.5, 0.03), (6, 0.3, 0.03)), {}),
    "feather": (((3, 0.5), (6, 0.3)), {}),
    "visionzip": (((0, 0.3, 0.1),), {}),
    "random": (((2, 0.5), (5, 0.25)), {}),
    "uniform": (((2, 0.5), (5, 0.25)), {}),
}


def a_plan(plan_of: Any, name: str) -> Any:
    stages, options = {**PLANS, **PEERS}[name]
    return plan_of(*stages, method=name.split()[0], **options)


def text(n: int, seed: int) -> torch.Tensor:
    return torch.randint(2, 120, (n,), generator=torch.Generator().manual_seed(seed))


def turns(row: int) -> list[torch.Tensor]:
    """A system prompt, a turn with an image, one of text, one with another image."""
    image, lengths = torch.full((36,), IMAGE), ((4, 3, 5, 2), (7, 2, 3, 6))[row]
    a, b, c, d = (text(n, 10 * row + i) for i, n in enumerate(lengths))
    return [a, torch.cat([b, image, c]), d, torch.cat([c, image, b, a])]


def pixels(row: int, number: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(40 + 2 * row + number)
    return torch.randn(1, 3, 24, 24, generator=generator)


def padded(parts: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of a turn, padded on the left."""
    width = max(map(len, parts))
    ids = torch.stack([torch.cat([torch.zeros(width - len(p)).long(), p]) for p in parts])
    mask = torch.stack([torch.arange(width) >= width - len(p) for p in parts]).long()
    return ids, mask


@torch.no_grad()
def talk(model: Any, plans: list[Any], rows: tuple[int, ...]) -> list[list[torch.Tensor]]:
    """Every turn on one cache, each in a block of its own: logits of each row's tokens, by turn."""
    cache, masks, said = None, [], []
    for number, plan in enumerate(plans):
        parts = [turns(row)[number] for row in rows]
        ids, mask = padded(parts)
        masks.append(mask)
        whole = torch.cat(masks, 1)
        positions = (whole.cumsum(1) - 1).clamp_min(0)[:, -ids.shape[1] :]
        given: dict[str, Any] = {"input_ids": ids, "attention_mask": whole}
        if number in (1, 3):
            given["pixel_values"] = torch.cat([pixels(row, number // 2) for row in rows])
        with prune(model, plan):
            out = model(**given, position_ids=positions, past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        said.append([out.logits[r, -len(p) :] for r, p in enumerate(parts)])
    return said


@pytest.mark.parametrize("attn", ["sdpa", "eager"])
@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("changed", [True, False], ids=["another plan", "no pruning"])
def test_a_conversation_equals_the_masked_model(
    llava: Any, plan_of: Any, name: str, attn: str, changed: bool
) -> None:
    """The last turn has another plan, or none that prunes, and comes in a block of its own."""
    llava.set_attn_implementation(attn)
    plan = a_plan(plan_of, name)
    other = plan_of(*OTHER) if changed else plan_of(method="vanilla")
    together = talk(llava, [plan, plan, other, other], (0, 1))
    for row in (0, 1):
        parts = turns(row)
        inputs = {
            "input_ids": torch.cat(parts)[None],
            "pixel_values": torch.cat([pixels(row, 0), pixels(row, 1)]),
        }
        ends = torch.tensor([len(p) for p in parts]).cumsum(0) - 1
        plans = [plan, plan, other, other]
        expected = masked_logits(llava, inputs, plans, ends.tolist(), {IMAGE})
        for number, end in enumerate(ends.tolist()):
            got = together[number][row]
            wanted = expected[end + 1 - len(got) : end + 1]
            # Dropped image tokens have no logits; text tokens do.
            here = parts[number] != IMAGE
            assert (got[here] - wanted[here]).abs().max() < 2e-4, number


@pytest.mark.parametrize("name", PEERS)
def test_rows_with_different_histories_are_what_they_are_alone(
    llava: Any, plan_of: Any, name: str
) -> None:
    plans = [a_plan(plan_of, name)] * 4
    together = talk(llava, plans, (0, 1))
    for row in (0, 1):
        alone = talk(llava, plans, (row,))
        for number in range(4):
            here = turns(row)[number] != IMAGE
            assert (together[number][row] - alone[number][0])[here].abs().max() < 5e-4


@pytest.mark.parametrize("name", [*PLANS, *PEERS])
def test_keeping_everything_on_a_filled_cache_is_vanilla(
    llava: Any, plan_of: Any, name: str
) -> None:
    if name == "visionzip":
        pytest.skip("it always adds the CLS token")
    stages, options = {**PLANS, **PEERS}[name]
    everything = [(layer, 1.0) for layer, *_ in stages]
    plan = plan_of(*everything, method=name.split()[0], **options)
    vanilla = talk(llava, [plan_of(method="vanilla")] * 4, (0, 1))
    for ours, theirs in zip(talk(llava, [plan] * 4, (0, 1)), vanilla, strict=True):
        for row in (0, 1):
            assert torch.equal(ours[row], theirs[row])


@pytest.mark.parametrize("name", [*PLANS, *PEERS])
def test_the_whole_conversation_may_be_given_again(llava: Any, plan_of: Any, name: str) -> None:
    """generate() skips what the cache holds, by what its first layer says."""
    plan, parts = a_plan(plan_of, name), turns(0)
    options = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False}
    options |= {"return_dict_in_generate": True, "output_logits": True}
    with prune(llava, plan):
        first = llava.generate(input_ids=parts[1][None], pixel_values=pixels(0, 0), **options)
        more = torch.cat([first.sequences, parts[2][None]], 1)
        again = llava.generate(input_ids=more, past_key_values=first.past_key_values, **options)
        with torch.no_grad():
            cache = llava(input_ids=parts[1][None], pixel_values=pixels(0, 0)).past_key_values
            out = llava(input_ids=more[:, len(parts[1]) :], past_key_values=cache)
    assert (again.logits[0] - out.logits[:, -1]).abs().max() < 1e-4
    assert again.sequences.shape[1] == more.shape[1] + 4


@pytest.mark.parametrize("name", [*PLANS, *PEERS])
def test_a_picture_in_a_later_turn_of_generate(llava: Any, plan_of: Any, name: str) -> None:
    """A cached system prompt, as chat agents have it, and the picture behind it."""
    plan, parts = a_plan(plan_of, name), turns(0)
    options = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False}
    options |= {"return_dict_in_generate": True, "output_logits": True}
    both = torch.cat(parts[:2])[None]
    with prune(llava, plan), torch.no_grad():
        cache = llava(input_ids=parts[0][None]).past_key_values
        out = llava.generate(
            input_ids=both, pixel_values=pixels(0, 0), past_key_values=cache, **options
        )
        cache = llava(input_ids=parts[0][None]).past_key_values
        plain = llava(input_ids=parts[1][None], pixel_values=pixels(0, 0), past_key_values=cache)
    assert (out.logits[0] - plain.logits[:, -1]).abs().max() < 1e-4


def test_a_plan_without_stages_goes_on_with_a_pruned_cache(llava: Any, plan_of: Any) -> None:
    parts, plan = turns(0), plan_of(*THREE)
    first = {"input_ids": parts[1][None], "pixel_values": pixels(0, 0)}
    steps = []
    for second in (plan, plan_of((2, 0.3), method="drop"), plan_of(method="vanilla")):
        with prune(llava, plan), torch.no_grad():
            cache = llava(**first).past_key_values
        with prune(llava, second), torch.no_grad():
            out = llava(input_ids=parts[2][None], past_key_values=cache)
            steps.append(out.logits)
    assert torch.equal(steps[0], steps[1])
    assert torch.equal(steps[0], steps[2])


@dataclass(frozen=True)
class Unrotated(Method):
    """Judges without RoPE, over all keys."""

    def scores(self, view: StageView) -> torch.Tensor:
        return view.attention(rope=False)


def test_what_a_filled_cache_cannot_do_is_said(llava: Any, plan_of: Any) -> None:
    parts = turns(0)
    picture = {"input_ids": parts[1][None], "pixel_values": pixels(0, 0)}
    with prune(llava, plan_of((3, 0.5), method=f"{__name__}:Unrotated")), torch.no_grad():
        cache = llava(input_ids=parts[0][None]).past_key_values
        with pytest.raises(SwiftprofError, match=r"without RoPE.*take another method"):
            llava(**picture, past_key_values=cache)
    with prune(llava, plan_of(*THREE)), torch.no_grad():
        cache = llava(**picture).past_key_values
        with pytest.raises(SwiftprofError, match="its tokens are none of the image's"):
            llava(input_ids=parts[2][None], pixel_values=pixels(0, 0), past_key_values=cache)


def test_keys_that_are_kept_in_another_form_are_not_judged_by(llava: Any) -> None:
    """As a quantised cache has them: the length is there, the keys are elsewhere."""
    with torch.no_grad():
        cache = llava(input_ids=turns(0)[0][None]).past_key_values
    assert cached_keys(cache, 2).shape[2] == len(turns(0)[0])
    cache.layers[2].get_seq_length = lambda: 9
    with pytest.raises(SwiftprofError, match="whose keys are not kept"):
        cached_keys(cache, 2)
