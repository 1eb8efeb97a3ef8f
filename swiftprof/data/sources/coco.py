"""Pixels of COCO's train2014: a local folder, else the single images from COCO's site.

The RefCOCO sets with a train split carry no pixels. A thousand samples need a thousand JPEGs
(about 160 MB), not the 13 GB archive.
"""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from pathlib import Path

from PIL.Image import Image

from swiftprof.data.images import Picture, picture
from swiftprof.data.sources.find import cache_root
from swiftprof.errors import BadSample, SwiftprofError
from swiftprof.files import write_atomic

SITE = "http://images.cocodataset.org/train2014/"
_NAME = re.compile(r"COCO_train2014_\d{12}\.jpg")
_FOLDERS = ("train2014", "coco/train2014", "coco/images/train2014", "images/train2014", "")
_MOST_BYTES = 20_000_000


class CocoImages:
    """Images by their file name, ``COCO_train2014_000000581857.jpg``."""

    def __init__(self, data_root: Path | None) -> None:
        self.root = data_root

    def image(self, name: str) -> Image | Picture:
        """Raises BadSample for a broken or unknown image, SwiftprofError where none can be had."""
        if not _NAME.fullmatch(name):
            raise BadSample(f"{name[:80]!r} is not the name of a train2014 image")
        return picture(self._local(name) or self._fetched(name), name)

    def _local(self, name: str) -> Path | None:
        places = [self.root / folder / name for folder in _FOLDERS] if self.root else []
        return next((path for path in places if path.is_file()), None)

    def _fetched(self, name: str) -> Path:
        kept = cache_root() / "coco" / "train2014" / name
        if kept.is_file():
            return kept
        hint = (
            "give `data_root` DIR, a folder with COCO's train2014/ in it"
            if self.root is None
            else f"{self.root} has no train2014/ with it"
        )
        from huggingface_hub.constants import HF_HUB_OFFLINE

        if HF_HUB_OFFLINE:
            raise SwiftprofError(f"COCO image {name}: HF_HUB_OFFLINE is set, and {hint}")
        try:
            with urllib.request.urlopen(SITE + name, timeout=30) as answer:
                content = answer.read(_MOST_BYTES + 1)
        except urllib.error.HTTPError as error:
            raise BadSample(f"{name}: COCO's site answers {error.code}") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise SwiftprofError(
                f"COCO image {name}: cannot reach {SITE} ({reason}); {hint}"
            ) from None
        if len(content) > _MOST_BYTES:
            raise BadSample(f"{name}: COCO's site sends more than {_MOST_BYTES // 10**6} MB")
        try:
            write_atomic(kept, lambda partial: partial.write_bytes(content))
        except OSError as error:
            raise SwiftprofError(
                f"{kept}: cannot write ({error.strerror}); make room or set SWIFTPROF_CACHE"
            ) from error
        return kept
