"""How a family of models wants to be asked: prompts, the fit of images, the units of boxes.

Data sets read this and nothing else of a model, so one data set serves every family. Each family
says its own (`swiftprof.models.families`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PromptStyle = Literal[
    "llava", "llava-eval", "lmms", "qwen2", "qwen2.5", "qwen3", "internvl", "scenes"
]
"""Wording of prompts.

llava: as LLaVA was trained. llava-eval: the same with the system prompt of LLaVA's ``vicuna_v1``,
which its own evaluation has and the processor's template lacks. lmms: as lmms-eval asks every
model. qwen2, qwen2.5, qwen3, internvl: for boxes, the words that their authors use (their other
prompts are lmms-eval's). scenes: for boxes, the bundled model's "Where is …?".
"""

ImageFit = Literal["pad", "crop", "whole"]
"""What the model sees of an image that is not square.

pad: swiftprof pads it to a square with ``pad_color`` before the processor gets it, and boxes are
relative to that square. crop: the processor cuts the centre square out, and boxes are relative to
it. whole: the processor shows all of it, resized or in tiles, and boxes are relative to the image.
"""

BoxUnits = Literal["unit", "thousandths", "pixels"]
"""Coordinates in 0..1, in 0..1000, or in pixels of the image as the processor resized it
(``VLM.seen_size`` tells its size)."""

LLAVA_STYLES = ("llava", "llava-eval")
VICUNA_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions."
)


@dataclass(frozen=True)
class Conventions:
    """What a model was trained to expect. Boxes are always ``[x1, y1, x2, y2]``.

    Attributes:
        pad_color: RGB of the padding; LLaVA takes the mean colour of its image processor.
    """

    prompt_style: PromptStyle = "llava"
    image_fit: ImageFit = "whole"
    pad_color: tuple[int, int, int] = (122, 116, 104)
    box_units: BoxUnits = "unit"

    @property
    def system(self) -> str:
        """System prompt that comes before the question; empty for the template's own."""
        return VICUNA_SYSTEM if self.prompt_style == "llava-eval" else ""
