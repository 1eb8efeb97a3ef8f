"""Boxes and exact match."""

from __future__ import annotations

import pytest

from swiftprof.data.scoring.boxes import acc_at_half, iou, parse_box
from swiftprof.data.scoring.exact import exact_match


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("[0.10, 0.20, 0.30, 0.40]", (0.1, 0.2, 0.3, 0.4)),
        ("the box is [ .1 , .2 , 1 , 1.0 ].", (0.1, 0.2, 1.0, 1.0)),
        ("[0.30, 0.20, 0.10, 0.40]", None),
        ("[0.1, 0.2, 0.3]", None),
        ("[0.1, 0.2, 0.1, 0.4]", None),
        ("no box", None),
        ("the dog(100,100),(500,500)", (100, 100, 500, 500)),
        ("<|box_start|>(100,100),(500,500)<|box_end|>", (100, 100, 500, 500)),
        (
            "<|object_ref_start|>a<|object_ref_end|><|box_start|>(1,2),(3,4)<|box_end|>",
            (1, 2, 3, 4),
        ),
        ("<ref>the dog</ref><box>[[10, 20, 30, 40]]</box>", (10, 20, 30, 40)),
        ("<box>(10, 20), (30, 40)</box>", (10, 20, 30, 40)),
        ("(0.1, 0.2, 0.3, 0.4)", (0.1, 0.2, 0.3, 0.4)),
        ("[[1, 2], [3, 4]]", (1, 2, 3, 4)),
        ('```json\n[{"bbox_2d": [12, 30, 220, 310], "label": "dog"}]\n```', (12, 30, 220, 310)),
        ("from (5, 5) to (1,1),(2,2)", (1, 1, 2, 2)),
        ("[1" + "0" * 401 + ", 2, 3, 4]", None),
        ("", None),
    ],
)
def test_parse_box(text, box):
    assert parse_box(text) == box


def test_iou_by_counting_cells():
    a, b = (1, 1, 5, 4), (3, 2, 8, 6)
    cells_a = {(x, y) for x in range(1, 5) for y in range(1, 4)}
    cells_b = {(x, y) for x in range(3, 8) for y in range(2, 6)}
    assert iou(a, b) == pytest.approx(len(cells_a & cells_b) / len(cells_a | cells_b))
    assert iou((0, 0, 1, 1), (2, 2, 3, 3)) == 0


def test_acc_at_half_counts_the_boundary_as_right():
    answer = "[0.0, 0.0, 1.0, 1.0]"
    assert acc_at_half("[0.0, 0.0, 1.0, 0.5]", answer) == 1.0
    assert acc_at_half("[0.0, 0.0, 1.0, 0.49]", answer) == 0.0
    assert acc_at_half("[1.0, 1.0, 0.0, 0.0]", answer) == 0.0
    assert acc_at_half("nothing", answer) == 0.0


def test_exact_match():
    assert exact_match(" Red. ", ("red",)) == 1.0
    assert exact_match("dark red", ("red",)) == 0.0
    assert exact_match("2", ("two", "2")) == 1.0
