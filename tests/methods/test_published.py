"""Every published method against a plain reading of its definition."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from swiftprof.errors import SwiftprofError
from swiftprof.methods import REGISTRY, create, method_class
from swiftprof.planning.budget import fill_budget
from swiftprof.runtime.prune import prune
from swiftprof.runtime.trace import Trace

PEERS: dict[str, tuple[str, dict[str, Any]]] = {
    "fastv": ("fastv", {}),
    "fastv as its paper says": ("fastv", {"queries": "all"}),
    "pdrop": ("pdrop", {}),
    "pdrop with kept positions": ("pdrop", {"positions": "kept"}),
    "sparsevlm": ("sparsevlm", {}),
    "sparsevlm with kept positions": ("sparsevlm", {"positions": "kept"}),
    "visionzip": ("visionzip", {}),
    "feather": ("feather", {}),
    "divprune": ("divprune", {}),
    "divprune with kept positions": ("divprune", {"positions": "kept"}),
    "cdpruner by embeddings": ("cdpruner-embeddings", {}),
    "vispruner": ("vispruner", {}),
    "fastervlm": ("vispruner", {"important": 1.0}),
    "hiprune": ("hiprune", {}),
    "pool": ("pool", {}),
    "dart": ("dart", {}),
    "sparsevlm+": ("sparsevlm-plus", {}),
    "feather with a finer grid": ("feather", {"stride": 2}),
}
RETAIN = {"visionzip": 12, "feather": 22, "hiprune": 26, "pool": 10, "dart": 21}
LAYERS = {
    "dart": (2,),
    "sparsevlm-plus": (2, 4, 6),
    "fastv": (2,),
    "pdrop": (2, 5, 7),
    "sparsevlm": (2, 4, 6),
    "feather": (2, 5),
}


def peer_plan(plan_of: Any, case: str, retain: float | None = None) -> Any:
    """The plan of a peer for the tiny model: 8 layers, 36 visual tokens."""
    name, options = PEERS[case]
    method = create(name, options)
    layers = LAYERS.get(name, (0,))
    stages = fill_budget(layers, 8, 36, retain or RETAIN.get(name, 18), method=method)
    rows = [(s.layer, s.keep, s.merge) for s in stages]
    return plan_of(*rows, method=name, **options)


def logits(out: Any) -> torch.Tensor:
    return torch.stack(out.logits, 1)


@pytest.fixture(scope="module")
def model(make_llava: Any) -> Any:
    return make_llava()


@pytest.mark.parametrize("case", PEERS)
def test_selection_and_logits_equal_the_definition(
    model: Any, prompts: Any, plan_of: Any, generate: Any, reference: Any, case: str
) -> None:
    plan = peer_plan(plan_of, case)
    for row in (0, 1):
        trace = Trace()
        out = generate(model, prompts.batch(row), plan, on_stage=trace)
        ids = prompts.ids[row]
        plain = reference(
            model, plan, ids, prompts.pixels[row : row + 1], out.sequences[0, len(ids) : -1]
        )
        with torch.no_grad():
            expected = plain.run()
        start = int((ids == model.config.image_token_id).nonzero()[0])
        events = trace.prefills[0]
        assert len(plain.kept) == len(plan.stages)
        for stage, slots in enumerate(plain.kept):
            assert [start + p for p in events.kept(stage, 0)] == sorted(slots)
        assert (logits(out)[0] - expected).abs().max() < 2e-4


@pytest.mark.parametrize("layer", [-2, 1])
def test_the_tower_is_read_where_the_features_come_from(
    make_llava: Any, prompts: Any, plan_of: Any, generate: Any, reference: Any, layer: int
) -> None:
    model, ids = make_llava(), prompts.ids[0]
    model.config.vision_feature_layer = layer
    plan, trace = peer_plan(plan_of, "visionzip"), Trace()
    out = generate(model, prompts.batch(0), plan, on_stage=trace)
    plain = reference(model, plan, ids, prompts.pixels[:1], out.sequences[0, len(ids) : -1])
    with torch.no_grad():
        assert (logits(out)[0] - plain.run()).abs().max() < 2e-4


@pytest.mark.parametrize("case", PEERS)
def test_a_padded_batch_gives_each_row_what_it_gets_alone_with_every_backend(
    make_llava: Any, prompts: Any, plan_of: Any, generate: Any, case: str
) -> None:
    plan, found = peer_plan(plan_of, case), {}
    for attn in ("sdpa", "eager"):
        model = make_llava(attn=attn)
        together = logits(generate(model, prompts.batch(0, 1, 2), plan))
        found[attn] = together
        for row in range(3) if attn == "sdpa" else ():
            alone = logits(generate(model, prompts.batch(row), plan))
            assert (together[row] - alone[0]).abs().max() < 2e-4
    assert (found["sdpa"] - found["eager"]).abs().max() < 2e-4


@pytest.mark.parametrize("case", PEERS)
def test_cached_decoding_equals_a_loop_without_position_ids_and_one_forward_of_more_text(
    model: Any, prompts: Any, plan_of: Any, generate: Any, case: str
) -> None:
    plan = peer_plan(plan_of, case)
    out = generate(model, prompts.batch(0), plan)
    expected, tokens = logits(out), out.sequences[0, len(prompts.ids[0]) :]
    with prune(model, plan), torch.no_grad():
        step = model(**prompts.batch(0))
        single = [step.logits[:, -1]]
        for token in tokens[:-1]:
            step = model(input_ids=token.view(1, 1), past_key_values=step.past_key_values)
            single.append(step.logits[:, -1])
        cache = model(**prompts.batch(0)).past_key_values
        at_once = model(input_ids=tokens[None, :-1], past_key_values=cache).logits
    assert (torch.stack(single, 1) - expected).abs().max() < 1e-4
    assert (at_once - expected[:, 1:]).abs().max() < 1e-4


@pytest.mark.parametrize("name", sorted(set(REGISTRY) - {"vanilla", "visionzip"}))
def test_keeping_everything_is_vanilla_bit_for_bit(
    model: Any, prompts: Any, plan_of: Any, generate: Any, name: str
) -> None:
    vanilla = logits(generate(model, prompts.batch(0, 1)))
    plan = plan_of((2, 1.0), (5, 1.0), method=name)
    assert torch.equal(logits(generate(model, prompts.batch(0, 1), plan)), vanilla)


@pytest.mark.parametrize("case", PEERS)
def test_beams_and_the_model_afterwards(
    model: Any, prompts: Any, plan_of: Any, generate: Any, case: str
) -> None:
    before = [
        (n, len(m._forward_pre_hooks), len(m._forward_hooks)) for n, m in model.named_modules()
    ]
    vanilla = logits(generate(model, prompts.batch(0)))
    plan = peer_plan(plan_of, case)
    greedy = generate(model, prompts.batch(0, 1), plan)
    beams = generate(model, prompts.batch(0, 1), plan, num_beams=2, num_return_sequences=2)
    assert beams.sequences.shape[0] == 4
    one = generate(model, prompts.batch(0, 1), plan, num_beams=1)
    assert torch.equal(one.sequences, greedy.sequences)
    after = [
        (n, len(m._forward_pre_hooks), len(m._forward_hooks)) for n, m in model.named_modules()
    ]
    assert before == after
    assert torch.equal(logits(generate(model, prompts.batch(0))), vanilla)


@pytest.mark.parametrize("case", PEERS)
def test_rows_without_an_image_stay_vanilla(
    model: Any, prompts: Any, plan_of: Any, generate: Any, case: str
) -> None:
    plan = peer_plan(plan_of, case)
    inputs = prompts.batch(0, 1)
    text = torch.randint(2, 120, (40,), generator=torch.Generator().manual_seed(3))
    inputs["input_ids"][1] = 0
    inputs["attention_mask"][1] = 0
    inputs["input_ids"][1, -40:] = text
    inputs["attention_mask"][1, -40:] = 1
    inputs["pixel_values"] = inputs["pixel_values"][:1]
    mixed = logits(generate(model, inputs, plan))
    alone = {"input_ids": text[None], "attention_mask": torch.ones(1, 40).long()}
    assert (mixed[1] - logits(generate(model, alone))[0]).abs().max() < 2e-4
    assert (mixed[0] - logits(generate(model, prompts.batch(0), plan))[0]).abs().max() < 2e-4


def test_what_a_method_cannot_do_is_refused_with_the_reason(
    model: Any, prompts: Any, plan_of: Any
) -> None:
    with pytest.raises(SwiftprofError, match=r"stages\[0\].layer: 0"):
        prune(model, plan_of((0, 0.5), method="fastv"))
    for name, options, message in (
        ("pdrop", {"positions": "new"}, "options.positions"),
        ("feather", {"stride": 0}, "options.stride"),
        ("swiftvlm", {"seeds": "first"}, "options.seeds"),
        ("swiftvlm", {"first": "never"}, "options.first"),
        ("drop", {"spread": 1.5}, "options.spread"),
        ("random", {"spread": True}, "options.spread"),
    ):
        with pytest.raises(SwiftprofError, match=message):
            prune(model, plan_of((3, 0.5), method=name, **options))
    inputs = prompts.batch(0)
    inputs["pixel_values"] = prompts.pixels[:2]
    ids = torch.cat([inputs["input_ids"], inputs["input_ids"]], 1)
    both = {"input_ids": ids, "pixel_values": prompts.pixels[:2]}
    with (
        prune(model, plan_of((0, 0.2, 0.1), method="visionzip")),
        pytest.raises(SwiftprofError, match="one image each"),
        torch.no_grad(),
    ):
        model(**both)
    with (
        prune(model, plan_of((0, 0.5), method="pool")),
        pytest.raises(SwiftprofError, match="no square"),
        torch.no_grad(),
    ):
        model(**both)


def test_planning_reads_methods_without_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys, swiftprof.planning.api, swiftprof.methods as m\n"
        "[m.method_class(n).bypass for n in m.REGISTRY]\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert [n for n in REGISTRY if method_class(n).bypass] == ["swiftvlm"]
