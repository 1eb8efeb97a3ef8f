"""Short names of own data's content, so that a run does not go on with data that have changed."""

from __future__ import annotations

import hashlib
from pathlib import Path

WHOLE = 1 << 30
"""Bytes up to which all of a file is read; of larger ones, the ends."""
END = 1 << 16


def digest_of(path: Path) -> str:
    """``sha256:…`` of a file, or of a folder's data files with their names."""
    sha = hashlib.sha256()
    if path.is_dir():
        files = [f for f in sorted(path.rglob("*")) if f.suffix in (".arrow", ".parquet", ".json")]
    else:
        files = [path]
    for file in files:
        if path.is_dir():
            sha.update(str(file.relative_to(path)).encode("utf-8", "surrogateescape"))
        size = file.stat().st_size
        sha.update(str(size).encode() if len(files) > 1 or size > WHOLE else b"")
        with file.open("rb") as opened:
            if size <= WHOLE:
                while chunk := opened.read(1 << 20):
                    sha.update(chunk)
            else:
                sha.update(opened.read(END))
                opened.seek(-END, 2)
                sha.update(opened.read(END))
    return f"sha256:{sha.hexdigest()[:16]}"
