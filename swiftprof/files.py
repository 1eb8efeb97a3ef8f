"""Reading strangers' JSON, checking it, and writing files that are either whole or absent."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from uuid import uuid4

from pydantic import BaseModel, ValidationError

from swiftprof.errors import SwiftprofError

Model = TypeVar("Model", bound=BaseModel)


def read_json_object(path: Path, what: str, max_bytes: int = 1 << 20) -> dict[str, Any]:
    """Read a JSON object from a file that may come from anyone.

    Args:
        path: the file.
        what: what it should be, for messages ("plan", "curve").
        max_bytes: larger files are refused unread.

    Raises:
        SwiftprofError: missing, unreadable, too large, not UTF-8, not JSON, or not an object.
    """
    try:
        if path.is_dir():
            raise SwiftprofError(
                f"{path}: is a folder, not a {what} file; give the path of the JSON file"
            )
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise SwiftprofError(f"{path}: is a pipe or device, not a {what} file; check the path")
        with path.open("rb") as file:
            raw = file.read(max_bytes + 1)
    except FileNotFoundError:
        raise SwiftprofError(f"{path}: no such {what} file; check the path") from None
    except OSError as error:
        raise SwiftprofError(
            f"{path}: cannot read this {what} file: {error.strerror or error}"
        ) from error
    if len(raw) > max_bytes:
        raise SwiftprofError(
            f"{path}: larger than {max_bytes / 2**20:g} MiB, so it is not a {what} file; check "
            "the path"
        )
    try:
        document = json.loads(raw.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        raise SwiftprofError(
            f"{path}: not a text file in UTF-8, so it is not a {what} file; check the path"
        ) from None
    except json.JSONDecodeError as error:
        cut = (
            "; the file looks cut short"
            if error.pos >= len(raw.decode("utf-8-sig").rstrip())
            else ""
        )
        raise SwiftprofError(
            f"{path}: not valid JSON (line {error.lineno}, column {error.colno}: "
            f"{error.msg}){cut}; "
            f"write the {what} again or restore it"
        ) from None
    except (ValueError, RecursionError) as error:
        raise SwiftprofError(
            f"{path}: not valid JSON ({error}); write the {what} again or restore it"
        ) from None
    if not isinstance(document, dict):
        raise SwiftprofError(
            f"{path}: holds a JSON {_kind(document)}, but a {what} is a JSON object {{…}}"
        )
    return document


def validated(kind: type[Model], document: object, where: object, advice: str = "") -> Model:
    """A document as a pydantic model.

    Raises:
        SwiftprofError: `where`, the field and what is wrong with it, then `advice`.
    """
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise SwiftprofError(f"{where}: {first_error(error)}{advice and f'; {advice}'}") from None


def first_error(error: ValidationError) -> str:
    """The first complaint of pydantic as `stages[1].keep: what is wrong (got 1.2)`."""
    detail = error.errors(include_url=False)[0]
    field = ""
    for part in detail["loc"]:
        field += f"[{part}]" if isinstance(part, int) else f"{'.' if field else ''}{_short(part)}"
    if detail["type"] == "extra_forbidden":
        return f"{field}: no such field"
    message = detail["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    value = detail.get("input")
    got = (
        f" (got {_short(value)})"
        if isinstance(value, int | float | str) and detail["type"] != "value_error"
        else ""
    )
    return f"{field}: {message}{got}" if field else f"{message}{got}"


def _short(value: object) -> str:
    """A key or value from a file that may come from anyone, in one line."""
    return str(value)[:60].encode("unicode_escape").decode()


def write_text_atomic(path: Path, text: str) -> None:
    """Write `text` so that a reader, or a crash, sees the old file or the new one and never a part.

    Missing folders are made. Raises SwiftprofError where the file cannot be written.
    """
    try:
        write_atomic(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    except OSError as error:
        raise SwiftprofError(
            f"{path}: cannot write here: {error.strerror or error}; choose another path"
        ) from error


def write_atomic(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file and put it in the place of `path` when it is on disk.

    Several processes may write the same file at once; the last one wins. Missing folders are made.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:12]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number that JSON has")


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "boolean"
    return {list: "list", str: "string", int: "number", float: "number"}.get(type(value), "null")
