"""The shape of the package: who may import whom, what stays light, how long a file may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "swiftprof"
FILES = sorted(path for path in ROOT.rglob("*.py"))

ORDER = (
    "tiny", "core", "costs", "methods", "models", "data", "runtime", "planning", "runs",
    "profiling", "evaluation", "search", "analysis", "bench", "report", "serve", "integrations",
    "cli",
)  # fmt: skip
"""A package imports only from those before it; modules at the root are below all of them."""

LONGEST = 350


def package_of(path: Path) -> str:
    """The package of a file; "" for modules at the root."""
    parts = path.relative_to(ROOT).parts
    return parts[0] if len(parts) > 1 else ""


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, anywhere in it, annotations included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative imports are not used here"
            if node.module == "swiftprof":
                yield from (f"swiftprof.{alias.name}" for alias in node.names)
            yield str(node.module)


def packages_imported(path: Path) -> set[str]:
    """Packages of swiftprof that a file imports from."""
    split = (name.split(".") for name in imported(path))
    found = {parts[1] for parts in split if parts[0] == "swiftprof" and len(parts) > 1}
    return {name for name in found if (ROOT / name).is_dir()}


def test_every_package_has_its_place() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages <= set(ORDER), f"give {packages - set(ORDER)} a place in the order"


def test_a_package_imports_only_from_packages_before_it() -> None:
    upward = {
        (str(path.relative_to(ROOT)), name)
        for path in FILES
        if package_of(path)
        for name in packages_imported(path)
        if ORDER.index(name) > ORDER.index(package_of(path))
    }
    assert not upward


def test_modules_at_the_root_import_no_package() -> None:
    lazy = ("__init__.py", "__main__.py")  # the front doors
    for path in ROOT.glob("*.py"):
        assert path.name in lazy or not packages_imported(path), path


def test_the_tensor_core_and_planning_know_no_hugging_face() -> None:
    for path in FILES:
        if package_of(path) in ("core", "costs", "methods", "planning"):
            known = {name.split(".")[0] for name in imported(path)}
            assert not known & {"transformers", "huggingface_hub", "tokenizers"}, path


@pytest.mark.parametrize("package", ["costs", "methods", "planning"])
def test_planning_needs_no_torch(package: str) -> None:
    """`methods/view.py` holds tensors: it is what a method sees while a model runs."""
    modules = [
        ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)
        for path in FILES
        if package_of(path) == package and path.name != "view.py"
    ]
    lines = [f"import {name}" for name in modules]
    lines += ["from swiftprof.methods import REGISTRY, create"]
    lines += ["[create(name).default_layers(32) for name in REGISTRY]"]
    lines += ["import sys", "assert not {'torch', 'transformers'} & set(sys.modules)"]
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True)


def test_no_file_is_long() -> None:
    long = {
        str(path.relative_to(ROOT))
        for path in FILES
        if len(path.read_text().splitlines()) > LONGEST
    }
    assert not long


def read_with(modules: list[str]) -> set[str]:
    """Files of the package that importing some modules reads, `__init__`s left out."""
    seen: set[str] = set()
    while modules:
        name = modules.pop()
        path = ROOT.parent.joinpath(*name.split(".")).with_suffix(".py")
        if name in seen or not path.is_file():
            continue
        seen.add(name)
        for node in ast.parse(path.read_text()).body:  # not in functions, not only for types
            if isinstance(node, ast.ImportFrom):
                modules += [str(node.module), *(f"{node.module}.{a.name}" for a in node.names)]
    return seen


def test_a_profile_reads_what_it_runs_and_little_else() -> None:
    names = ("cli.app", "cli.profile", "cli.resolve", "profiling.api", "data.scenes")
    found = read_with([f"swiftprof.{name}" for name in (*names, "models.families.llava")])
    assert "swiftprof.profiling.record" in found
    assert len(found) <= 60, sorted(found)
    for other in ("planning.plan_file", "runtime.prefill", "data.own", "methods", "hub"):
        assert not {name for name in found if name.startswith(f"swiftprof.{other}")}
