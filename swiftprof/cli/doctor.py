"""`swiftprof doctor`: what of this machine is usable, and what to do about the rest."""

from __future__ import annotations

from swiftprof.cli.options import JsonOpt
from swiftprof.cli.output import Output

EXAMPLES = ("swiftprof doctor", "swiftprof doctor --json")
_MARKS = {"ok": "ok", "note": "--", "problem": "!!"}


def doctor(json: JsonOpt = False) -> None:
    """Check the machine: versions, GPU, attention, quantisation, cached weights, disk, memory.

    `--` marks what is missing but not needed, `!!` what will stop you; each says what to do.
    """
    from swiftprof.models.doctor import examine
    from swiftprof.tables import Table

    output, findings = Output(json), examine()
    usable = all(f.state != "problem" for f in findings)
    output.document({"usable": usable, "findings": [vars(f) for f in findings]})
    rows = ((_MARKS[f.state], f.what, f.found + f" → {f.do}" * bool(f.do)) for f in findings)
    output.tables(Table(("", "what", "found → what to do"), tuple(rows), left=(0, 1, 2)))
