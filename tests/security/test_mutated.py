"""A few damaged files for every reader; tests/helpers/mutate.py works through many."""

from __future__ import annotations

import importlib
import random
import sys
from pathlib import Path

import pytest

HELPERS = Path(__file__).parents[1] / "helpers"
EACH = 6
"""Inputs of each reader; their seeds are not those of the long run."""


@pytest.fixture(scope="module")
def mutate(tmp_path_factory):
    sys.path.insert(0, str(HELPERS))
    try:
        module = importlib.import_module("mutate")
        module.readers = importlib.import_module("readers")
        yield module
    finally:
        sys.path.remove(str(HELPERS))


def problems(mutate, readers, each):
    found = []
    for name, reader in readers.items():
        whole = reader.file.read_bytes()
        assert not mutate.judge(reader, whole), name
        for number in range(each):
            rng = random.Random(f"{name}/{number}")
            wrong = mutate.mutated(whole, reader.structure, rng)
            if finding := mutate.judge(reader, wrong):
                found.append((name, number, finding))
        reader.file.write_bytes(whole)
    return found


def test_damaged_files_are_refused_in_one_line_or_read(mutate, tmp_path):
    assert not problems(mutate, mutate.readers.all_readers(tmp_path), EACH)


def test_damaged_profiles_are_refused_in_one_line_or_read(mutate, tmp_path, small_profile):
    assert not problems(mutate, mutate.readers.folder_readers(tmp_path, small_profile.path), 4)


def test_a_reader_that_fails_is_found(mutate, tmp_path):
    """The judge itself: exceptions, long lines and memory are findings."""
    path = tmp_path / "x"

    def fails(_):
        raise KeyError("x")

    def talks(_):
        from swiftprof.errors import SwiftprofError

        raise SwiftprofError("x\n" * 5000)

    assert "KeyError" in mutate.judge(mutate.Reader(path, fails), b"")
    assert "characters" in mutate.judge(mutate.Reader(path, talks), b"")
    assert not mutate.judge(mutate.Reader(path, lambda p: p.read_bytes()), b"")
