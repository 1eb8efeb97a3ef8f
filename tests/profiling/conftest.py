"""Units of three samples, so that a few samples make many parts."""

from __future__ import annotations

import pytest

from swiftprof.runs import folder

UNIT = 3


@pytest.fixture
def small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of three samples."""
    monkeypatch.setattr(folder, "PART_SAMPLES", UNIT)
