"""What pruning may not cost: attention maps, host syncs, work that is not asked for."""

from __future__ import annotations

import collections
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from swiftprof.methods import REGISTRY, create
from swiftprof.runtime import hooks
from swiftprof.runtime.attention import Judge
from swiftprof.runtime.decoder import locate
from swiftprof.runtime.prune import prune

THREE = ((3, 0.5, 0.1), (5, 0.3, 0.1), (7, 0.1))

_SYNCING_METHODS = {
    getattr(torch.Tensor, name)
    for name in (
        "tolist", "item", "cpu", "numpy", "nonzero",
        "__bool__", "__int__", "__float__", "__index__",
    )
}  # fmt: skip
_SYNCING_FUNCTIONS = {torch.nonzero, torch.equal, torch.unique, torch.masked_select, torch.allclose}


class CallSyncs(TorchFunctionMode):
    """Counts calls that make the host wait for a device result."""

    def __init__(self) -> None:
        super().__init__()
        self.count: collections.Counter[str] = collections.Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _SYNCING_METHODS or func in _SYNCING_FUNCTIONS:
            self.count[func.__name__] += 1
        return func(*args, **(kwargs or {}))


class Operators(TorchDispatchMode):
    """Records the operators below: those that sync, and the largest tensor made."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = 0
        self.shapes: set[tuple[int, ...]] = set()
        self.syncs: collections.Counter[str] = collections.Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        masked = name in ("index", "index_put") and any(
            isinstance(each, torch.Tensor) and each.dtype in (torch.bool, torch.uint8)
            for each in args[1]
        )
        if masked or name in ("_local_scalar_dense", "nonzero", "masked_select", "_unique2"):
            self.syncs[name] += 1
        out = func(*args, **(kwargs or {}))
        for each in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(each, torch.Tensor):
                self.largest = max(self.largest, each.numel())
                self.shapes.add(tuple(each.shape))
        return out


def _syncs(model: Any, inputs: dict[str, torch.Tensor], **options: Any) -> collections.Counter:
    with torch.no_grad(), CallSyncs() as calls, Operators() as operators:
        model(**inputs, **options)
    return calls.count + operators.syncs


OPTIONS = [(name, {}) for name in sorted(set(REGISTRY) - {"vanilla"})]
OPTIONS += [("swiftvlm", {"first": "before", "spread": 0.35})]


@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=lambda value: str(value))
def test_a_prefill_syncs_once_more_than_vanilla(
    llava: Any, prompts: Any, plan_of: Any, name: str, options: dict[str, Any]
) -> None:
    method = create(name, options)
    merge = 0.1 if method.merges else 0.0
    stages = ((3, 0.5, merge), (5, 0.3, merge), (7, 0.1))
    plan = plan_of(*((0, 0.3, merge),) if method.earliest == 0 else stages, method=name, **options)
    inputs = prompts.batch(0, 1, 2)
    vanilla = _syncs(llava, inputs)
    with prune(llava, plan):
        pruned = _syncs(llava, inputs)
    assert pruned - vanilla == {"tolist": 1}


def test_a_recorder_adds_no_sync(llava: Any, prompts: Any, plan_of: Any) -> None:
    from swiftprof.runtime.trace import Trace

    with prune(llava, plan_of(*THREE)):
        off = _syncs(llava, prompts.batch(0, 1))
    with prune(llava, plan_of(*THREE), on_stage=Trace()):
        assert _syncs(llava, prompts.batch(0, 1)) == off


def test_a_decoding_step_adds_no_sync(llava: Any, prompts: Any, plan_of: Any) -> None:
    inputs = prompts.batch(0, 1)
    mask = torch.cat([inputs["attention_mask"], torch.ones(2, 1).long()], 1)
    step = {"input_ids": torch.tensor([[5], [6]]), "attention_mask": mask}
    with torch.no_grad():
        vanilla = _syncs(llava, step, past_key_values=llava(**inputs).past_key_values)
    with prune(llava, plan_of(*THREE)), torch.no_grad():
        pruned = _syncs(llava, step, past_key_values=llava(**inputs).past_key_values)
    assert pruned == vanilla


def test_scoring_makes_no_attention_map(make_llava: Any) -> None:
    model = make_llava(hidden=32, heads=4, kv_heads=2)
    layer, length = locate(model).layers[2], 700
    hidden = torch.randn(1, length, 32)
    table = torch.randn(1, length, 8)
    with torch.no_grad(), Operators() as seen:
        visible = torch.ones(1, length, dtype=torch.bool)
        Judge(layer, hidden, (table, table)).scores(torch.tensor([length - 1]), visible)
    assert seen.largest <= length * 32  # a hidden state; 4 maps would be 1.96 million
    assert not any(shape.count(length) > 1 for shape in seen.shapes)


def test_no_tensor_of_a_pruned_prefill_has_two_prompt_dimensions(
    llava: Any, prompts: Any, plan_of: Any
) -> None:
    """Sdpa without padding takes no mask, so what we add must not bring a map either."""
    length = len(prompts.ids[0])
    with prune(llava, plan_of(*THREE)), torch.no_grad(), Operators() as seen:
        llava(**prompts.batch(0))
    assert not any(shape.count(length) > 1 for shape in seen.shapes)


def test_keeping_everything_scores_nothing(
    llava: Any, prompts: Any, plan_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("scored")

    monkeypatch.setattr(hooks, "look", fail)
    with torch.no_grad():
        with prune(llava, plan_of((3, 1.0), (6, 1.0))):
            llava(**prompts.batch(0))
        with prune(llava, plan_of(*THREE)), pytest.raises(AssertionError, match="scored"):
            llava(**prompts.batch(0))


def test_a_layer_that_judges_projects_each_key_once(
    llava: Any, prompts: Any, plan_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eq. 19 counts the keys of the tokens that leave; the others are part of the layer."""
    rows: dict[int, list[int]] = {5: [], 7: []}
    for number, seen in rows.items():
        project = locate(llava).layers[number - 1].self_attn.k_proj
        plain = project.forward

        def spy(hidden: Any, plain: Any = plain, seen: list[int] = seen) -> Any:
            seen.append(hidden.shape[1])
            return plain(hidden)

        monkeypatch.setattr(project, "forward", spy)
    inputs = prompts.batch(0)
    length, visual = inputs["input_ids"].shape[1], 36
    with prune(llava, plan_of(*THREE)), torch.no_grad():
        for seen in rows.values():
            seen.clear()  # attaching tries the projections
        llava(**inputs)
    merged = round(0.1 * visual)
    assert rows == {5: [length, merged], 7: [length, 1]}


def test_masks_and_tables_are_made_once_per_segment(llava: Any, prompts: Any, plan_of: Any) -> None:
    given: list[dict[str, Any]] = []  # the objects are kept, so that their ids stay unique

    def spy(module: Any, args: Any, kwargs: Any) -> None:
        given.append(kwargs)

    inputs = prompts.batch(0, 1)
    mask = torch.cat([inputs["attention_mask"], torch.ones(2, 1).long()], 1)
    with prune(llava, plan_of(*THREE)), torch.no_grad():
        handles = [
            layer.register_forward_pre_hook(spy, with_kwargs=True)
            for layer in llava.get_decoder().layers
        ]
        cache = llava(**inputs).past_key_values
        llava(input_ids=torch.tensor([[5], [6]]), attention_mask=mask, past_key_values=cache)
        for handle in handles:
            handle.remove()
    for call, keys in (
        (given[:8], ("attention_mask", "position_embeddings")),
        (given[8:], ("attention_mask",)),
    ):
        for key in keys:
            values = [id(kwargs[key]) for kwargs in call]
            segments = [set(values[a:b]) for a, b in ((0, 3), (3, 4), (4, 6), (6, 8))]
            assert [len(each) for each in segments] == [1] * 4
            assert len(set(values)) == 4
        # Positions with gaps look like packed sequences to FlashAttention: none are handed on.
        assert all(kwargs["position_ids"] is None for kwargs in call[3:])
