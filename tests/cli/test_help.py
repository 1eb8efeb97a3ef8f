"""Help: every example is a command that parses and the quick ones run; texts fit 80 columns."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from swiftprof.cli.app import build
from swiftprof.planning.plan_file import Plan

Run = Callable[..., Any]


def commands(group: Any, context: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Path and command of everything that can be typed."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if hasattr(command, "list_commands"):
            yield from commands(command, context, (*path, name))
        else:
            yield " ".join((*path, name)), command


@pytest.fixture(scope="module")
def program() -> Any:
    return typer.main.get_command(build())


@pytest.fixture(scope="module")
def known(program: Any) -> dict[str, Any]:
    return dict(commands(program, program.make_context("swiftprof", ["models"])))


def examples(command: Any) -> list[list[str]]:
    """The command lines below a command's help."""
    lines = [line.strip() for line in command.epilog.splitlines() if "swiftprof" in line]
    typed = [line.removeprefix("[cyan]").removesuffix("[/cyan]") for line in lines]
    return [shlex.split(line) for line in typed]


def test_every_command_has_examples_and_each_of_them_parses(known: dict[str, Any]) -> None:
    for name, command in known.items():
        found = examples(command)
        assert found, name
        for words in found:
            while "=" in words[0]:
                words = words[1:]  # a variable of the shell
            typed = ["swiftprof", *name.split()]
            assert words[: len(typed)] == typed
            command.make_context(name, words[len(typed) :])  # complains of unknown options


def test_every_option_is_said_and_shows_no_needless_type(known: dict[str, Any]) -> None:
    for name, command in known.items():
        context = command.make_context(name, [], resilient_parsing=True)
        for param in command.get_params(context):
            assert getattr(param, "help", None), f"{name}: {param.name} has no help"
            if getattr(param, "is_flag", False):
                assert param.metavar == ""


def test_help_fits_80_columns(
    swiftprof: Run, known: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("", *known):
        text = swiftprof(*name.split(), "--help").out
        assert max(map(len, text.splitlines())) <= 80
        assert "<bool>" not in text


def test_hub_ids_are_not_cut(swiftprof: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = swiftprof("models").out
    for row in swiftprof("models", "--json").document["models"]:
        assert row["bundled"] or row["id"] in text


QUICK = (
    "swiftprof plan --budget 3",
    "swiftprof plan --budget 2 --ratio 1/4 --out half.json --plot curve.png",
    'swiftprof run --image scene-1 --prompt "How many signs are there?" --compare',
    "swiftprof flops --model llava-1.5-7b --methods all --retain 192,128",
    "swiftprof flops --plan plan.json",
    "swiftprof analyze curve",
    "swiftprof models",
    "swiftprof datasets",
    "swiftprof doctor",
)


def test_quick_examples_run_as_printed_in_an_empty_folder(
    swiftprof: Run, known: dict[str, Any]
) -> None:
    printed = [words for command in known.values() for words in examples(command)]
    for line in QUICK:
        words = shlex.split(line)
        assert words in printed, line
        assert swiftprof(*words[1:]).code == 0, line
    assert Plan.load("plan.json").model.name == "tiny-llava"
    assert Path("curve.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        (["flops", "--model", "llava-1.5-"], {"llava-1.5-7b", "llava-1.5-13b"}),
        (["profile", "--datasets", "textvqa,refcoco"], {"textvqa,refcoco", "textvqa,refcoco+"}),
        (["plan", "--method", "swift"], {"swiftvlm"}),
        (["plan", "--normalize", ""], {"relative", "minmax"}),
    ],
)
def test_the_shell_completes_values(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    typed: list[str],
    wanted: set[str],
) -> None:
    line = " ".join(["swiftprof", *typed])
    monkeypatch.setenv("_SWIFTPROF_COMPLETE", "complete_zsh")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", line)
    with pytest.raises(SystemExit):
        typer.main.get_command(build())(args=[], prog_name="swiftprof")
    offered = capsys.readouterr().out
    for each in wanted:
        assert f'"{each}"' in offered
