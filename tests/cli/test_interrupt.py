"""Ctrl-C in the middle of a profile: a line that says how to go on, and nothing lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial

import pytest

from swiftprof.cli.app import main


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_interrupted_profile_goes_on(tmp_path, capsys):
    folder = tmp_path / "profile"
    # 60 samples are two parts: of 50 and of 10
    arguments = ["profile", "--datasets", "scenes-qa", "--samples", "60", "--out", str(folder)]
    command = [sys.executable, "-m", "swiftprof", *arguments]
    # A shell's background jobs ignore the signal, and so would a child of this process.
    listen = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=listen)
    first = folder / "parts" / "scenes-qa-00000.parquet"
    while not first.exists() and running.poll() is None:
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=120)
    assert running.returncode == 130, err
    assert err.splitlines()[-1] == "swiftprof: interrupted; type the same command again to go on"
    kept = first.read_bytes()
    assert not (folder / "profile.json").exists()

    assert main(["plan", str(folder)]) == 2
    assert "not finished" in capsys.readouterr().err
    assert main([*arguments, "--json"]) == 0
    assert first.read_bytes() == kept
    assert (folder / "parts" / "scenes-qa-00001.parquet").exists()


WAITS = """
import sys, time
from swiftprof.cli.errors import run

def app(**_):
    try:
        print("begun", flush=True)
        time.sleep(60)
    finally:
        print("the cursor is back", flush=True)

sys.exit(run(app, []))
"""


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_sigterm_ends_a_command_like_an_interruption():
    running = subprocess.Popen(
        [sys.executable, "-c", WAITS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert running.stdout is not None
    assert running.stdout.readline() == "begun\n"
    running.send_signal(signal.SIGTERM)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert out == "the cursor is back\n"
    assert err == "swiftprof: interrupted; type the same command again to go on\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_an_output_that_is_full_is_one_line():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "swiftprof", "datasets", "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert "cannot write the output (No space left on device)" in done.stderr
