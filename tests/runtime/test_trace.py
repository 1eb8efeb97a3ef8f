"""Counts and recordings agree with what the layers really saw."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from swiftprof.core.stages import cut_layers, tokens_per_layer
from swiftprof.runtime.prune import prune
from swiftprof.runtime.schedule import Schedule
from swiftprof.runtime.trace import Trace

THREE = ((3, 0.5, 0.1), (5, 0.3, 0.1), (7, 0.1))


@pytest.mark.parametrize("n_visual", [1, 2, 3, 7, 36, 576, 2880])
@pytest.mark.parametrize(
    ("method", "stages"), [("swiftvlm", THREE), ("drop", ((2, 0.5), (5, 0.25), (9, 0.1)))]
)
def test_the_runtime_counts_as_the_planner_counts(
    plan_of: Any, method: str, stages: tuple, n_visual: int
) -> None:
    plan = plan_of(*stages, method=method, num_layers=12)
    bypass = method == "swiftvlm"
    schedule = Schedule.make(plan.stages, [n_visual], [20], merges=bypass, bypass=bypass)
    counts = schedule.visual_per_layer(0, cut_layers(plan.stages), 12)
    assert counts == tokens_per_layer(plan.stages, 12, n_visual)


def _entering(model: Any, inputs: dict[str, torch.Tensor], *args: Any, **kwargs: Any) -> list[int]:
    """Sequence lengths that the layers really got."""
    lengths: list[int] = []

    def spy(module: Any, given: Any, output: Any) -> None:
        lengths.append((output[0] if isinstance(output, tuple) else output).shape[1])

    handles = [layer.register_forward_hook(spy) for layer in model.get_decoder().layers]
    with prune(model, *args, **kwargs), torch.no_grad():
        model(**inputs)
    for handle in handles:
        handle.remove()
    return lengths


@pytest.mark.parametrize("method", ["swiftvlm", "drop", "random", "uniform"])
def test_a_trace_tells_what_entered_each_layer(
    llava: Any, prompts: Any, plan_of: Any, method: str
) -> None:
    merge = 0.1 if method == "swiftvlm" else 0.0
    plan = plan_of((3, 0.5, merge), (5, 0.3, merge), (7, 0.1), method=method)
    trace = Trace()
    lengths = _entering(llava, prompts.batch(0), plan, on_stage=trace)
    (prefill,) = trace.prefills
    text = len(prompts.ids[0]) - 36
    assert [text + n for n in prefill.visual_per_layer(0, 8)] == lengths
    assert prefill.retained(0, 8) == (sum(lengths) - 8 * text) / 8


def test_a_trace_tells_kept_and_merged_tokens(llava: Any, prompts: Any, plan_of: Any) -> None:
    trace, plan = Trace(), plan_of(*THREE)
    with prune(llava, plan, on_stage=trace), torch.no_grad():
        llava(**prompts.batch(0, 1, 2))
        for i in range(3):
            llava(**prompts.batch(i))
    together, *alone = trace.prefills
    assert together.rows == 3
    assert len(alone) == 3
    for row in range(3):
        for j, stage in enumerate(plan.stages):
            kept, merged = together.kept(j, row), together.merged(j, row)
            assert (kept, merged) == (alone[row].kept(j, 0), alone[row].merged(j, 0))
            assert kept == sorted(set(kept))
            assert not set(kept) & set(merged)
            assert len(kept) == int(stage.keep * 36 + 0.5)
            assert len(merged) == (int(stage.merge * 36 + 0.5) if j < 2 else 0)
            assert set(kept + merged) <= set(range(36))
    # With bypass, later stages choose anew among all tokens; here they do choose others.
    assert any(set(together.kept(2, b)) - set(together.kept(0, b)) for b in range(3))


def test_dropped_tokens_never_come_back(llava: Any, prompts: Any, plan_of: Any) -> None:
    for method in ("drop", "random", "uniform"):
        trace = Trace()
        plan = plan_of((3, 0.5), (5, 0.3), (7, 0.1), method=method)
        with prune(llava, plan, on_stage=trace), torch.no_grad():
            llava(**prompts.batch(0, 1))
        for row in range(2):
            kept = [set(trace.prefills[0].kept(j, row)) for j in range(3)]
            assert kept[0] > kept[1] > kept[2]


def test_kept_tokens_are_those_with_the_highest_attention(
    make_llava: Any, prompts: Any, plan_of: Any
) -> None:
    """The first stage against the attention maps that Hugging Face itself returns."""
    model = make_llava(attn="eager")
    with torch.no_grad():
        maps = model(**prompts.batch(0), output_attentions=True).attentions
    visual = prompts.ids[0] == 127
    for layer in (1, 4, 7):
        trace = Trace()
        with prune(model, plan_of((layer, 0.25)), on_stage=trace), torch.no_grad():
            model(**prompts.batch(0))
        row = maps[layer - 1][0, :, -1].mean(0)[visual]
        expected = sorted(row.argsort(descending=True)[:9].tolist())
        assert trace.prefills[0].kept(0, 0) == expected


def test_keeping_everything_is_recorded_too(llava: Any, prompts: Any, plan_of: Any) -> None:
    trace = Trace()
    with prune(llava, plan_of((3, 1.0), (6, 1.0)), on_stage=trace), torch.no_grad():
        llava(**prompts.batch(0))
    assert trace.prefills[0].kept(1, 0) == list(range(36))
    assert trace.prefills[0].retained(0, 8) == 36


def test_random_selections_depend_on_the_seed_alone(llava: Any, prompts: Any, plan_of: Any) -> None:
    kept = {}
    for seed in (0, 0, 1):
        trace = Trace()
        plan = plan_of((3, 0.5), method="random", seed=seed)
        torch.manual_seed(seed + 17 + len(kept))
        state = torch.get_rng_state()
        with prune(llava, plan, on_stage=trace), torch.no_grad():
            llava(**prompts.batch(0, 2))
        assert torch.equal(torch.get_rng_state(), state)  # the global generator is left alone
        found = trace.prefills[0].kept(0, 0)
        assert trace.prefills[0].kept(0, 1) == found
        assert kept.setdefault(seed, found) == found
    assert kept[0] != kept[1]


@pytest.mark.parametrize("rows", [(0,), (0, 1)])
def test_a_trace_says_which_slot_an_entry_of_the_hidden_states_is(
    make_llava: Any, prompts: Any, plan_of: Any, rows: tuple[int, ...]
) -> None:
    """Embeddings say it themselves: up to the first stage they are those of the plain model."""
    model, trace = make_llava(attn="eager"), Trace()
    plan, inputs = plan_of((1, 0.5, 0.1), (5, 0.2)), prompts.batch(*rows)
    seen: list[torch.Tensor] = []
    layer = model.get_decoder().layers[1]
    with prune(model, plan, on_stage=trace), torch.no_grad():
        handle = layer.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        out = model(**inputs, output_hidden_states=True, output_attentions=True)
        handle.remove()
    with torch.no_grad():
        plain = model(**inputs, output_hidden_states=True).hidden_states[1]
    (prefill,) = trace.prefills
    for i, (hidden, maps) in enumerate(zip(out.hidden_states[1:], out.attentions, strict=True), 1):
        slots = prefill.slots(i)
        assert slots.shape == hidden.shape[:2]
        assert maps.shape[2:] == (slots.shape[1], slots.shape[1])
    assert torch.equal(prefill.slots(0), prefill.slots(1))
    for row in range(len(rows)):
        visual = inputs["input_ids"][row] == 127
        first = int(visual.nonzero()[0])
        merged = {first + place for place in prefill.merged(0, row)}
        for column, slot in enumerate(prefill.slots(2)[row].tolist()):
            if slot >= 0 and slot not in merged:
                assert (seen[0][row, column] - plain[row, slot]).abs().max() < 1e-4
        ours = {s for s in prefill.slots(8)[row].tolist() if s >= 0 and visual[s]}
        assert ours == {first + place for place in prefill.kept(1, row)}
