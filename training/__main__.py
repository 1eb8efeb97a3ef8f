"""Train the bundled model from scratch, offline, on a CPU.

    python -m training --out runs/tiny

Every phase continues from its last checkpoint, so the same command resumes a run that was cut
off. The tower and the decoder learn side by side in two processes of one thread each.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import torch

from training import phases


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoints")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and scenes")
    parser.add_argument("--threads", type=int, default=2, help="threads of the joint phases")
    names = ["all", "tower", "symbols", "join", *phases.LOOKING]
    parser.add_argument("--phase", choices=names)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    phase = args.phase or "all"
    alone = phase in ("tower", "symbols")
    torch.set_num_threads(1 if alone else args.threads)
    if phase == "all":
        _side_by_side(args)
    if phase == "tower" and not phases.finished(args.out, "tower"):
        phases.train_tower(args.out, args.seed)
    if phase == "symbols":
        for stage in (1, 2, 3, 4):
            if not phases.finished(args.out, f"symbols-{stage}"):
                phases.train_symbols(args.out, args.seed, stage)
    if phase in ("all", "join") and not phases.finished(args.out, "join"):
        phases.train_join(args.out, args.seed)
    for name in phases.LOOKING:
        if phase in ("all", name) and not phases.finished(args.out, name):
            phases.train_looks(args.out, args.seed, name)


def _side_by_side(args: argparse.Namespace) -> None:
    base = [sys.executable, "-m", "training", "--out", str(args.out)]
    base += ["--seed", str(args.seed), "--phase"]
    running = [subprocess.Popen([*base, phase]) for phase in ("tower", "symbols")]
    codes = [p.wait() for p in running]  # wait for both, whatever the first says
    if any(codes):
        sys.exit("a phase of the training failed; its message is above")


if __name__ == "__main__":
    main()
