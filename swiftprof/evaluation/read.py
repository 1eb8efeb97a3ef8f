"""Reading the results of an evaluation that may come from anyone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from swiftprof.errors import SwiftprofError
from swiftprof.files import read_json_object
from swiftprof.planning.checks import first_error

SCHEMA = "swiftprof.eval/"
MAX_BYTES = 1 << 26


class _Estimate(BaseModel):
    value: float
    low: float
    high: float


class _Score(BaseModel):
    score: float
    relative: _Estimate | None = None


class _Retained(BaseModel):
    mean: float
    least: float
    most: float
    share: float


class _Row(BaseModel):
    label: str
    budget: str = ""
    pruning_layers: list[int] = []
    scores: dict[str, _Score]
    averages: dict[str, _Estimate | None]
    retained: _Retained
    tflops: float
    seconds: float = 0.0


class _Test(BaseModel):
    budget: str
    method: str
    reference: str
    group: str
    difference: _Estimate
    p: float
    p_holm: float


class _Model(BaseModel):
    name: str
    num_layers: int
    visual_tokens: int | None = None


class _Settings(BaseModel):
    model: _Model
    seed: int = 0
    splits: dict[str, str] = {}
    dtype: str = ""
    attention: str = ""
    protocol: dict[str, str] = {}


class _Results(BaseModel):
    """What a report needs of `results.json`; more may stand there."""

    model_config = ConfigDict(extra="ignore")

    settings: _Settings
    groups: dict[str, list[str]]
    samples: dict[str, int]
    rows: list[_Row]
    tests: list[_Test] = []
    skipped: dict[str, list[Any]] = {}
    formula: str = ""
    command: str = ""
    versions: dict[str, str] = {}


def read_results(folder: Path) -> dict[str, Any]:
    """`results.json` of an evaluation, checked.

    Raises:
        SwiftprofError: missing, not an evaluation, or without what a report needs.
    """
    file = folder / "results.json" if folder.is_dir() else folder
    document = read_json_object(file, "evaluation", MAX_BYTES)
    schema = document.get("schema")
    if not (isinstance(schema, str) and schema.startswith(SCHEMA)):
        raise SwiftprofError(
            f"{file}: schema is {str(schema)[:60]!r}, so this is no evaluation; swiftprof eval "
            "makes one"
        )
    try:
        return _Results.model_validate(document).model_dump()
    except ValidationError as error:
        raise SwiftprofError(f"{file}: {first_error(error)}; evaluate again") from None
