"""Every figure: drawn from its document alone, labelled, whole on a page of several."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest

from swiftprof.analysis import NAMES
from swiftprof.analysis.document import Document
from swiftprof.drawing import canvas, plain, spread, svg_text
from swiftprof.report.page import Drawing

DRAWN = [name for name in NAMES if name != "pictures"]


@pytest.mark.parametrize("name", DRAWN)
def test_axes_have_labels_and_titles_and_texts_stay_inside(made: Any, name: str) -> None:
    document = Document.load(made.analyses / f"{name}.json")
    data = document.parsed()
    assert data is not None
    figure = data.plot()
    with plain():
        figure.draw_without_rendering()
    for axes in figure.axes:
        if axes.get_label() == "<colorbar>":
            assert axes.get_ylabel()
            continue
        if not axes.get_visible():
            continue
        named = axes.get_xlabel() or axes.get_title(loc="left")
        assert named, "a panel says nothing of itself"
    width, height = figure.canvas.get_width_height()
    for axes in figure.axes:
        for text in axes.texts:
            box = text.get_window_extent()
            if text.get_text().strip() and axes.get_visible():
                assert min(box.x0, box.y0) >= -2, text.get_text()
                assert box.x1 <= width + 2, text.get_text()
                assert box.y1 <= height + 2, text.get_text()


@pytest.mark.parametrize("name", NAMES)
def test_png_json_and_markdown_are_written(made: Any, name: str) -> None:
    assert (made.analyses / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert (made.analyses / f"{name}.png").stat().st_size < 300_000
    assert (made.analyses / f"{name}.md").read_text().startswith("# ")


def test_two_figures_on_a_page_share_no_id(made: Any) -> None:
    found = []
    for prefix in ("a-", "b-"):
        data = Document.load(made.analyses / "stability.json").parsed()
        assert data is not None
        svg = Drawing.of(data.plot(), "", prefix).html
        ElementTree.fromstring(svg)
        ids = set(re.findall(r' id="([^"]+)"', svg))
        used = set(re.findall(r"url\(#([^)]+)\)", svg)) | set(re.findall(r'href="#([^"]+)"', svg))
        assert used <= ids
        assert "var(--ink)" in svg
        found.append(ids)
    assert not found[0] & found[1]


def test_texts_of_strangers_are_texts_in_a_figure() -> None:
    with plain():
        figure = canvas(3, 2)
        figure.text(0, 0.5, "costs $5 & <script>alert(1)</script> $x^2")
        svg = svg_text(figure, "x-", {})
    assert "<script" not in svg
    assert "$x^2" in svg


def test_labels_are_pushed_apart_and_keep_their_order() -> None:
    found = spread([1.0, 1.01, 0.5, 1.02], 0.1)
    assert sorted(range(4), key=found.__getitem__) == [2, 0, 1, 3]
    values = sorted(found)
    assert all(b - a >= 0.1 - 1e-6 for a, b in pairwise(values))
