"""Local copies of every data set's repository, in small."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def repositories() -> ModuleType:
    """The module that makes them (tests are not packages, so it is loaded by its path)."""
    path = Path(__file__).with_name("repositories.py")
    spec = importlib.util.spec_from_file_location("swiftprof_test_repositories", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def data_root(repositories: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ``--data-root`` with all of them; not to be changed."""
    root: Path = repositories.make_all(tmp_path_factory.mktemp("data-root"))
    return root


@pytest.fixture
def copied_root(data_root: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may damage."""
    return Path(shutil.copytree(data_root, tmp_path / "root"))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWIFTPROF_CACHE", str(tmp_path / "cache"))
