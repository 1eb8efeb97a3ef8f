"""The picture of a curve."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from swiftprof.drawing import ACCENT, save
from swiftprof.errors import SwiftprofError
from swiftprof.planning.curve import Curve
from swiftprof.planning.drawing import curve_figure, plan_figure, schedule_figure
from tests.helpers.curves import plan_of_curve

CURVE = Curve(12, tuple(range(2, 13)), np.array([0.3, 0.5, 0.3, 0.8, 0.3, 0.3, 0.95, *[0.3] * 4]))
PLAN = plan_of_curve(CURVE, ratio=0.4)


def test_the_step_curve_shows_what_the_plan_has_reached_at_each_layer() -> None:
    (axes,) = plan_figure(CURVE, PLAN).axes
    drawn = [list(map(tuple, line.get_xydata())) for line in axes.lines]
    assert [(2, 0.3), (3, 0.5), (5, 0.8), (8, 0.95), (12, 0.95)] in drawn  # steps after each
    assert [(3, 0.5), (5, 0.8), (8, 0.95)] in drawn  # the marks
    labels = {label.get_text(): label.get_color() for label in axes.get_xticklabels()}
    assert list(labels) == [str(layer) for layer in range(1, 13)]  # every layer is labelled
    assert {layer for layer, colour in labels.items() if colour == ACCENT} == {"3", "5", "8"}
    assert axes.get_xlabel()
    assert axes.get_ylabel()


def test_names_of_data_sets_do_not_overlap() -> None:
    own = dict.fromkeys(("one", "two", "three", "four"), CURVE)
    figure = plan_figure(CURVE, PLAN, per_dataset=own)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    boxes = [
        t.get_window_extent() for t in axes.texts if t.get_text() in {*own, "mean of data sets"}
    ]
    assert len(boxes) == 5
    boxes.sort(key=lambda box: box.y0)
    assert all(upper.y0 >= lower.y1 - 1 for lower, upper in pairwise(boxes))


def test_the_schedule_shows_the_tokens_that_enter_each_layer() -> None:
    (axes,) = schedule_figure(PLAN).axes
    line = axes.patches[0]
    shares = [n / 100 for n in PLAN.tokens_per_layer(10_000)]
    assert list(line.get_data().values) == pytest.approx(shares)
    texts = {text.get_text() for text in axes.texts}
    assert {f"{100 * (s.keep + s.merge):.0f}" for s in PLAN.stages} <= texts


@pytest.mark.parametrize(("suffix", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_the_suffix_decides_the_kind_of_file(tmp_path: Path, suffix: str, start: bytes) -> None:
    intervals = dict.fromkeys(CURVE.layers, (0.2, 1.0))
    path = save(curve_figure(CURVE, intervals=intervals), tmp_path / f"new/curve.{suffix}")
    assert path.read_bytes().startswith(start)


def test_unknown_kinds_and_bad_places_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "curve.xyz", tmp_path / "file" / "curve.png"):
        with pytest.raises(SwiftprofError, match="cannot draw"):
            save(plan_figure(CURVE, PLAN), path)


def test_drawing_leaves_pyplot_and_its_state_alone() -> None:
    program = (
        "import sys, numpy as np; from swiftprof.planning.curve import Curve; "
        "from swiftprof.planning.drawing import curve_figure; "
        "curve_figure(Curve(4, (2, 3), np.zeros(2))); print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_a_plan_shows_itself_in_a_notebook() -> None:
    assert PLAN.plot().axes
    text = PLAN.model_copy(update={"method": "<b>"})._repr_html_()
    assert "pruning layers 3, 5, 8" in text
    assert "<b>&lt;b&gt;" in text
    assert "data:image/png;base64," in text
