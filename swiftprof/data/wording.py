"""The sentences of prompts. They are matched to the character by tests: models notice."""

from __future__ import annotations

SHORT_ANSWER = "\nAnswer the question using a single word or phrase."
OPTION_LETTER = "\nAnswer with the option's letter from the given choices directly."

_BOX = "Please provide the bounding box coordinate of the region this sentence describes: "
_BOX_FORMAT = (
    "Bounding box coordinates are specified in the format (top-left x, top-left y, bottom-right x, "
    "bottom-right y). All values are floating point numbers bounded between 0 and 1. "
)


def box_prompt(expression: str, style: str) -> str:
    """Ask for the box of what an expression refers to."""
    if style == "scenes":
        return f"Where is {expression}?"
    if style == "qwen2.5":
        return f"Locate {expression} in this image and output the bbox coordinates in JSON format."
    if style == "qwen3":
        return (
            f'Locate every object that matches the description "{expression}" in the image. '
            "Report bbox coordinates in JSON format."
        )
    if style == "internvl":
        return f"{_BOX}<ref>{expression}</ref>"
    return (_BOX_FORMAT if style == "lmms" else "") + _BOX + expression


def lettered(choices: tuple[str, ...]) -> str:
    """Options as lines ``A. …``."""
    return "\n".join(f"{chr(ord('A') + i)}. {choice}" for i, choice in enumerate(choices))
