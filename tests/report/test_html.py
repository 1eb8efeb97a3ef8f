"""The page: complete, escaped, tolerant of what it cannot show."""

from __future__ import annotations

import base64
import json
import re
import shutil
from html import unescape
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from swiftprof.analysis.document import Document
from swiftprof.errors import SwiftprofError
from swiftprof.evaluation.results import Results
from swiftprof.evaluation.settings import series_of
from swiftprof.evaluation.store import parts_of
from swiftprof.planning.plan_file import Plan
from swiftprof.report import html
from swiftprof.report.collect import collect
from swiftprof.report.images import Album
from swiftprof.runs.folder import Run

VOID = {"meta", "link", "img", "input", "br", "hr"}
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{ 7*7 }}"


class Checked(HTMLParser):
    """Reads a page: balanced tags, ids, what it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.handlers: list[str] = []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "xlink:href", "action", "srcset", "poster", "data"):
                self.loads.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def page(*runs: Path, samples: int = 40) -> Any:
    return collect(list(runs), samples=samples, album=Album())


@pytest.fixture(scope="session")
def whole(made: Any) -> str:
    return html.render(page(made.profile, made.evaluation, made.analyses))


def test_the_page_is_complete_and_loads_nothing(whole: str) -> None:
    found = Checked(whole)
    assert len(found.ids) == len(set(found.ids))
    assert all(url.startswith(("#", "data:")) for url in found.loads)
    assert {url[1:] for url in found.loads if url.startswith("#")} <= set(found.ids)
    assert not found.handlers
    assert found.tags.count("script") == 1
    assert not re.search(r"@import|url\((?!#)", whole)


def test_the_page_shows_all_runs_their_figures_and_commands(made: Any, whole: str) -> None:
    text = unescape(whole)
    for path in sorted(made.analyses.glob("*.json")):
        document = Document.load(path)
        if document.analysis == "curve":
            continue  # the profile's own section has it
        assert document.title in text
        assert document.findings[0] in text.replace("\u00a0", " ")
    assert whole.count('<div class="scroll" tabindex="0" role="img"') >= 7
    assert "swiftprof profile --model" in whole
    assert "Pruning layers 3, 7, 11" in whole
    assert whole.count('class="card"') == 26  # 20 of the profile, 2 x 3 of the evaluation


def test_cards_have_the_answers_that_were_stored(made: Any) -> None:
    cards = page(made.evaluation).cards
    rows = [
        row
        for part in sorted((made.evaluation / "parts").glob("*.parquet"))
        for row in pq.read_table(part, partitioning=None).to_pylist()
    ]
    assert len(cards) == 6
    for card in cards:
        mine = [r for r in rows if r["id"] == card.id and r["question"] == card.question]
        stored = {(r["variant"].replace(" | ", ", "), r["prediction"], r["score"]) for r in mine}
        assert stored == {(s.method, s.text, s.score) for s in card.said}
        assert card.said[0].method == "vanilla"
        assert card.image is not None
        assert card.image.startswith("data:image/png;base64,")


def test_images_belong_to_their_samples(made: Any) -> None:
    from swiftprof.data.registry import get_dataset
    from swiftprof.report.images import data_url

    run = json.loads((made.profile / "run.json").read_text())
    for card in page(made.profile, samples=6).cards:
        dataset = get_dataset(card.dataset)
        samples = [dataset.sample("train", i) for i in run["draw"][card.dataset]]
        (sample,) = [s for s in samples if s.id == card.id]
        assert card.image == data_url(sample.image)


def hostile_copy(made: Any, folder: Path) -> Path:
    """The evaluation, as if a stranger had written it."""
    copy = folder / "eval"
    shutil.copytree(made.evaluation, copy)
    file = copy / "results.json"
    honest = Results.load(file)
    document = json.loads(file.read_text())
    document["command"] = HOSTILE
    document["settings"]["model"]["name"] = HOSTILE
    document["rows"][1]["label"] = HOSTILE
    document["settings"]["protocol"] = dict.fromkeys(document["samples"], HOSTILE)
    file.write_text(json.dumps(document))
    said = {"question": HOSTILE, "prediction": HOSTILE, "kind": HOSTILE, "answers": [HOSTILE]}
    old, new = (Run(settings=r.settings, draw=r.draw) for r in (honest, Results.load(file)))
    for name, variant in product(honest.samples, honest.settings.variants):
        (part,) = parts_of(copy).read(series_of(old, name, variant))
        held = zip(part.stamp.indices, part.rows.to_pylist(), strict=True)
        rows = {index: {**row, **said} for index, row in held}
        parts_of(copy).add(series_of(new, name, variant), 0, rows)
    return copy


def test_everything_from_files_is_escaped(made: Any, tmp_path: Path) -> None:
    analyses = tmp_path / "analyses"
    analyses.mkdir()
    document = json.loads((made.analyses / "pictures.json").read_text())
    document["title"] = document["measured"] = HOSTILE
    document["findings"] = [HOSTILE]
    document["tables"] = [{"title": HOSTILE, "columns": [HOSTILE], "rows": [[HOSTILE]]}]
    for picture in document["data"]["pictures"]:
        picture["question"] = picture["id"] = HOSTILE
        for method in picture["methods"]:
            method["prediction"] = method["label"] = HOSTILE
    (analyses / "pictures.json").write_text(json.dumps(document))
    text = html.render(page(hostile_copy(made, tmp_path), analyses))
    found = Checked(text)
    assert found.tags.count("script") == 1
    assert not found.handlers
    assert all(url.startswith(("#", "data:")) for url in found.loads)
    assert "{{ 7*7 }}" in text


def test_figures_found_in_a_folder_are_not_trusted(made: Any, tmp_path: Path) -> None:
    folder = tmp_path / "analyses"
    folder.mkdir()
    shutil.copy(made.analyses / "stability.json", folder)
    (folder / "stability.svg").write_text("<svg><script>alert(1)</script></svg>")
    assert "alert(1)" not in html.render(page(folder))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["data"]["pictures"][0].update(image="bm90IGFuIGltYWdl"), "cannot be read"),
        (lambda d: d["data"]["pictures"][0].update(grid=[10**6, 1]), "grid"),
        (lambda d: d["data"]["pictures"][0]["methods"][1]["stages"][0].update(kept=[9999]), "9999"),
        (lambda d: d["data"].update(pictures=3), "pictures"),
    ],
)
def test_damaged_pictures_are_refused_in_one_line(
    made: Any, tmp_path: Path, change: Any, message: str
) -> None:
    document = json.loads((made.analyses / "pictures.json").read_text())
    change(document)
    (tmp_path / "pictures.json").write_text(json.dumps(document))
    with pytest.raises(SwiftprofError, match=message) as caught:
        page(tmp_path)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_shown_is_named(made: Any, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(made.analyses / "stability.json", folder)
    (folder / "other.json").write_text("{}")
    (folder / "broken.json").write_text("{")
    found = page(folder)
    assert len(found.left_out) == 2
    text = html.render(found)
    assert "other.json" in text
    assert "broken.json" in text


def test_folders_with_nothing_to_show_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SwiftprofError, match="no profile, evaluation or analysis"):
        page(tmp_path)
    with pytest.raises(SwiftprofError, match="no such file"):
        page(tmp_path / "absent")


def test_an_evaluation_without_its_parts_still_has_its_tables(made: Any, tmp_path: Path) -> None:
    copy = tmp_path / "eval"
    shutil.copytree(made.evaluation, copy, ignore=shutil.ignore_patterns("parts", "run.json"))
    found = page(copy)
    assert not found.cards
    assert found.sections[0].tables
    Checked(html.render(found))


def test_pages_too_large_for_a_phone_are_refused(
    made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html, "LARGEST", 1000)
    with pytest.raises(SwiftprofError, match="samples"):
        html.render(page(made.evaluation))


def test_images_of_other_sets_are_opened_only_when_allowed() -> None:
    album = Album()
    assert album.find("textvqa", "val", [0], ["x"]) == [None]
    assert "`images`" in album.problems[0]


def test_likelihoods_are_shown_as_such(bundled: Any, tmp_path: Path) -> None:
    from swiftprof.profiling.api import profile

    profile(bundled, ["scenes-qa"], samples=1, score="nll", out=tmp_path / "nll")
    (card,) = page(tmp_path / "nll", samples=2).cards
    assert all(re.fullmatch(r"likelihood [01]\.\d{3}", said.text) for said in card.said)


def test_a_folder_with_a_plan_alone_is_a_report_of_it(made: Any, tmp_path: Path) -> None:
    shutil.copy(made.profile / "plan.json", tmp_path)
    (section,) = page(tmp_path).sections
    assert section.kind == "plan"
    assert [row[0] for row in section.tables[0].rows] == [
        "after layer 3",
        "before layer 7",
        "before layer 11",
    ]


def test_the_top_says_what_is_best_and_how_sure(made: Any) -> None:
    text = html.render(page(made.profile)).replace("\u00a0", " ")
    top = text[text.index('<ul class="headline">') : text.index("<nav")]
    assert "Layer 11 of 24 tells visual tokens apart best" in top
    assert "prunes tiny-llava at layers 3, 7, 11" in top
    assert "of 20 resamples" in top


def test_the_plan_can_be_taken_from_the_page(made: Any, tmp_path: Path) -> None:
    text = html.render(page(made.profile))
    (encoded,) = re.findall(
        r'download="plan.json" href="data:application/json;base64,([^"]+)"', text
    )
    (tmp_path / "plan.json").write_bytes(base64.b64decode(encoded))
    assert Plan.load(tmp_path / "plan.json") == Plan.load(made.profile / "plan.json")


def test_pipes_and_broken_texts_are_named_and_never_waited_for(made: Any, tmp_path: Path) -> None:
    import os

    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(made.analyses / "stability.json", folder)
    os.mkfifo(folder / "a.json")
    (folder / "b.json").write_bytes(b'{"schema": "\xff\xfe"}')
    (folder / "c.json").write_text('{"schema": null}')
    (folder / "d.json").write_text('{"schema": "\\ud800"}')
    (folder / "e.json").write_bytes(b"\0" * 40)
    found = page(folder)
    assert len(found.left_out) == 5
    assert "is a pipe or device" in found.left_out[0]
    html.render(found).encode("utf-8")
    with pytest.raises(SwiftprofError, match="pipe or device"):
        page(folder / "a.json")


def test_halves_of_characters_and_nulls_reach_no_page(made: Any, tmp_path: Path) -> None:
    document = json.loads((made.analyses / "stability.json").read_text())
    document["findings"] = ["half \ud800 and null \0"]
    document["title"] = document["measured"] = "\udfff\0"
    (tmp_path / "stability.json").write_text(json.dumps(document))
    text = html.render(page(tmp_path))
    assert "\0" not in text
    assert text.encode("utf-8")
    assert "half ? and null \ufffd" in text
