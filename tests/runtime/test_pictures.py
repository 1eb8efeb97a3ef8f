"""Several images in one prompt: each its share, and each its own grid."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from swiftprof.core.select import rank_by_picture
from swiftprof.errors import SwiftprofError
from swiftprof.runtime.prune import prune
from swiftprof.runtime.trace import Trace

IMAGE = 127


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(0, 999))
def test_pictures_take_turns_by_their_size(sizes: list[int], seed: int) -> None:
    """Every prefix of the ranking is Webster's apportionment, each picture best first."""
    total = sum(sizes)
    scores = torch.rand(1, total + 2, generator=torch.Generator().manual_seed(seed))
    candidates = torch.ones(1, total + 2, dtype=torch.bool)
    candidates[0, [0, -1]] = False
    picture = torch.full((1, total + 2), -1)
    picture[0, 1:-1] = torch.cat([torch.full((n,), k) for k, n in enumerate(sizes)])
    size = torch.zeros_like(picture)
    size[0, 1:-1] = torch.cat([torch.full((n,), n) for n in sizes])
    order = rank_by_picture(scores, candidates, picture, size)[0].tolist()
    assert sorted(order) == list(range(total + 2))
    assert set(order[-2:]) == {0, total + 1}

    seats = [0] * len(sizes)
    best = {
        k: sorted(
            (c for c in range(1, total + 1) if picture[0, c] == k), key=lambda c: -scores[0, c]
        )
        for k in range(len(sizes))
    }
    for column in order[:-2]:
        claims = [
            ((seats[k] + 0.5) / n, best[k][seats[k]]) for k, n in enumerate(sizes) if seats[k] < n
        ]
        when = {k: (seats[k] + 0.5) / n for k, n in enumerate(sizes) if seats[k] < n}
        own = int(picture[0, column])
        assert when[own] == pytest.approx(min(claims)[0])
        assert column == best[own][seats[own]]
        seats[own] += 1


def two_images(first: float = 1.0) -> dict[str, torch.Tensor]:
    """A prompt with two images right behind each other, and text."""
    generator = torch.Generator().manual_seed(3)
    text = torch.randint(2, 120, (14,), generator=generator)
    image = torch.full((36,), IMAGE)
    pixels = torch.randn(2, 3, 24, 24, generator=generator)
    pixels[0] *= first
    ids = torch.cat([text[:4], image, image, text[4:]])[None]
    return {"input_ids": ids, "pixel_values": pixels}


METHODS = {
    "swiftvlm": (((3, 0.5, 0.1), (5, 0.3, 0.1), (7, 0.125)), {}),
    "drop": (((2, 0.5), (5, 0.25)), {}),
    "merge": (((3, 0.4, 0.2), (6, 0.25, 0.1)), {}),
    "fastv": (((2, 0.25),), {}),
    "pdrop": (((3, 0.5), (6, 0.25)), {}),
    "feather": (((3, 0.5), (6, 0.25)), {}),
    "random": (((2, 0.5), (5, 0.25)), {}),
    "sparsevlm": (((3, 0.5, 0.03), (6, 0.25, 0.03)), {}),
    "uniform": (((2, 0.5), (5, 0.25)), {}),
}


@pytest.mark.parametrize("method", METHODS)
def test_each_image_gets_its_share(llava: Any, plan_of: Any, method: str) -> None:
    stages, options = METHODS[method]
    shares = {}
    for per in ("prompt", "image"):
        trace = Trace()
        plan = plan_of(*stages, method=method, per=per, **options)
        with prune(llava, plan, on_stage=trace), torch.no_grad():
            llava(**two_images())
        (prefill,) = trace.prefills
        going_on = [prefill.kept(j, 0) + prefill.merged(j, 0) for j in range(len(stages))]
        shares[per] = [sum(place < 36 for place in each) - len(each) / 2 for each in going_on]
        # What is merged stands where the best of the rest stood, so it may lean by one more.
        loose = 2 if any(len(s) > 2 for s in stages) else 0.5
        if per == "image":
            assert all(abs(more) <= loose for more in shares[per])
    if method not in ("random", "uniform", "sparsevlm", "feather"):
        assert max(map(abs, shares["prompt"])) > 0.5  # ranked together, one image has more


def test_with_one_image_nothing_changes(
    llava: Any, prompts: Any, plan_of: Any, generate: Any, logits_of: Any
) -> None:
    for method, (stages, options) in METHODS.items():
        together, each = (
            logits_of(
                generate(llava, prompts.batch(0, 1), plan_of(*stages, method=method, **given))
            )
            for given in ({**options, "per": "prompt"}, {**options, "per": "image"})
        )
        assert torch.equal(together, each), method


def test_rows_with_other_images_do_not_matter(llava: Any, prompts: Any, plan_of: Any) -> None:
    plan, two = plan_of((3, 0.4, 0.1), (6, 0.2), per="image"), two_images()
    width = two["input_ids"].shape[1]
    one = prompts.batch(0)
    ids, mask = torch.zeros(2, width).long(), torch.ones(2, width).long()
    ids[0], ids[1, width - 50 :] = two["input_ids"][0], one["input_ids"][0]
    mask[1, : width - 50] = 0
    pixels = torch.cat([two["pixel_values"], one["pixel_values"]])
    with prune(llava, plan), torch.no_grad():
        both = llava(input_ids=ids, attention_mask=mask, pixel_values=pixels).logits[:, -1]
        assert (both[0] - llava(**two).logits[0, -1]).abs().max() < 1e-4
        assert (both[1] - llava(**one).logits[0, -1]).abs().max() < 1e-4


def test_feather_lays_a_grid_over_each_image(llava: Any, plan_of: Any) -> None:
    """Two images of 6 x 6, not one of something: four tokens of a grid in each."""
    trace, plan = Trace(), plan_of((3, 8 / 72), method="feather")
    with prune(llava, plan, on_stage=trace), torch.no_grad():
        llava(**two_images())
    grid = [6 * row + column for row in (0, 3) for column in (0, 3)]
    assert trace.prefills[0].kept(0, 0) == grid + [36 + place for place in grid]


def test_options_that_mean_nothing_are_refused(llava: Any, plan_of: Any) -> None:
    with pytest.raises(SwiftprofError, match=r"options\.per"):
        prune(llava, plan_of((3, 0.5), per="picture"))
