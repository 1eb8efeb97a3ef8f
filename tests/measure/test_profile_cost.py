"""The cost of a profile from sizes alone: the formulas against a count by hand, and the command."""

from __future__ import annotations

import json

import pytest

from swiftprof.cli.app import main
from swiftprof.measure.flops import DecoderShape
from swiftprof.measure.profile_cost import Part, profile_cost
from swiftprof.measure.shapes import KnownModel, known_model


def test_a_small_model_counted_by_hand():
    shape = DecoderShape(4, 8, 16, 2, 2, 4)
    known = KnownModel("small", "small", shape, 10, 4, vocabulary=5, vision_parameters=7)

    def layer(n):
        return 4 * n * 8 * 8 + 2 * n * n * 8 + 3 * n * 8 * 16

    cost = profile_cost(known, 10, [Part("a", 2, 3), Part("b", 1, 0)], keep=0.2)
    vanilla = 4 * layer(14) + 8 * 5 + 10 * 7
    rerun = 2 * layer(2 + 2) + 8 * 5  # two layers; two kept tokens and half of the text
    assert (cost.samples, cost.reruns) == (3, 9)
    assert cost.prompt_flops == 2 * 3 * (vanilla + 3 * rerun)
    assert cost.decode_flops == 2 * 2 * 3 * 4 * (4 * layer(1) + 8 * 5)
    cache = 2 * 8 * 2 * (2 * 14 + 2 * 6)  # a re-run's: all tokens in two layers, 6 in two
    whole = 2 * 8 * 2 * 4 * 14
    weights = 2 * (4 * layer(1) + 40)
    assert cost.decode_bytes == pytest.approx(2 * 3 * (3 * cache + whole + weights * 3 / 512))
    assert cost.seconds(1e-6, 1e-6, 4) == pytest.approx(
        (cost.prompt_flops + cost.decode_bytes) / 1e6 / 4
    )


def test_cost_grows_linearly_with_samples_and_stops_at_prompts_without_decoding():
    known = known_model("llava-1.5-7b")
    one, ten = (profile_cost(known, 576, [Part("a", n, 16)]) for n in (1, 10))
    assert ten.prompt_flops == pytest.approx(10 * one.prompt_flops)
    assert ten.decode_bytes == pytest.approx(10 * one.decode_bytes)
    assert profile_cost(known, 576, [Part("a", 1, 0)]).decode_flops == 0
    assert one.weight_bytes == pytest.approx(2 * 7.06e9, rel=0.02)


def test_the_command_loads_nothing_and_prints_one_document(capsys, monkeypatch):
    monkeypatch.setattr("swiftprof.models.loading.load", None)
    arguments = ["--model", "llava-1.5-7b", "--datasets", "refcoco,textvqa", "--dry-run"]
    assert main(["profile", *arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["reruns"] == 2000 * 31
    assert document["units"] == 40
    assert document["seconds_by_devices"]["1"] > 7 * document["seconds_by_devices"]["8"]
    assert main(["profile", *arguments, "--assume-tflops", "0"]) == 2
    assert "--assume-tflops 0" in capsys.readouterr().err
    assert main(["profile", "--model", "qwen2.5-vl-7b", "--datasets", "refcoco", "--dry-run"]) == 2
    assert "--visual-tokens" in capsys.readouterr().err
