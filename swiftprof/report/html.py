"""A page as one HTML file: nothing is loaded, everything from files is escaped."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import Any

from swiftprof import __version__
from swiftprof.errors import SwiftprofError
from swiftprof.report.page import Page

LARGEST = 40 << 20
"""Bytes of a page; browsers on phones do not open much more."""


def render(page: Page) -> str:
    """The whole file. Raises SwiftprofError where it would be too large."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("swiftprof.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_typeset,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["table_html"] = lambda table: Markup(table.html())
    environment.filters["drawn"] = Markup  # only for figures that were drawn in this process
    script, style = (_resource(name) for name in ("report.js", "report.css"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    context: dict[str, Any] = {
        "page": page,
        "headlines": _headlines(page),
        "style": Markup(style),
        "script": Markup(script),
        "script_hash": digest,
        "version": __version__,
        "methods": list(dict.fromkeys(s.method for card in page.cards for s in card.said)),
        "datasets": list(dict.fromkeys(card.dataset for card in page.cards)),
        "runs": list(dict.fromkeys(card.run for card in page.cards)),
    }
    text = environment.get_template("report.html.j2").render(context)
    size = len(text.encode("utf-8"))
    if size > LARGEST:
        raise SwiftprofError(
            f"the report would have {size >> 20} MB, more than {LARGEST >> 20}; show fewer samples "
            "with --samples, or fewer runs"
        )
    return text


def _headlines(page: Page) -> list[str]:
    """What was measured, what is best, how sure; of analyses only where there is nothing else."""
    runs = [s.headline for s in page.sections if s.kind != "analysis" and s.headline]
    return runs or [s.headline for s in page.sections if s.headline][:5]


def _typeset(value: Any) -> Any:
    """Keep a number and its per cent sign on one line; what is marked as safe stays as it is."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    whole = value.encode("utf-8", "replace").decode("utf-8")  # halves of characters have no bytes
    return whole.replace("\0", "\ufffd").replace(" %", "\u00a0%")


def _resource(name: str) -> str:
    """A file beside the templates, exactly as the page will hold it."""
    return (files("swiftprof.report") / "templates" / name).read_text("utf-8").strip()
