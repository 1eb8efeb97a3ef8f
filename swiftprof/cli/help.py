"""Help texts: paragraphs that fit any terminal, options without needless types, examples."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from typer.core import TyperCommand, TyperGroup

_TYPES = {"str": "TEXT", "int": "N", "float": "X", "path": "PATH", "list[str]": "TEXT"}


class _Plain:
    """Options show what they take in one short word, and flags nothing."""

    def get_params(self, ctx: Any) -> list[Any]:
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for param in params:
            if getattr(param, "is_flag", False):
                param.metavar = ""
            elif param.param_type_name == "option" and param.metavar is None:
                param.metavar = _TYPES.get(param.bare_type().lower())
        return params


class Command(_Plain, TyperCommand):
    """A command with plain help."""


class Group(_Plain, TyperGroup):
    """A group of commands with plain help; they stand in the order in which they were added."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)


def paragraphs(command: Callable[..., Any]) -> str:
    """A docstring whose paragraphs are one line each: the terminal breaks them where it must."""
    text = inspect.cleandoc(command.__doc__ or "")
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def epilog(examples: Sequence[str]) -> str:
    """The examples below a command's help."""
    lines = "\n\n".join(f"  [cyan]{line}[/cyan]" for line in examples)
    return f"[bold]Examples[/bold]\n\n{lines}"
