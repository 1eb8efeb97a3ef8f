"""What the benchmark's figures mean."""

from __future__ import annotations

import pytest
import torch

from swiftprof.bench.clock import Clock, paired_ratio, summary
from swiftprof.bench.memory import peak_bytes

CPU = torch.device("cpu")


def test_ratios_are_taken_inside_a_round():
    # the machine slows down four times over; each round is twice as fast all the same
    assert paired_ratio([2.0, 4.0, 8.0], [1.0, 2.0, 4.0]) == 2.0
    assert paired_ratio([2.0, 4.0, 90.0], [1.0, 2.0, 3.0]) == 2.0  # one hiccup changes nothing


def test_summary_of_times():
    assert summary([3.0, 1.0, 2.0, 5.0, 4.0]) == {
        "p50": 3.0,
        "p90": pytest.approx(4.6),
        "min": 1.0,
        "repeats": 5,
    }


def test_spans_of_one_name_add_up():
    clock, spans = Clock(CPU), {}
    for _ in range(3):
        with clock.span(spans, "score"):
            pass
    assert spans.keys() == {"score"}
    assert spans["score"] > 0


def test_peak_counts_what_is_alive_at_a_time():
    x = torch.ones(1000)

    def work():
        a = x + 1  # 4,000 bytes
        b = a * 2  # 8,000
        del a
        c = b.view(10, 100)[2:]  # a view holds nothing of its own
        d = c + 1  # 3,200 more: 7,200
        return float(d.sum())

    assert peak_bytes(CPU, work) == 8000


def test_peak_of_something_that_keeps_everything_is_the_sum():
    x, kept = torch.ones(1000), []
    assert peak_bytes(CPU, lambda: kept.extend(x + i for i in range(5))) == 20_000
