"""Methods of other packages: planned, pruned with, named in plans, and refused when broken."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
import torch

import swiftprof
from swiftprof.cli.app import main
from swiftprof.errors import SwiftprofError
from swiftprof.evaluation.specs import parse_spec
from swiftprof.methods import create, method_class, name_of, options_of
from swiftprof.planning.plan_file import Plan
from swiftprof.plugins import PluginError

CODE = """
from dataclasses import dataclass
from typing import ClassVar
from swiftprof import Method, StageView

@dataclass(frozen=True)
class Last(Method):
    step: int = 1
    planned: ClassVar[bool] = True
    attends: ClassVar[str] = "nothing"

    def scores(self, view: StageView):
        return (view.index // self.step).float()

class Abstract(Method):
    pass

class Own(Method):
    def __init__(self, step):
        self.step = step
    def scores(self, view):
        return view.index.float()

NOTHING = 7
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`site(module, code, *points)`: what pip leaves behind of a package."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))

    def install(module: str, code: str, *points: str) -> None:
        (folder / f"{module}.py").write_text(code)
        info = folder / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("\n".join(["[swiftprof.methods]", *points]))
        monkeypatch.delitem(sys.modules, module, raising=False)

    return install


@pytest.fixture
def mine(site: Callable[..., None]) -> str:
    """The module of `CODE`, installed; the method `last` is its entry point."""
    site("mine", CODE, "last = mine:Last")
    return "mine"


def module_of(name: str) -> ModuleType:
    return __import__(name)


def test_a_plan_names_the_method_and_is_loaded_elsewhere(
    mine: str, made_profile: Any, tmp_path: Path
) -> None:
    method = module_of(mine).Last(step=2)
    plan = swiftprof.plan(made_profile, method=method, bootstrap=0)
    assert plan.pruning_layers == (3, 7, 11)
    path = plan.save(tmp_path / "plan.json")
    document = json.loads(path.read_text())
    assert document["method"] == "mine:Last"
    assert document["options"] == {"step": 2}
    read = Plan.load(path)
    assert create(read.method, read.options) == method
    by_name = swiftprof.plan(made_profile, method="last", options={"step": 2}, bootstrap=0)
    assert by_name == plan
    with pytest.raises(SwiftprofError, match="brings its own"):
        swiftprof.plan(made_profile, method=method, options={"step": 3})


def test_the_plan_is_pruned_by(mine: str, llava: Any, prompts: Any, plan_of: Any) -> None:
    from swiftprof.runtime.trace import Trace

    trace = Trace()
    plan = plan_of((3, 0.25), method="mine:Last")
    with torch.no_grad(), swiftprof.prune(llava, plan, on_stage=trace):
        llava(**prompts.batch(0))
    assert trace.prefills[0].kept(0, 0) == list(range(27, 36))


def test_the_commands_take_it(
    mine: str, made_profile: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "plan.json")
    for name in ("mine:Last", "last"):
        call = ["plan", str(made_profile.path), "--method", name, "--option", "step=3"]
        assert main([*call, "--bootstrap", "0", "--out", out, "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert (document["method"], document["options"]) == ("mine:Last", {"step": 3})
    spec = parse_spec("mine:Last@3+7:step=2:merge=0.1")
    assert (spec.method, spec.layers, spec.options) == ("mine:Last", (3, 7), {"step": 2})
    assert parse_spec("last@equal").method == "last"
    given = parse_spec(module_of(mine).Last(step=4))
    assert (given.method, given.options, given.text) == (
        "mine:Last",
        {"step": 4},
        "mine:Last:step=4",
    )


@dataclass(frozen=True)
class Here(swiftprof.Method):
    """A method of a module that is no script."""

    attends: ClassVar = "nothing"
    size: Any = 1

    def scores(self, view: Any) -> Any:
        return view.index.float()


def test_a_class_of_a_notebook_is_found_in_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", notebook)
    exec(CODE, notebook.__dict__)
    method = notebook.Last(step=5)
    name = name_of(method)
    assert name == "__main__:Last"
    assert create(name, options_of(method)) == method
    exec(CODE, notebook.__dict__)
    with pytest.raises(SwiftprofError, match="now another class"):
        name_of(method)
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))
    with pytest.raises(SwiftprofError, match="another script or notebook"):
        create(name)


def test_what_no_plan_could_hold_is_refused(mine: str) -> None:
    class Inside(Here):
        pass

    with pytest.raises(SwiftprofError, match="inside a function"):
        name_of(Inside())
    with pytest.raises(SwiftprofError, match=r"options.size: a plan cannot hold"):
        options_of(Here(size=torch))
    for name, message in (
        ("mine:Abstract", "does not define scores"),
        ("mine:Own", "__init__ of its own"),
        ("mine:NOTHING", "is a int"),
        ("mine:Nobody", "has no 'Nobody'"),
        ("not_here.at_all:Last", "no module 'not_here.at_all'.*install"),
        ("a b:Last", "module:Class"),
        ("fastvv", "did you mean 'fastv'"),
    ):
        with pytest.raises(SwiftprofError, match=message):
            method_class(name)
    with pytest.raises(SwiftprofError, match="no option 'stepp'; did you mean 'step'"):
        create("mine:Last", {"stepp": 1})


def test_a_module_of_the_current_folder_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "beside_the_plan.py").write_text("raise SystemExit('ran')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in ("", str(tmp_path))])
    with pytest.raises(SwiftprofError, match=r"lies in this folder.*PYTHONPATH"):
        create("beside_the_plan:Method")


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("raise RuntimeError('no luck')", "RuntimeError: no luck"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import not_there", "No module named 'not_there'"),
        ("class Odd(BaseException): pass\nraise Odd()", "Odd: no reason given"),
        ("print('hello')\nLast = 7", "is a int"),
    ],
)
def test_a_broken_one_spoils_only_itself(
    site: Callable[..., None], capsys: pytest.CaptureFixture[str], code: str, why: str
) -> None:
    site("broken", code, "last = broken:Last")
    for name in ("last", "broken:Last"):
        sys.modules.pop("broken", None)
        with pytest.raises(PluginError, match=why) as caught:
            method_class(name)
        assert "broken" in str(caught.value)
    assert method_class("fastv").__name__ == "FastV"
    assert capsys.readouterr().out == ""
    assert main(["flops", "--model", "llava-1.5-7b", "--retain", "192", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tflops"] > 0


class Leaving(Here):
    """A method that ends the process it runs in."""

    def scores(self, view: Any) -> Any:
        raise SystemExit(1)


def test_a_method_that_leaves_does_not_take_the_process_along(
    llava: Any, prompts: Any, plan_of: Any
) -> None:
    plan = plan_of((3, 0.25))
    with (
        swiftprof.prune(llava, plan, method=Leaving()),
        pytest.raises(PluginError, match="method 'Leaving' is broken: SystemExit"),
    ):
        llava(**prompts.batch(0))


def test_our_own_names_cannot_be_taken(site: Callable[..., None]) -> None:
    site("thief", CODE, "fastv = thief:Last")
    assert method_class("fastv").__module__ == "swiftprof.methods.fastv"
