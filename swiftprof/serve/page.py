"""The page at `/`: one file, nothing loaded from elsewhere, everything it is told escaped."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from swiftprof import __version__
from swiftprof.serve.images import opened

if TYPE_CHECKING:
    from swiftprof.serve.service import Service

EXAMPLES = 4
"""Scenes that the page of a bundled model offers."""


@dataclass(frozen=True)
class Page:
    """The page as it is served.

    Attributes:
        headers: a policy under which only its own script runs and only its own server is asked.
    """

    html: str
    headers: dict[str, str]

    @classmethod
    def of(cls, service: Service, *, needs_key: bool) -> Page:
        """The page of a server."""
        vlm = service.vlm
        conventions = vlm.conventions
        facts = {
            "model": vlm.name,
            "layers": vlm.num_layers,
            "visual_tokens": vlm.visual_tokens,
            "fit": conventions.image_fit,
            "pad": "rgb({},{},{})".format(*conventions.pad_color),
            "key": needs_key,
            "variants": [{"id": v.name, **v.card()} for v in service.variants.values()],
            "examples": _examples() if vlm.source.bundled else [],
        }
        script, style = _resource("page.js"), _resource("page.css")
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
        policy = (
            f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
            "img-src data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'"
        )
        told = json.dumps(facts, ensure_ascii=True).replace("<", "\\u003c")
        html = _resource("page.html")
        for mark, text in (
            ("/*STYLE*/", style),
            ("/*FACTS*/", told),
            ("/*SCRIPT*/", script),
            ("VERSION", __version__),
        ):
            html = html.replace(mark, text, 1)
        headers = {"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff"}
        return cls(html, {**headers, "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"})


def _examples() -> list[dict[str, Any]]:
    """Scenes of the test split, with a question each."""
    from swiftprof.data.registry import BUNDLED, get_dataset

    found = []
    for number in range(EXAMPLES):
        sample = get_dataset(BUNDLED[number % len(BUNDLED)]).sample("test", number)
        content = io.BytesIO()
        opened(sample.image).save(content, "PNG")
        encoded = base64.b64encode(content.getvalue()).decode("ascii")
        url = f"data:image/png;base64,{encoded}"
        found.append({"image": url, "question": sample.question, "answer": sample.answers[0]})
    return found


def _resource(name: str) -> str:
    return (files("swiftprof.serve") / "static" / name).read_text("utf-8").strip()
