"""`swiftprof doctor`: what of this machine is usable, and what to do about the rest."""

from __future__ import annotations

from swiftprof.cli.options import JsonOpt
from swiftprof.cli.output import Output

EXAMPLES = ("swiftprof doctor", "swiftprof doctor --json")
_MARKS = {"ok": "[green]ok[/green]", "note": "[cyan]--[/cyan]", "problem": "[red]!![/red]"}


def doctor(json: JsonOpt = False) -> None:
    """Check the machine: versions, GPU, attention, quantisation, cached weights, disk, memory.

    `--` marks what is missing but not needed, `!!` what will stop you; each says what to do.
    """
    from swiftprof.models.doctor import examine

    output = Output(json)
    findings = examine()
    output.document(
        {
            "usable": all(f.state != "problem" for f in findings),
            "findings": [
                {"what": f.what, "state": f.state, "found": f.found, "do": f.do} for f in findings
            ],
        }
    )
    if json:
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for f in findings:
        table.add_row(_MARKS[f.state], f"[bold]{f.what}[/bold]", escape(f.found))
        if f.do:
            table.add_row("", "", f"[dim]→ {escape(f.do)}[/dim]")
    output.print(table)
