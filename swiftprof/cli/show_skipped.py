"""Samples that could not be used: said on stderr, and in the exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from swiftprof.cli.errors import DONE, SOME_FAILED
from swiftprof.cli.output import Output
from swiftprof.data.asking import Skipped

NAMED = 5


def show_skipped(
    output: Output,
    skipped: Mapping[str, Sequence[Skipped]],
    used: Mapping[str, int],
    where: str,
    left_out: Mapping[str, str],
) -> int:
    """Warn of skipped samples and of data sets left out; the exit code.

    Args:
        skipped: data set → its broken samples.
        used: data set → samples that were used.
        where: where all reasons are, for messages.
        left_out: data set → why it is not in the results.
    """
    code = SOME_FAILED if left_out else DONE
    for name, why in left_out.items():
        output.warn(f"{name}: left out: {why}")
    for name, each in skipped.items():
        if not each:
            continue
        code = SOME_FAILED
        output.warn(f"{name}: {len(each)} of {len(each) + used.get(name, 0)} samples skipped")
        for one in each[:NAMED]:
            output.note(f"  {name} {one.index}: {one.reason}")
        if len(each) > NAMED:
            output.note(f"  … and {len(each) - NAMED} more: see {where}")
    return code
