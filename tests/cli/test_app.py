"""The program around the commands: help, exit codes, errors, output."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import typer

from swiftprof import __version__
from swiftprof.cli import errors
from swiftprof.cli.options import count_or_auto, split_list
from swiftprof.cli.output import Output
from swiftprof.errors import BadParameter, SwiftprofError, did_you_mean

Run = Callable[..., Any]


def failing(error: BaseException) -> typer.Typer:
    """A program whose one command ends in an error."""
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def go() -> None:
        raise error

    return app


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (SwiftprofError("plan.json: cut short"), 2, "swiftprof: error: plan.json: cut short"),
        (SwiftprofError("two\nlines"), 2, "swiftprof: error: two lines"),
        (KeyboardInterrupt(), 130, "swiftprof: interrupted; type the same command again to go on"),
        (
            KeyError("x"),
            1,
            "swiftprof: error: unexpected KeyError: 'x'; type the command again with --debug "
            "to see where",
        ),
        (typer.Exit(3), 3, ""),
        (typer.Exit(0), 0, ""),
    ],
)
def test_every_end_has_its_code_and_one_line(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, line: str
) -> None:
    assert errors.run(failing(error), []) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.strip() == line
    assert captured.err.count("\n") <= 1


def test_a_process_ends_without_a_last_search_for_garbage() -> None:
    code = "import atexit, gc, runpy, sys; sys.argv[1:] = ['--version']; "
    code += "atexit.register(lambda: print(gc.get_freeze_count() > 0)); "
    code += "runpy.run_module('swiftprof', run_name='__main__')"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "True"


def test_debug_lets_the_error_through_unless_it_is_an_argument_after_a_dash_dash() -> None:
    with pytest.raises(KeyError):
        errors.run(failing(KeyError("x")), ["--debug"])
    assert errors.run(failing(KeyError("x")), ["--", "--debug"]) == 2  # an argument too many


def test_help_names_every_command_and_examples_are_below_each(swiftprof: Run) -> None:
    top = swiftprof("--help")
    assert top.code == 0
    assert swiftprof().out.split() == top.out.split()
    for command in ("plan", "flops"):
        assert command in top.out
        text = swiftprof(command, "--help")
        assert text.code == 0
        assert f"swiftprof {command} " in text.out.split("Examples")[1]


def test_the_version_is_printed(swiftprof: Run) -> None:
    assert swiftprof("--version").out.split() == ["swiftprof", __version__]


def test_unknown_commands_are_refused_with_the_nearest(swiftprof: Run) -> None:
    assert "plan" in swiftprof("plann").complaint


HEAVY = ("torch", "transformers", "numpy", "pydantic", "matplotlib", "datasets", "pyarrow")


@pytest.mark.parametrize(
    "code", ["import swiftprof", "from swiftprof.cli.app import build; build()"]
)
def test_neither_the_package_nor_the_help_imports_anything_heavy(code: str) -> None:
    program = f"{code}; import sys, json; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        ).stdout
    )
    assert not set(HEAVY) & set(loaded)


def test_public_names_are_the_things_themselves() -> None:
    import swiftprof
    from swiftprof.planning import api, plan_file

    assert swiftprof.plan is api.plan
    assert swiftprof.Plan is plan_file.Plan
    assert swiftprof.SwiftprofError is SwiftprofError
    assert set(swiftprof.__all__) <= set(dir(swiftprof))
    with pytest.raises(AttributeError, match="has no attribute 'plans'"):
        _ = swiftprof.plans  # type: ignore[attr-defined]


def test_the_sink_keeps_people_and_programs_apart(capsys: pytest.CaptureFixture[str]) -> None:
    for as_json in (False, True):
        output = Output(as_json)
        output.print("a table")
        output.warn("careful [bold]now[/bold]")
        with output.progress("work") as step:
            step(1, 2)
        output.document({"x": 1.5, "name": "é"})
        captured = capsys.readouterr()
        assert captured.err == "swiftprof: warning: careful [bold]now[/bold]\n"
        if as_json:
            assert json.loads(captured.out) == {"x": 1.5, "name": "é"}
        else:
            assert captured.out == "a table\n"


def test_a_document_without_a_json_form_is_never_half_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ValueError, match="JSON"):
        Output(True).document({"a": 1, "b": float("nan")})
    assert capsys.readouterr().out == ""


def test_lists_and_batch_sizes_are_read() -> None:
    assert split_list("a, b,,a ,c") == ["a", "b", "c"]
    assert count_or_auto("batch_size", "auto") is None
    assert count_or_auto("batch_size", "16") == 16
    for wrong in ("0", "-1", "many", "1.5", ""):
        with pytest.raises(SwiftprofError, match="batch_size"):
            count_or_auto("batch_size", wrong)


def test_the_nearest_name_is_offered_or_all_are() -> None:
    assert did_you_mean("SwiftVML", ["swiftvlm", "fastv"]) == "did you mean 'swiftvlm'?"
    assert did_you_mean("x", ["b", "a"]) == "known: a, b"
    assert did_you_mean("x", []) == "none is known"


def test_errors_name_parameters_and_the_program_prints_its_options(
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = BadParameter("merge_share", 2.0, "must be at most 1; see `batch_size`, not `pip x`")
    assert str(error) == "merge_share 2: must be at most 1; see `batch_size`, not `pip x`"
    assert errors.run(failing(error), []) == 2
    assert capsys.readouterr().err == (
        "swiftprof: error: --merge 2: must be at most 1; see --batch-size, not `pip x`\n"
    )
    both = BadParameter("device and device_map", None, "give only one of them")
    assert errors.run(failing(both), []) == 2
    assert "--device and --device-map: give" in capsys.readouterr().err


def test_an_error_cannot_steer_the_terminal_or_fill_it(capsys: pytest.CaptureFixture[str]) -> None:
    nasty = "x\x1b]0;owned\x07\x1b[2J[/bold]\x9b " + 9000 * "y"
    for say in (
        lambda: errors.run(failing(SwiftprofError(nasty)), []),
        lambda: Output().note(nasty),
        lambda: Output().warn(nasty),
    ):
        say()
        line = capsys.readouterr().err
        assert line.endswith("\n")
        assert line[:-1].isprintable()
        assert "[/bold]" in line
        assert len(line) < 700


def test_a_command_reads_no_other_commands_file() -> None:
    program = (
        "import sys; from swiftprof.cli.app import main; main(['doctor', '--help']); "
        "print(*(m for m in sys.modules if m.startswith('swiftprof.')), file=sys.stderr)"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = set(told.stderr.split())
    assert "swiftprof.cli.doctor" in loaded
    assert not {f"swiftprof.cli.{name}" for name in ("profile", "run", "demo", "share")} & loaded
