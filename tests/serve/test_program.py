"""`swiftprof serve`: what it refuses before loading, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import openai
import pytest


@pytest.fixture
def folder(plan: Any, tmp_path: Path) -> Path:
    plan.save(tmp_path / "a.json")
    other = plan.model.model_copy(update={"name": "other"})
    plan.model_copy(update={"model": other}).save(tmp_path / "b.json")
    return tmp_path


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--plan", "a.json", "--plan", "x/a.json"], "the name a is taken"),
        (["--plan", "a.json", "--plan", "b.json"], "different models"),
        (["--plan", "vanilla=a.json"], "the unpruned model has this name"),
        (["--plan", "none.json"], "no such plan file"),
        (["--plan", "a.json", "--ratio", "3"], "--ratio 3"),
        (["--host", "256.0.0.1"], "--host and --port"),
    ],
)
def test_bad_options(
    folder: Path, options: list[str], says: str, monkeypatch: Any, capsys: Any
) -> None:
    from swiftprof.cli.app import main

    monkeypatch.chdir(folder)
    assert main(["serve", *options]) == 2
    assert says in capsys.readouterr().err


def test_plans_by_name(folder: Path, monkeypatch: Any) -> None:
    from swiftprof.cli.serve import _plans

    monkeypatch.chdir(folder)
    assert list(_plans(["a.json", "other=a.json"], None)) == ["a", "other"]
    assert list(_plans(["llava-1.5-7b"], None)) == ["llava-1.5-7b"]
    assert list(_plans(None, None)) == ["shipped"]
    assert not _plans(None, "qwen2.5-vl-7b")
    (folder / "a.json").rename(folder / "plan.json")
    assert list(_plans(None, None)) == ["plan"]


def test_sigterm_answers_what_waits_and_ends_well(folder: Path, questions: Any) -> None:
    options = ["--plan", "a.json", "--json", "--port", "0", "--batch-size", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "swiftprof", "serve", *options],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert process.stdout is not None
        said = ""
        while "]" not in said:
            line = process.stdout.readline()
            assert line, process.communicate()
            said += line
        told, _ = json.JSONDecoder().raw_decode(said + "}" * ("}" not in said))
        assert told["models"] == ["vanilla", "a"]
        client = openai.OpenAI(base_url=told["url"] + "/v1", api_key="x", max_retries=0)

        def ask(question: Any) -> Any:
            return client.chat.completions.create(model="a", messages=question.messages)

        with ThreadPoolExecutor(8) as pool:
            answers = [pool.submit(ask, question) for question in questions[:4]]
            wait(answers, return_when=FIRST_COMPLETED)
            process.send_signal(signal.SIGTERM)
        assert all(answer.result().choices[0].finish_reason == "stop" for answer in answers)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()
