"""Find the parquet files of a split: in a local copy below ``--data-root``, else on the Hub.

``datasets`` resolves what a repository calls its configurations and splits; the files are then read
by ``parquet.Rows``, which gives random access to rows without preparing the whole set.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftprof.errors import SwiftprofError, did_you_mean, reason
from swiftprof.files import read_json_object, write_text_atomic


@dataclass(frozen=True)
class Part:
    """One split of a repository.

    Attributes:
        ids: where it is, and where it was before, as ``owner/name``.
        in_part: read only the row groups that are needed over the network, for sets of many GB;
            others are downloaded whole into the Hub's own cache.
    """

    ids: tuple[str, ...]
    split: str
    columns: tuple[str, ...]
    config: str | None = None
    in_part: bool = False


@dataclass(frozen=True)
class Found:
    """The files of a part.

    Attributes:
        files: local paths or ``hf://`` addresses, in order.
        source: id and revision, for the record.
        cache: where row groups read over the network are kept; None for local files.
    """

    files: tuple[str, ...]
    source: str
    cache: Path | None = None


def find(part: Part, name: str, data_root: Path | None) -> Found:
    """The files of a part.

    Raises:
        SwiftprofError: nowhere to be found, no such split in a copy, no network, no access.
    """
    copy = local_copy(part, data_root)
    if copy is not None:
        files = _local_files(copy, part, name)
        return Found(tuple(files), f"{part.ids[0]} (local copy, {_local_revision(copy, files)})")
    return _on_hub(part, name)


def local_copy(part: Part, data_root: Path | None) -> Path | None:
    """The folder below ``data_root`` that holds a copy of the repository."""
    if data_root is None:
        return None
    below = [*part.ids, *(id.split("/")[1] for id in part.ids)]
    return next((data_root / p for p in below if (data_root / p).is_dir()), None)


def cache_root() -> Path:
    """Folder for row groups and images that were read over the network."""
    if own := os.environ.get("SWIFTPROF_CACHE"):
        return Path(own)
    from huggingface_hub.constants import HF_HOME

    return Path(HF_HOME) / "swiftprof"


def _local_files(folder: Path, part: Part, name: str) -> list[str]:
    from datasets import load_dataset_builder

    splits: list[str] = []
    with suppress(ValueError, OSError):  # no such configuration: the copy lacks its README
        builder = load_dataset_builder(str(folder), part.config)
        files = {str(k): [str(f) for f in v] for k, v in builder.config.data_files.items()}
        if part.config is None or builder.config.name == part.config:
            if found := [f for f in files.get(part.split, []) if f.endswith(".parquet")]:
                return _complete(found, folder, part, name)
            splits = sorted(files)
    inside = [folder / d for d in (part.config, "data", "") if d is not None]
    for place in inside:
        found = sorted(str(f) for f in place.glob(f"{part.split}*.parquet"))
        found = [f for f in found if re.fullmatch(rf"{part.split}(-.*)?", Path(f).stem)]
        if found:
            return _complete(found, folder, part, name)
    of = f" of configuration {part.config}" if part.config else ""
    has = f"; splits there: {', '.join(splits)}" if splits else ""
    raise SwiftprofError(
        f"data set {name}: {folder} has no parquet files for split {part.split}{of}{has}; "
        f"{_fetch(part, folder)}"
    )


def _complete(files: list[str], folder: Path, part: Part, name: str) -> list[str]:
    """The files, unless their own numbers say that some are missing."""
    parts = [re.search(r"-(\d{5})-of-(\d{5})\.parquet$", f) for f in files]
    wanted = {int(match[2]) for match in parts if match}
    if all(parts) and len(wanted) == 1 and len(files) < (count := wanted.pop()):
        raise SwiftprofError(
            f"data set {name}: {folder} has {len(files)} of {count} files of split {part.split}; "
            f"{_fetch(part, folder)}"
        )
    return files


def _fetch(part: Part, folder: Path) -> str:
    return f"fetch them with: hf download {part.ids[0]} --repo-type dataset --local-dir {folder}"


def _local_revision(folder: Path, files: Sequence[str]) -> str:
    """The commit that ``hf download`` noted beside a file, else a digest of names and sizes."""
    first = Path(files[0])
    with suppress(OSError, ValueError):
        inside = first.resolve().relative_to(folder.resolve())
        note = folder / ".cache" / "huggingface" / "download" / f"{inside}.metadata"
        with note.open(encoding="ascii") as lines:
            commit = lines.readline().strip()
        if re.fullmatch(r"[0-9a-f]{40}", commit):
            return f"revision {commit}"
    listing = "\n".join(f"{Path(f).name} {Path(f).stat().st_size}" for f in files)
    return f"files {hashlib.sha256(listing.encode()).hexdigest()[:12]}"


def _on_hub(part: Part, name: str) -> Found:
    from huggingface_hub import HfApi
    from huggingface_hub.constants import HF_HUB_OFFLINE
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    why = "HF_HUB_OFFLINE is set"
    for id in () if HF_HUB_OFFLINE else part.ids:
        try:
            revision = str(HfApi().dataset_info(id, timeout=20).sha)
        except GatedRepoError:
            why = "it is gated"
        except RepositoryNotFoundError:
            why = "no such data set"
            continue
        except Exception as error:  # the HTTP library's own kinds differ between hub versions
            why = reason(error)
        else:
            return _resolve(part, name, id, revision)
        break
    offline = _remembered(part) or _snapshot(part, name)
    if offline is not None:
        return offline
    if why == "it is gated":
        advice = "accept its terms on its page and log in with: hf auth login"
    else:
        advice = (
            "check the network, or give `data_root` DIR with a copy: hf download "
            f"{part.ids[0]} --repo-type dataset --local-dir DIR/{part.ids[0]}"
        )
    raise SwiftprofError(
        f"data set {name}: cannot get {' or '.join(part.ids)} from the Hugging Face Hub "
        f"({why}), and it is not in the cache; {advice}"
    )


def _resolve(part: Part, name: str, id: str, revision: str) -> Found:
    from datasets import load_dataset_builder

    try:
        builder = load_dataset_builder(id, part.config, revision=revision)
        files = {str(k): [str(f) for f in v] for k, v in builder.config.data_files.items()}
    except (OSError, ValueError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise SwiftprofError(
            f"data set {name}: {id} at {revision[:12]} cannot be opened ({first}); give "
            "`data_root` DIR with a local copy"
        ) from error
    if part.split not in files:
        raise SwiftprofError(
            f"data set {name}: {id} at {revision[:12]} has no split {part.split!r}: "
            f"{did_you_mean(part.split, files)}; the repository has changed, give `data_root` DIR "
            "with an older copy"
        )
    folder = cache_root() / id.replace("/", "--") / revision
    found = Found(tuple(files[part.split]), f"{id}@{revision}", folder / _flat(part))
    text = json.dumps({"files": found.files, "source": found.source, "columns": part.columns})
    write_text_atomic(folder / f"{_flat(part)}.json", text + "\n")
    return found


def _remembered(part: Part) -> Found | None:
    """The newest listing of an earlier call, for work without a network."""
    notes: list[Path] = []
    for id in part.ids:
        notes += (cache_root() / id.replace("/", "--")).glob(f"*/{_flat(part)}.json")
    for note in sorted(notes, key=lambda f: f.stat().st_mtime, reverse=True):
        with suppress(SwiftprofError, KeyError, TypeError):
            there: dict[str, Any] = read_json_object(note, "listing", max_bytes=1 << 24)
            files: Sequence[str] = there["files"]
            return Found(tuple(files), str(there["source"]), note.parent / _flat(part))
    return None


def _snapshot(part: Part, name: str) -> Found | None:
    """What others have left in the Hub's own cache, ``hf download`` for one, if it is whole."""
    from huggingface_hub import snapshot_download

    for id in part.ids:
        with suppress(Exception):  # not there, in the words of many versions of the library
            path = Path(snapshot_download(id, repo_type="dataset", local_files_only=True))
            return Found(tuple(_local_files(path, part, name)), f"{id}@{path.name}")
    return None


def _flat(part: Part) -> str:
    return f"{part.config or 'default'}-{part.split}"
