"""Two scenes in one prompt, one of which the question is about: who gets a stage's tokens?

    PYTHONPATH=. swiftprof eval --methods vanilla,swiftvlm,swiftvlm:per=image --ratio 1/3,1/6 \
        --datasets benchmarks.two_images:Signs,benchmarks.two_images:Things \
        --samples 60 --out two-images

The other scene belongs to a sample of its own; it comes first or second in turn. The kinds of the
tables say which place the scene in question has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from swiftprof.data.base import Sample
from swiftprof.data.scenes import SPLITS, ScenesQA, ScenesText


class _TwoScenes:
    def sample(self, split: str, index: int) -> Sample:
        """A sample of the set with the next sample's scene beside its own."""
        asked = super().sample(split, index)  # type: ignore[misc]
        other = super().sample(split, (index + 1) % SPLITS[split]).image  # type: ignore[misc]
        if index % 2:
            return replace(asked, image=other, others=(asked.image,), kind="second")
        return replace(asked, others=(other,), kind="first")


class Signs(_TwoScenes, ScenesText):
    """Read a sign on one of two scenes."""

    name = "two-signs"
    description = "two synthetic scenes: read the three letters on a sign of one"


class Things(_TwoScenes, ScenesQA):
    """Colour and shape of a thing on one of two scenes."""

    name = "two-things"
    description = "two synthetic scenes: colour and shape of a thing in one"
    mix: Mapping[str, float] = {"color": 1.0, "shape": 1.0, "color-rel": 1.0, "shape-rel": 1.0}
