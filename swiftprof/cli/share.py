"""`swiftprof share`: a plan and its curve, to the Hugging Face Hub."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from swiftprof.cli.options import JsonOpt
from swiftprof.cli.output import Output
from swiftprof.errors import BadParameter, SwiftprofError

EXAMPLES = (
    "swiftprof share profiles/mine --to owner/name --dry-run",
    "swiftprof share profiles/mine --to owner/name --plan plan.json",
)


def share(
    profile: Annotated[str, typer.Argument(help="A profile folder.")],
    to: Annotated[str, typer.Option(help="The repository to write, owner/name.")],
    plan: Annotated[
        str | None, typer.Option(help="The plan to share.", show_default="one with 3 layers, 1/3")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would go; nothing is sent.")
    ] = False,
    json: JsonOpt = False,
) -> None:
    """Share a plan and its curve on the Hugging Face Hub, for hf://owner/name.

    What goes is plan.json, curve.json, a picture of the curve, report.html, and a card. No samples,
    answers, paths or tokens are in it. Needs `hf auth login` once.
    """
    output = Output(json)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", to):
        raise BadParameter("to", to, "must be owner/name")
    from rich.markup import escape

    from swiftprof.cli.resolve import read_plan, read_profile
    from swiftprof.planning.api import plan as make
    from swiftprof.report.sharing import prepare
    from swiftprof.tables import Table

    measured = read_profile(profile)
    made = read_plan(plan)[1] if plan is not None else make(measured, budget=3, ratio=1 / 3)
    with TemporaryDirectory() as folder:
        files = prepare(measured, made, to, Path(folder))
        sizes = {file.name: file.stat().st_size for file in files}
        rows = tuple((name, f"{size:,}") for name, size in sizes.items())
        output.tables(Table(("file", "bytes"), rows, title=f"To {to}"))
        if dry_run:
            output.print("\n" + escape((Path(folder) / "README.md").read_text(encoding="utf-8")))
            output.print("Nothing was sent (--dry-run).")
        else:
            _send(Path(folder), to)
            output.print("\nShared. Anybody can now use it.")
            output.next("run", "--plan", f"hf://{to}")
    output.document({"to": to, "files": sizes, "sent": not dry_run})


def _send(folder: Path, to: str) -> None:
    """Make the repository where it is new, and commit the files."""
    from huggingface_hub import HfApi, errors

    api = HfApi()
    try:
        api.create_repo(to, exist_ok=True)
        api.upload_folder(
            repo_id=to, folder_path=folder, commit_message="A plan and its curve, by swiftprof"
        )
    except errors.LocalTokenNotFoundError:
        raise SwiftprofError("the hub does not know you: `hf auth login` first") from None
    except (errors.HfHubHTTPError, OSError, ValueError) as error:
        why = " ".join(str(error).split())[:300]
        raise SwiftprofError(f"{to}: the hub does not take it: {why}") from None
