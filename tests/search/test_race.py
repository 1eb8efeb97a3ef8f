"""Who goes on in a race, and what is kept of it."""

from __future__ import annotations

import numpy as np
import pytest

from swiftprof.errors import SwiftprofError
from swiftprof.search.race import gain, go_on, relative
from swiftprof.search.store import Store


def test_a_set_counts_the_same_however_many_samples_it_has():
    scores = [np.array([0.5, 0.5]), np.array([0.9] * 8)]
    vanilla = [np.array([1.0, 1.0]), np.array([0.9] * 8)]
    assert relative(scores, vanilla).mean() == pytest.approx((0.5 + 1.0) / 2)
    assert len(relative(scores, vanilla)) == 10


def test_who_is_behind_beyond_chance_leaves_and_equals_stay():
    chance = np.random.default_rng(0)
    base = chance.random(200)
    values = {
        "worse": base - 0.2 + 0.1 * chance.random(200),
        "best": base,
        "equal": base + 0.3 * (chance.random(200) - 0.5),
    }
    assert set(go_on(values, 9)) == {"best", "equal"}
    assert len(go_on(values, 1)) == 1


def test_the_stated_risk_holds_between_equals():
    chance = np.random.default_rng(1)
    left = 0
    for _ in range(2000):
        a, b = chance.random((2, 40))
        left += len(go_on({"a": a, "b": b}, 9)) == 1
    # Either may be ahead by chance, so the pair is parted at most twice as often as at one side.
    assert left / 2000 < 2 * 0.05 + 0.02


def test_a_gain_is_a_paired_difference_with_its_interval():
    base = np.random.default_rng(2).random(400)
    found = gain(base + 0.1, base)
    assert found.mean == pytest.approx(0.1)
    assert found.low == pytest.approx(found.high)  # the same for every sample: nothing is unsure
    noisy = gain(np.random.default_rng(3).random(400), base)
    assert noisy.low < 0 < noisy.high


def test_what_was_measured_is_read_again_and_a_torn_line_is_not(tmp_path):
    store = Store(tmp_path / "s", {"seed": 1})
    store.put("a", ("set", 0), [0.5, 1.0], 2.0)
    store.put("b", ("set", 0), [0.25], 1.0)
    path = tmp_path / "s" / "scores.jsonl"
    path.write_text(path.read_text()[:-20])
    again = Store(tmp_path / "s", {"seed": 1})
    assert again.get("a", ("set", 0)) == [0.5, 1.0]
    assert again.get("b", ("set", 0)) is None
    assert again.seconds == 2.0
    again.put("b", ("set", 0), [0.75], 1.0)
    assert Store(tmp_path / "s", {"seed": 1}).get("b", ("set", 0)) == [0.75]
    with pytest.raises(SwiftprofError, match="other settings"):
        Store(tmp_path / "s", {"seed": 2})
