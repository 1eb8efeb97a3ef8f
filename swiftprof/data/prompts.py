"""How long the prompts of some samples are, once a model's processor has made them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from swiftprof.data.asking import ask_all
from swiftprof.data.base import Dataset
from swiftprof.errors import SwiftprofError
from swiftprof.models.loading import VLM

LOOKED_AT = 16
"""Samples of each set; questions of a set are of a kind."""


def prompt_sizes(
    vlm: VLM, draws: Iterable[tuple[Dataset, str, Sequence[int]]]
) -> tuple[float, float]:
    """Visual and other tokens of a prompt, averaged over the first samples of each set.

    FLOPs that are asked for are those of the prompts that are run, so a budget in FLOPs is solved
    with these numbers.

    Args:
        vlm: the model.
        draws: data set, split and the samples that will be run.

    Raises:
        SwiftprofError: no sample can be used.
    """
    sizes = []
    for dataset, split, indices in draws:
        samples, _ = ask_all(dataset, split, indices[:LOOKED_AT], vlm)
        for sample in samples:
            given = vlm.inputs([sample.images], [sample.question])
            visual = int((given["input_ids"] == vlm.image_token_id).sum())
            sizes.append((visual, int(given["attention_mask"].sum()) - visual))
    if not sizes:
        raise SwiftprofError("none of the samples can be used; see swiftprof data")
    return (
        sum(visual for visual, _ in sizes) / len(sizes),
        sum(text for _, text in sizes) / len(sizes),
    )
