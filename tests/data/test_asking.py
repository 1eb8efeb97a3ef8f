"""What a model is shown: the padded square reaches it whole, through its own processor."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from swiftprof.data.asking import ask
from swiftprof.data.base import Dataset, Sample
from swiftprof.data.registry import get_dataset
from swiftprof.data.wording import box_prompt
from swiftprof.errors import SwiftprofError
from swiftprof.models.conventions import Conventions

EDGE = {"left": (255, 0, 0), "right": (0, 255, 0), "top": (0, 0, 255), "bottom": (255, 255, 0)}


class Edges(Dataset):
    """One image with a coloured strip along two opposite edges."""

    name, description, metric, licence = "edges", "", "none", "ours"
    splits = {"train": 1}  # noqa: RUF012

    def __init__(self, size):
        self.image = Image.new("RGB", size, (0, 0, 0))
        width, height = size
        wide = width > height
        self.ends = ("left", "right") if wide else ("top", "bottom")
        strip = 20
        first = (0, 0, strip, height) if wide else (0, 0, width, strip)
        last = (width - strip, 0, width, height) if wide else (0, height - strip, width, height)
        for end, box in zip(self.ends, (first, last), strict=True):
            self.image.paste(EDGE[end], box)

    def sample(self, split, index):
        return Sample("0", self.image, "What is there?", ("x",))

    def score(self, prediction, sample):
        return 0.0


def seen(image):
    """The image as LLaVA-1.5's processor shows it: short edge resized, centre square cut out."""
    from transformers import CLIPImageProcessor

    processor = CLIPImageProcessor(
        size={"shortest_edge": 96}, crop_size={"height": 96, "width": 96}, do_center_crop=True
    )
    pixels = np.asarray(processor(image, return_tensors="np")["pixel_values"][0])
    return pixels.transpose(1, 2, 0) * processor.image_std + processor.image_mean


def shows(image, colour):
    return bool((np.abs(seen(image) - np.array(colour) / 255) < 0.2).all(-1).any())


@pytest.mark.parametrize("size", [(256, 128), (120, 252)])
def test_both_ends_of_a_long_image_reach_the_model(bundled, size):
    dataset = Edges(size)
    (padded,) = ask(dataset, dataset.sample("train", 0), bundled).images
    for end in dataset.ends:
        assert shows(padded, EDGE[end])
        assert not shows(dataset.image, EDGE[end])  # what happens to an image that is not padded


def test_square_samples_are_asked_as_they_are(bundled):
    dataset = get_dataset("scenes-ref")
    sample = dataset.sample("test", 0)
    asked = ask(dataset, sample, bundled)
    assert asked == replace(sample, style="scenes")
    assert asked.image is not None


def test_pixels_are_those_of_the_resized_image():
    class Resizing:
        conventions = Conventions(box_units="pixels")

        def seen_size(self, width, height):
            return width // 2, height * 3

    class Boxes(Edges):
        localization = True

        def sample(self, split, index):
            return Sample("0", self.image, "x", ("x",), box=(10.0, 10.0, 50.0, 60.0))

    dataset = Boxes((200, 100))
    frame = ask(dataset, dataset.sample("train", 0), Resizing()).frame
    assert frame.to_pixels((5.0, 30.0, 25.0, 180.0)) == pytest.approx((10, 10, 50, 60))


VICUNA = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions. USER: "
)


def test_the_evaluation_style_has_llavas_system_prompt_and_nothing_else(bundled):
    plain = replace(bundled, prompt_style="llava").prompt("Is it red?")
    assert plain.startswith("USER: ")
    assert replace(bundled, prompt_style="llava-eval").prompt("Is it red?") == (
        VICUNA + plain.removeprefix("USER: ")
    )


def test_the_evaluation_style_is_refused_for_other_families(bundled):
    from types import SimpleNamespace

    other = SimpleNamespace(config=SimpleNamespace(model_type="qwen2_vl"))
    with pytest.raises(SwiftprofError, match="llava-eval"):
        _ = replace(bundled, model=other, prompt_style="llava-eval").conventions


def test_the_bundled_model_is_asked_for_boxes_in_its_own_words(bundled):
    assert bundled.conventions.prompt_style == "scenes"
    assert box_prompt("the red star", "scenes") == "Where is the red star?"
