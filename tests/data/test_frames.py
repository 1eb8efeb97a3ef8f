"""Boxes between a model's coordinates and pixels, and the padding that comes before."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from swiftprof.data.frames import frame_of, pad_to_square
from swiftprof.data.scoring.boxes import acc_at_half_in_pixels, iou, parse_box

SIZES = [(640, 480), (427, 640), (641, 480), (5, 4), (336, 336)]
RED, GROUND = (255, 0, 0), (122, 116, 104)


@pytest.mark.parametrize("size", SIZES)
def test_padding_centres_the_image_on_the_colour(size):
    square = pad_to_square(Image.new("RGB", size, RED), GROUND)
    side = max(size)
    assert square.size == (side, side)
    pixels = np.asarray(square)
    red = (pixels == RED).all(-1)
    left, top = (side - size[0]) // 2, (side - size[1]) // 2
    assert red[top : top + size[1], left : left + size[0]].all()
    assert red.sum() == size[0] * size[1]
    assert (pixels[~red] == GROUND).all()


def test_a_square_image_is_left_alone():
    image = Image.new("RGB", (84, 84))
    assert pad_to_square(image, GROUND) is image


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("units", ["unit", "thousandths", "pixels"])
@pytest.mark.parametrize("fit", ["pad", "whole"])
def test_a_box_that_is_drawn_is_found_again(size, units, fit):
    """Draw a box, look where it is on what the model is shown, write that down, read it back."""
    width, height = size
    box = (width // 5, height // 4, width // 5 + width // 2 + 1, height // 4 + height // 2)
    image = Image.new("RGB", size, (0, 0, 0))
    image.paste(RED, box)
    shown = pad_to_square(image, GROUND) if fit == "pad" else image
    rows, columns = np.nonzero((np.asarray(shown) == RED).all(-1))
    seen = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    resized = (shown.width * 2, shown.height * 3)
    scale = {
        "unit": (1 / shown.width, 1 / shown.height),
        "thousandths": (1000 / shown.width, 1000 / shown.height),
        "pixels": (resized[0] / shown.width, resized[1] / shown.height),
    }[units]
    said = [seen[0] * scale[0], seen[1] * scale[1], seen[2] * scale[0], seen[3] * scale[1]]
    frame = frame_of(size, fit, units, resized if units == "pixels" else None)
    assert frame.to_pixels(tuple(said)) == pytest.approx(box)
    text = "[" + ", ".join(f"{v:.4f}" for v in said) + "]"
    assert acc_at_half_in_pixels(text, tuple(map(float, box)), frame) == 1.0


def test_the_centre_crop_of_a_wide_image():
    frame = frame_of((640, 480), "crop", "unit")
    assert frame.to_pixels((0.0, 0.0, 1.0, 1.0)) == (80, 0, 560, 480)
    assert frame_of((480, 640), "crop", "unit").to_pixels((0, 0, 1, 1)) == (0, 80, 480, 560)


def test_forgetting_to_unpad_loses_answers():
    """The reason for frames: a perfect answer on the padded square, read as if on the image."""
    box, size = (120.0, 60.0, 220.0, 110.0), (640, 427)
    side, top = 640, (640 - 427) // 2
    said = [box[0] / side, (box[1] + top) / side, box[2] / side, (box[3] + top) / side]
    text = f"[{', '.join(f'{v:.2f}' for v in said)}]"
    assert acc_at_half_in_pixels(text, box, frame_of(size, "pad", "unit")) == 1.0
    assert acc_at_half_in_pixels(text, box, frame_of(size, "whole", "unit")) == 0.0


def test_boxes_are_clipped_to_the_image():
    frame = frame_of((640, 480), "pad", "unit")
    assert frame.to_pixels((-1.0, 0.0, 2.0, 0.5)) == (0, 0, 640, 240)
    assert frame.to_pixels((0.0, 0.0, 1.0, 0.1)) is None  # all of it lies on the padding


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ('```json\n[{"bbox_2d": [10, 20, 110, 220], "label": "x"}]\n```', (10, 20, 110, 220)),
        ("<box>[[100, 200, 300, 400]]</box>", (100, 200, 300, 400)),
        ("[-0.02, 0.1, 0.5, 0.6]", (-0.02, 0.1, 0.5, 0.6)),
        ("[0.1, 0.2, 0.3, 0.4, 0.5]", None),
        ("[" + "9" * 400 + ", 0, 1, 1]", None),
        ("[0.5, 0.5, 0.1, 0.1] or [0.1, 0.1, 0.5, 0.5]", None),  # the first counts
        ("(0.1, 0.2, 0.3, 0.4)", (0.1, 0.2, 0.3, 0.4)),
    ],
)
def test_boxes_in_the_forms_that_models_use(text, box):
    assert parse_box(text) == box


@given(st.text(max_size=80) | st.lists(st.floats(), min_size=4, max_size=4).map(str))
def test_no_text_breaks_the_scorer(text):
    frame = frame_of((640, 480), "pad", "unit")
    assert acc_at_half_in_pixels(text, (10.0, 10.0, 20.0, 20.0), frame) in (0.0, 1.0)


def test_iou_without_any_area_is_zero():
    assert iou((1, 1, 1, 1), (2, 2, 2, 2)) == 0.0
