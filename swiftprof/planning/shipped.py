"""Plans that come with swiftprof, by the short name of their model.

`llava-1.5-7b` has the layers that arXiv 2602.03134 publishes; the plans of the bundled models were
made from the profiles beside them (`swiftprof.tiny`).
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def shipped_plans() -> dict[str, Path]:
    """Short name of a model → the file of its plan."""
    folder = Path(str(files("swiftprof.planning").joinpath("plans")))
    return {file.stem: file for file in sorted(folder.glob("*.json"))}
