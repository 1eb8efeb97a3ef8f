"""What analyses look at, in tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from swiftprof.analysis.base import Subject
from swiftprof.data.registry import get_datasets


@pytest.fixture
def subject(bundled: Any, made_profile: Any, tmp_path: Path) -> Callable[..., Subject]:
    """The bundled model and a small made-up profile of it, with the data sets named."""

    def make(*datasets: str) -> Subject:
        return Subject(
            made_profile, lambda: bundled, lambda: get_datasets(list(datasets)), tmp_path
        )

    return make
