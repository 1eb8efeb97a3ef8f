"""How a family of models wants to be asked: prompts, the fit of images, the units of boxes.

Data sets read this and nothing else of a model, so one data set serves every family, and a family
is one line in ``CONVENTIONS``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast, get_args

from swiftprof.errors import BadParameter, did_you_mean

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

PROMPT_STYLES: tuple[str, ...] = get_args(PromptStyle)
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


CONVENTIONS: dict[str, Conventions] = {
    "llava": Conventions(image_fit="pad"),
    "llava_next": Conventions(),  # no publication says which frame its boxes have; the image's
    "llava_onevision": Conventions(),
    "qwen2_vl": Conventions(prompt_style="qwen2", box_units="thousandths"),
    "qwen2_5_vl": Conventions(prompt_style="qwen2.5", box_units="pixels"),
    "qwen3_vl": Conventions(prompt_style="qwen3", box_units="thousandths"),
    "qwen3_vl_moe": Conventions(prompt_style="qwen3", box_units="thousandths"),
    "internvl": Conventions(prompt_style="internvl", box_units="thousandths"),
    "smolvlm": Conventions(prompt_style="lmms"),
    "idefics3": Conventions(prompt_style="lmms"),
}
"""``config.model_type`` → conventions. The bundled model is a LLaVA too; its scenes are square, so
padding leaves them alone."""


def conventions_of(model_type: str) -> Conventions:
    """The conventions of a ``config.model_type``; the defaults for types not listed."""
    return CONVENTIONS.get(model_type, Conventions())


def check_prompt_style(name: str | None) -> PromptStyle | None:
    """The value of ``--prompt-style``. Raises SwiftprofError."""
    if name is not None and name not in PROMPT_STYLES:
        raise BadParameter("prompt_style", name, did_you_mean(name, PROMPT_STYLES))
    return cast("PromptStyle | None", name)
