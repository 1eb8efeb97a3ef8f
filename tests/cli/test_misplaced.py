"""A thing of one kind given where another is meant is recognised, and said where it belongs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from swiftprof.models.registry import find_model
from swiftprof.tiny import bundled_profiles

Run = Callable[..., Any]
ASK = ("run", "--prompt", "x", "--image")


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("plan", "https://huggingface.co/a/b"), "a web address"),
        (("plan", "llava-hf/llava-1.5-7b-hf"), "id on the hub, which goes with --model"),
        (("plan", "plan.json"), "a plan: give it with --plan"),
        (("profile", "--model", "data.csv"), "a data file: give it with --datasets"),
        (("profile", "--model", "plan.json"), "a plan: give it with --plan"),
        ((*ASK, "plan.json"), "a plan: give it with --plan"),
        ((*ASK, "https://x.org/a.png"), "a web address"),
        (("run", "--plan", "scene.png"), "a picture: give it with --image"),
        (("run", "--plan", "PROFILE"), "a profile folder: give it with --profile"),
        (("eval", "--profile", "MODEL"), "a model's folder: give it with --model"),
        (("plan", "hf://nobody"), "must be hf://owner/name"),
    ],
)
def test_what_belongs_elsewhere_is_recognised(
    swiftprof: Run, arguments: tuple[str, ...], wanted: str
) -> None:
    Path("plan.json").write_text("{}")
    places = {
        "PROFILE": str(bundled_profiles()["tiny-llava"]),
        "MODEL": find_model("tiny-llava").location,
    }
    assert wanted in swiftprof(*(places.get(each, each) for each in arguments)).complaint


def test_the_models_own_mark_in_a_question_is_refused(swiftprof: Run) -> None:
    result = swiftprof("run", "--image", "scene-1", "--prompt", "what is <image> this?")
    assert result.code == 2
    assert "the question holds <image>" in result.err
