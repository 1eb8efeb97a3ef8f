"""A race on the bundled model, in small: units of three samples."""

from __future__ import annotations

from typing import Any

import pytest

from swiftprof.profiling import api, parts

UNIT = 3


@pytest.fixture
def small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """Units as small as those of `raced`."""
    monkeypatch.setattr(parts, "PART_SAMPLES", UNIT)


@pytest.fixture(scope="session")
def raced(bundled: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A race of 12 samples a set, hence three rounds, and the same samples without one."""
    root = tmp_path_factory.mktemp("race")
    sets = ["scenes-qa", "scenes-text"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "PART_SAMPLES", UNIT)
        whole = api.profile(bundled, sets, samples=12, out=root / "whole")
        done = api.profile(bundled, sets, samples=12, race=0.5, out=root / "raced")
    return done, whole
