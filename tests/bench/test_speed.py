"""The speed benchmark: what is timed is the model at work, and its figures fit together."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from swiftprof.bench import phases, speed
from swiftprof.bench.clock import Clock
from swiftprof.bench.phases import run_phases
from swiftprof.bench.random_model import Benched, random_model, sized_models
from swiftprof.cli.app import main
from swiftprof.costs.flops import DecoderShape, plan_flops, vanilla_flops
from swiftprof.errors import SwiftprofError
from swiftprof.methods import create
from swiftprof.models.registry import ModelInfo, own_models
from swiftprof.planning.plan_file import Plan, Stage

CPU = torch.device("cpu")


@pytest.fixture
def plan():
    return Plan(
        model=ModelInfo(name="tiny", num_layers=8, visual_tokens=36),
        stages=(Stage(layer=2, keep=0.5, merge=0.1), Stage(layer=5, keep=0.25)),
    )


@pytest.fixture
def subject(llava, prompts):
    shape = DecoderShape.from_config(llava.config.get_text_config())

    def questions(batch):
        return prompts.batch(*[0] * batch)

    return Benched("tiny", llava, shape, 36, 14, True, 1.0, questions)


def test_phases_of_one_call(llava, prompts, plan):
    inputs = prompts.batch(0)
    vanilla = run_phases(llava, inputs, None, 4, Clock(CPU))
    pruned = run_phases(llava, inputs, plan, 4, Clock(CPU))
    assert vanilla.kv_tokens == [50] * 8
    assert pruned.kv_tokens == [50, 50, 36, 36, 23, 23, 23, 23]  # 14 + 18 + 4, then 14 + 9
    per_token = vanilla.kv_bytes / sum(vanilla.kv_tokens)
    assert per_token == 2 * 2 * 16 * 4  # keys and values of two heads of 16 floats
    assert pruned.kv_bytes == per_token * sum(pruned.kv_tokens)
    assert vanilla.seconds["score"] == vanilla.seconds["select"] == 0
    seconds = pruned.seconds
    assert 0 < seconds["restore"] + seconds["score"] + seconds["select"] < seconds["prefill"]
    assert seconds["vision"] + seconds["prefill"] + 3 * seconds["decode"] < (
        2 * seconds["end_to_end"]
    )
    assert not any(module._forward_pre_hooks for module in llava.modules())


def test_rows_hold_ratios_flops_and_their_quotient(subject, plan):
    rows = speed.compare_speed(subject, {"ours": plan}, [1, 2], new_tokens=3, repeats=3, warmup=0)
    assert [(r["variant"], r["batch"]) for r in rows] == [
        ("vanilla", 1),
        ("ours", 1),
        ("vanilla", 2),
        ("ours", 2),
    ]
    vanilla, ours = rows[:2]
    assert ours["retain"] == pytest.approx((2 * 36 + 2 * 22 + 4 * 9) / 8)
    cost = plan_flops(subject.shape, plan.stages, 36, 14, method=create(plan.method))
    wanted = vanilla_flops(subject.shape, 36, 14) / cost
    assert ours["flops_ratio"] == pytest.approx(wanted)
    assert ours["efficiency"] == pytest.approx(ours["speedup"]["prefill"] / wanted)
    assert set(vanilla["speedup"].values()) == {1.0}
    assert ours["kv_ratio"] == pytest.approx(400 / (2 * 50 + 2 * 36 + 4 * 23))
    assert ours["peak_bytes"] < vanilla["peak_bytes"]
    assert rows[2]["kv_bytes"] == 2 * vanilla["kv_bytes"]
    assert ours["seconds"]["prefill"]["repeats"] == 3
    json.dumps(rows, allow_nan=False)


def test_compiled_variants_are_compiled_once_each(subject, plan, monkeypatch):
    graphs, made = [], phases._compiling(subject.model)

    def backend(graph, example):
        graphs.append(graph)
        return graph.forward

    config = made["compile_config"]
    assert config.fullgraph
    config.backend, config.mode = backend, None
    monkeypatch.setattr(phases, "_compiling", lambda model: made)
    call = {"new_tokens": 4, "repeats": 2, "warmup": 1}
    rows = speed.compare_speed(subject, {"ours": plan}, [1], compiled=True, **call)
    assert len(graphs) == 2  # in three rounds
    plain = run_phases(subject.model, subject.inputs(1), plan, 4, Clock(CPU))
    assert rows[1]["kv_tokens"] == plain.kv_tokens
    assert rows[1]["kv_bytes"] == plain.kv_bytes
    for row in rows:
        seconds = {name: each["p50"] for name, each in row["seconds"].items()}
        assert 0 < 3 * seconds["decode"] < seconds["end_to_end"]
    assert rows[1]["seconds"]["score"]["p50"] > 0 == rows[0]["seconds"]["score"]["p50"]
    assert not any(module._forward_pre_hooks for module in subject.model.modules())


def test_large_batches_run_and_hold_that_many_caches(subject, plan):
    rows = speed.compare_speed(subject, {"ours": plan}, [8, 32], new_tokens=2, repeats=1, warmup=0)
    assert [r["batch"] for r in rows] == [8, 8, 32, 32]
    assert all("failed" not in row for row in rows)
    for eight, many in (rows[0::2], rows[1::2]):
        assert many["kv_bytes"] == 4 * eight["kv_bytes"]
        assert many["peak_bytes"] > 3 * eight["peak_bytes"]
        assert many["seconds"]["prefill"]["p50"] > 0
    assert rows[3]["kv_ratio"] == pytest.approx(rows[1]["kv_ratio"]) == pytest.approx(400 / 264)


def test_a_batch_that_does_not_fit_fails_alone(subject, plan, monkeypatch):
    real = speed.run_phases

    def limited(model, inputs, *rest):
        if len(inputs["input_ids"]) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return real(model, inputs, *rest)

    monkeypatch.setattr(speed, "run_phases", limited)
    rows = speed.compare_speed(subject, {"ours": plan}, [1, 2], new_tokens=2, repeats=1, warmup=0)
    assert ["failed" in row for row in rows] == [False, False, True, True]


def test_sizes_are_those_of_the_checkpoint():
    shape = own_models()["llava-1.5-7b"].shape
    with torch.device("meta"):
        made = random_model("llava-1.5-7b", device=torch.device("meta"), dtype=torch.bfloat16)
    assert DecoderShape.from_config(made.model.config.get_text_config()) == shape == made.shape
    count = sum(p.numel() for p in made.model.parameters())
    assert count == pytest.approx(7.06e9, rel=0.01)  # as published: 7.06 billion
    assert "llava-1.5-13b" in sized_models()


def test_scaled_model_runs_with_all_its_visual_tokens():
    made = random_model("llava-1.5-7b", scale=1 / 32, layers=3)
    assert made.shape == dataclasses.replace(
        own_models()["llava-1.5-7b"].shape,
        num_layers=3,
        hidden_size=128,
        intermediate_size=352,
        num_attention_heads=1,
        num_key_value_heads=1,
    )
    inputs = made.inputs(2)
    assert inputs["input_ids"].shape == (2, 646)
    assert int((inputs["input_ids"] == made.model.config.image_token_id).sum()) == 2 * 576
    with torch.inference_mode():
        logits = made.model(**inputs, logits_to_keep=1).logits
    assert torch.isfinite(logits).all()
    for scale in (0.0, -1.0, 9.0):
        with pytest.raises(SwiftprofError, match="scale"):
            random_model("llava-1.5-7b", scale=scale)
    with pytest.raises(SwiftprofError, match="config nothing"):
        random_model("nothing")


def test_command_writes_one_document(tmp_path, capsys, monkeypatch):
    out = tmp_path / "result.json"
    arguments = ["bench", "--methods", "drop,swiftvlm", "--ratio", "1/3", "--max-new-tokens", "2"]
    code = main([*arguments, "--repeats", "1", "--out", str(out), "--json"])
    document = json.loads(capsys.readouterr().out)
    assert code == 0
    assert document == json.loads(out.read_text())
    assert document["schema"] == "swiftprof.bench/1"
    assert [row["method"] for row in document["rows"]] == ["vanilla", "drop", "swiftvlm"]
    assert document["environment"]["versions"]["torch"] == torch.__version__
    assert document["model"]["attention"] == "sdpa"
    assert all(row["retain"] == pytest.approx(48, abs=0.5) for row in document["rows"][1:])


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--scale", "0.5"], "goes with --config"),
        (["--config", "llava-1.5-7b", "--model", "tiny-llava"], "only one of them"),
        (["--config", "llava"], "its sizes are not known"),
        (["--batch-size", "0"], "--batch-size 0"),
        (["--batch-size", "x"], "--batch-size x"),
        (["--methods", "fastvv"], "did you mean"),
        (["--retain", "1"], "smallest possible"),
    ],
)
def test_bad_input_is_one_line(arguments, complaint, capsys):
    assert main(["bench", *arguments]) == 2
    err = capsys.readouterr().err.splitlines()[-1]
    assert err.startswith("swiftprof: error: ")
    assert complaint in err
