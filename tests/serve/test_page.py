"""The page in a real browser: it asks both, side by side, shows the patches, loads nothing else."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_spec = importlib.util.spec_from_file_location(
    "chromium", Path(__file__).parents[1] / "report" / "chromium.py"
)
assert _spec is not None
assert _spec.loader is not None
chromium = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(chromium)

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="the debugging pipe needs POSIX"),
    pytest.mark.skipif(
        chromium.find() is None, reason="no Chromium here: apt-get install chromium"
    ),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    found = chromium.Browser(chromium.find(), tmp_path_factory.mktemp("chromium"))
    yield found
    found.close()


def until(browser: Any, expression: str) -> None:
    end = time.monotonic() + 60
    while not browser.evaluate(expression):
        assert time.monotonic() < end, expression
        time.sleep(0.05)


def text(browser: Any, selector: str) -> str:
    return str(browser.evaluate(f"document.querySelector('{selector}').innerText"))


def ask(browser: Any, question: str) -> None:
    browser.evaluate(f"document.getElementById('question').value = {question!r}")
    browser.evaluate("document.getElementById('go').click()")
    until(browser, "!document.getElementById('go').disabled")


@pytest.mark.parametrize("width", [1300, 500])
def test_both_answers_and_the_patches_of_every_stage(
    browser: Any, server: Any, questions: Any, width: int
) -> None:
    browser.call(
        "Emulation.setDeviceMetricsOverride",
        width=width, height=900, deviceScaleFactor=1, mobile=False,
    )  # fmt: skip
    browser.open(server.url + "/")
    until(browser, "picture !== null")
    assert "1/2 (50 %)" in text(browser, "#budget")
    ask(browser, questions[0].text)
    answers = {
        model: server.client().chat.completions.create(
            model=model, messages=questions[0].messages
        ).choices[0].message.content
        for model in ("vanilla", "tight")
    }  # fmt: skip
    assert text(browser, "#left .answer") == answers["vanilla"]
    assert text(browser, "#right .answer") == answers["tight"]
    assert "144.0 of 144" in text(browser, "#left dl")
    assert "% of the unpruned model's" in text(browser, "#right dl")
    assert browser.evaluate("document.querySelectorAll('#stages figure').length") == 2
    assert "after layer 3: 29 go on" in text(browser, "#stages figure")
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.complaints() == []
    asked = {request for request in browser.requests() if not request.startswith("data:")}
    assert asked == {server.url + "/", server.url + "/v1/chat/completions"}


def test_what_is_refused_is_said(browser: Any, server: Any) -> None:
    browser.open(server.url + "/")
    until(browser, "picture !== null")
    ask(browser, "an <image>")
    assert "leave it out" in text(browser, "#error")
