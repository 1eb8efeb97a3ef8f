"""The page in a real browser: it loads nothing, complains of nothing, filters, fits."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from swiftprof.report.collect import collect
from swiftprof.report.html import render
from swiftprof.report.images import Album

_spec = importlib.util.spec_from_file_location("chromium", Path(__file__).with_name("chromium.py"))
assert _spec is not None
assert _spec.loader is not None
chromium = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(chromium)

SHOWN = "[...document.querySelectorAll('#cards .card')].filter(c => c.offsetParent !== null)"

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="the debugging pipe needs POSIX"),
    pytest.mark.skipif(
        chromium.find() is None, reason="no Chromium here: apt-get install chromium"
    ),
]


@pytest.fixture(scope="module")
def page(made: Any) -> Any:
    return collect([made.evaluation, made.profile, made.analyses], samples=20, album=Album())


@pytest.fixture(scope="module")
def url(page: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render(page), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    program = chromium.find()
    assert program is not None
    found = chromium.Browser(program, tmp_path_factory.mktemp("chromium"))
    yield found
    found.close()


@pytest.fixture
def opened(browser: Any, url: str) -> Any:
    browser.call("Emulation.setScriptExecutionDisabled", value=False)
    browser.call("Emulation.clearDeviceMetricsOverride")
    browser.call("Emulation.setEmulatedMedia", media="", features=[])
    browser.open(url)
    return browser


def choose(browser: Any, **values: Any) -> list[str]:
    """Set filters; returns the ids of the cards that are shown."""
    for name, value in values.items():
        prop = "checked" if isinstance(value, bool) else "value"
        text = json.dumps(value)
        browser.evaluate(f"document.getElementById('filters').elements['{name}'].{prop} = {text}")
    browser.evaluate(
        "document.getElementById('filters').dispatchEvent(new Event('input', {bubbles: true}))"
    )
    found: list[str] = browser.evaluate(
        f"{SHOWN}.map(c => c.dataset.dataset + ' ' + c.querySelectorAll('.tag')[1].textContent)"
    )
    return found


def names(cards: Any) -> list[str]:
    return [f"{c.dataset} {c.id}" for c in cards]


def test_nothing_is_loaded_and_nothing_complains(opened: Any, url: str) -> None:
    assert [r for r in opened.requests() if not r.startswith("data:")] == [url]
    assert opened.complaints() == []
    assert opened.evaluate("[...document.images].every(i => !i.complete || i.naturalWidth > 0)")
    assert opened.evaluate("document.querySelectorAll('figure svg').length") >= 6


def test_filters_show_exactly_the_cards_that_fit(opened: Any, page: Any) -> None:
    cards = page.cards
    assert choose(opened) == names(cards)
    qa = [c for c in cards if c.dataset == "scenes-qa"]
    assert choose(opened, dataset="scenes-qa") == names(qa)
    assert opened.evaluate("document.getElementById('count').textContent") == (
        f"{len(qa)} of {len(cards)}"
    )
    method = "layer 2's selection"  # half of its answers are wrong
    for outcome in ("right", "wrong"):
        fits = [
            c
            for c in cards
            if any(s.method == method and s.right == (outcome == "right") for s in c.said)
        ]
        assert fits
        assert choose(opened, dataset="", method=method, outcome=outcome) == names(fits)
    apart = [c for c in cards if c.disagree]
    assert 0 < len(apart) < len(cards)
    assert choose(opened, method="", outcome="", disagree=True) == names(apart)
    word = cards[0].question.split()[-1].strip("?").lower()
    fits = [c for c in cards if word in f"{c.question} {c.answers}".lower()]
    assert set(names(fits)) <= set(choose(opened, disagree=False, words=word))


def test_without_scripts_all_cards_are_there_and_no_dead_filters(
    browser: Any, url: str, page: Any
) -> None:
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(url)
    assert browser.evaluate(f"{SHOWN}.length") == len(page.cards)
    assert browser.evaluate("document.getElementById('filters').offsetParent === null")
    browser.call("Emulation.setScriptExecutionDisabled", value=False)


def test_light_and_dark_follow_the_reader(opened: Any) -> None:
    def colours(scheme: str) -> tuple[float, float]:
        opened.call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )
        brightness = (
            "(c => c.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0) / 765)"
            "(getComputedStyle(document.querySelector('{}')).{})"
        )
        back = opened.evaluate(
            brightness.replace("{}", "section", 1).replace("{}", "backgroundColor", 1)
        )
        front = opened.evaluate(
            brightness.replace("{}", "figure svg text", 1).replace("{}", "fill", 1)
        )
        return back, front

    back, front = colours("light")
    assert back > 0.9
    assert front < 0.4
    back, front = colours("dark")
    assert back < 0.2
    assert front > 0.7


@pytest.mark.parametrize("width", [360, 500, 1300])
def test_the_page_fits_any_screen(opened: Any, width: int) -> None:
    opened.call(
        "Emulation.setDeviceMetricsOverride",
        width=width, height=800, deviceScaleFactor=2, mobile=True,
    )  # fmt: skip
    assert opened.evaluate("document.documentElement.scrollWidth") <= width


def test_print_has_no_controls_and_opens_what_is_folded(opened: Any) -> None:
    opened.call("Emulation.setEmulatedMedia", media="print")
    assert opened.evaluate("document.getElementById('filters').offsetParent === null")
    assert opened.evaluate("document.querySelector('nav').offsetParent === null")
    opened.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert opened.evaluate("document.querySelectorAll('details:not([open])').length") == 0
    opened.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert opened.evaluate("document.querySelectorAll('details[open]').length") == 0
