"""The patches that are left, as paths over one image: small and sharp, without a script."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from swiftprof.analysis.patches import StagePatches
from swiftprof.analysis.traced import Picture, decode
from swiftprof.errors import SwiftprofError

MOST_SIDE = 1000
"""Patches of a grid's side."""


def check_picture(picture: Picture) -> None:
    """Refuse pictures whose numbers do not fit their grid. Raises SwiftprofError."""
    decode(picture.image)
    if picture.grid is None:
        return
    rows, columns = picture.grid
    if not (0 < rows <= MOST_SIDE and 0 < columns <= MOST_SIDE):
        raise SwiftprofError(f"pictures: a grid of {rows} x {columns} patches; analyse again")
    for method in picture.methods:
        for stage in method.stages:
            for place in (*stage.kept, *stage.merged, *stage.returned):
                if not 0 <= place < rows * columns:
                    raise SwiftprofError(
                        f"pictures: patch {place} is outside the grid of {rows} x {columns}; "
                        "analyse again"
                    )


def url(picture: Picture) -> str:
    """The picture's own image; it was checked to be one."""
    return f"data:image/png;base64,{picture.image}"


def lost(stage: StagePatches, grid: tuple[int, int]) -> str:
    """An SVG path over the patches that left; one unit is one patch."""
    rows, columns = grid
    gone = set(range(rows * columns)) - set(stage.kept)
    return "".join(
        f"M{start} {row}h{length}v1h-{length}z"
        for row in range(rows)
        for start, length in _runs(gone, row, columns)
    )


def frames(places: Iterable[int], grid: tuple[int, int]) -> str:
    """An SVG path around patches."""
    columns = grid[1]
    return "".join(
        f"M{i % columns + 0.08:.2f} {i // columns + 0.08:.2f}h.84v.84h-.84z" for i in places
    )


def _runs(gone: Collection[int], row: int, columns: int) -> Iterable[tuple[int, int]]:
    """(start, length) of each run of lost patches in a row."""
    start = None
    for column in range(columns + 1):
        inside = column < columns and row * columns + column in gone
        if inside and start is None:
            start = column
        elif not inside and start is not None:
            yield start, column - start
            start = None
