"""Scores of candidates on calibration samples: likelihood for the race, answers for the finals."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from swiftprof.data.asking import ask_all, prompt_sizes
from swiftprof.data.base import Dataset, Sample
from swiftprof.evaluation.answer import VANILLA, answer_samples, common
from swiftprof.models.loading import VLM
from swiftprof.models.memory import out_of_memory, release_memory
from swiftprof.planning.plan_file import Plan
from swiftprof.profiling.rerun import answer_tokens
from swiftprof.profiling.steps import Steps
from swiftprof.search.likelihood import Forced, answer_likelihood, begins, run_shared
from swiftprof.search.race import Floats, relative
from swiftprof.search.store import Store, Unit

BLOCK = 16
"""Samples of a set that run together; a race's levels are numbers of such blocks."""
ROOM = 2 << 30
"""Bytes of hidden states that stay from round to round. The first blocks, which every candidate
runs on, come first; what has no room runs again."""


def plan_key(plan: Plan | None) -> str:
    """A name for what a plan does: equal stages and options have equal names."""
    if plan is None:
        return VANILLA
    done = {
        "method": plan.method,
        "options": plan.options,
        "stages": [(s.layer, s.keep, s.merge) for s in plan.stages],
    }
    return hashlib.sha256(json.dumps(done, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Drawn:
    """Samples of one set, by what they are for; no sample is in two of them."""

    dataset: Dataset
    split: str
    search: tuple[int, ...]
    choose: tuple[int, ...]
    report: tuple[int, ...]

    def blocks(self, name: str) -> int:
        """Whole and last blocks of a part."""
        return -(-len(getattr(self, name)) // BLOCK)


Plans = dict[str, Plan | None]
"""Plans by their key; None is the unpruned model."""
Measure = Callable[[Drawn, Sequence[int], Plans], list[list[float]]]
"""Of some samples of a set, for each plan in turn its scores."""


class Meter:
    """Measures plans on drawn samples, each unit once."""

    def __init__(self, vlm: VLM, sets: Sequence[Drawn], store: Store) -> None:
        self._vlm, self._sets, self._store = vlm, tuple(sets), store
        self._steps = Steps(vlm.model)
        self._shared: dict[tuple[str, tuple[int, ...]], Forced] = {}

    @property
    def levels(self) -> int:
        """Blocks of each set that a race may use."""
        return max(drawn.blocks("search") for drawn in self._sets)

    @property
    def seconds(self) -> float:
        """What all measuring took so far."""
        return self._store.seconds

    def likelihood(
        self, plans: Sequence[Plan], level: int, tick: Callable[[], None]
    ) -> list[Floats]:
        """Of each plan the likelihoods on the first `level` blocks of every set, relative to the
        unpruned model.

        Args:
            tick: called after each unit.
        """
        return self._relative(plans, "search", level, "", self._likelihoods, tick)

    def answers(self, plans: Sequence[Plan], part: str, tick: Callable[[], None]) -> list[Floats]:
        """Of each plan the scores of generated answers by the sets' own metrics, likewise."""
        return self._relative(plans, part, None, f"/{part}", self._answered, tick)

    def prompt_sizes(self) -> tuple[int, float]:
        """Visual and other tokens of the prompts that are searched on, on average."""
        visual, text = prompt_sizes(self._vlm, ((d.dataset, d.split, d.search) for d in self._sets))
        return round(visual), text

    def _relative(
        self,
        plans: Sequence[Plan],
        part: str,
        level: int | None,
        suffix: str,
        measure: Measure,
        tick: Callable[[], None],
    ) -> list[Floats]:
        """Scores of each plan relative to the unpruned model; only what the store lacks is run.

        Args:
            part: of the drawn samples.
            level: blocks of each set; all if None.
            suffix: tells the units of this measure from others of the same set.
        """
        wanted: Plans = {VANILLA: None}
        wanted |= {plan_key(plan): plan for plan in plans}
        table: dict[str, list[Floats]] = {key: [] for key in wanted}
        for drawn in self._sets:
            indices = getattr(drawn, part)
            blocks = drawn.blocks(part)
            rows: dict[str, list[float]] = {key: [] for key in wanted}
            for block in range(blocks if level is None else min(level, blocks)):
                unit: Unit = (f"{drawn.dataset.name}{suffix}", block)
                missing = {k: p for k, p in wanted.items() if self._store.get(k, unit) is None}
                if missing:
                    began = time.perf_counter()
                    found = measure(drawn, indices[block * BLOCK : (block + 1) * BLOCK], missing)
                    seconds = (time.perf_counter() - began) / len(missing)
                    for key, scores in zip(missing, found, strict=True):
                        self._store.put(key, unit, scores, seconds)
                    tick()
                for key in wanted:
                    rows[key] += self._store.get(key, unit) or []
            for key in wanted:
                table[key].append(np.array(rows[key]))
        return [relative(table[plan_key(plan)], table[VANILLA]) for plan in plans]

    def _answered(self, drawn: Drawn, some: Sequence[int], plans: Plans) -> list[list[float]]:
        answers, _ = answer_samples(self._vlm, drawn.dataset, drawn.split, some, plans)
        found = common(answers, plans)
        return [[a.score for a in found if a.variant == key] for key in plans]

    def _likelihoods(self, drawn: Drawn, some: Sequence[int], plans: Plans) -> list[list[float]]:
        """Likelihoods of each plan; on halves of the samples where memory runs out."""
        try:
            shared = self._run_shared(drawn, some, plans)
            if shared is None:
                return [[] for _ in plans]
            return [answer_likelihood(self._steps, shared, plan) for plan in plans.values()]
        except Exception as error:
            if len(some) == 1 or not out_of_memory(error):
                raise
        self._shared.clear()
        release_memory()
        middle = len(some) // 2
        halves = (self._likelihoods(drawn, part, plans) for part in (some[:middle], some[middle:]))
        return [one + two for one, two in zip(*halves, strict=True)]

    def _run_shared(self, drawn: Drawn, some: Sequence[int], plans: Plans) -> Forced | None:
        """What the plans start from, kept where there is room; None where no sample can be read."""
        last = self._vlm.num_layers - 1  # the unpruned model is measured once
        wanted = {begins(plan, self._vlm.num_layers) for plan in plans.values()}
        key = (drawn.dataset.name, tuple(some))
        known = self._shared.pop(key, None)
        if known is None or not wanted <= known.hidden.keys():
            samples, _ = ask_all(drawn.dataset, drawn.split, some, self._vlm)
            if not samples:
                return None
            inputs = self._inputs(samples)
            answers = self._references(drawn.dataset, samples, inputs)
            wanted |= known.hidden.keys() if known else set()
            known = run_shared(self._vlm.model, inputs, answers, wanted)
        kept = replace(known, hidden={i: h for i, h in known.hidden.items() if i < last})
        if sum(map(_size, (kept, *self._shared.values()))) <= ROOM:
            self._shared[key] = kept
        return known

    def _inputs(self, samples: Sequence[Sample]) -> dict[str, Any]:
        return self._vlm.inputs([s.images for s in samples], [s.question for s in samples])

    def _references(
        self, dataset: Dataset, samples: Sequence[Sample], inputs: dict[str, Any]
    ) -> Tensor:
        """Tokens of the reference answers, or of the unpruned model's own where there are none."""
        tokenizer = getattr(self._vlm.processor, "tokenizer", self._vlm.processor)
        if all(s.answers or s.box is not None for s in samples):
            texts = [dataset.reference(s) for s in samples]
        else:
            with torch.inference_mode():
                ids = self._vlm.model.generate(  # type: ignore[operator]
                    **inputs, do_sample=False, num_beams=1, max_new_tokens=dataset.max_new_tokens
                )
            said = self._vlm.decode(ids[:, inputs["input_ids"].shape[1] :])
            texts = [each or "." for each in said]
        return answer_tokens(texts, tokenizer, self._vlm.model.device)


def _size(shared: Forced) -> int:
    return sum(each.nbytes for each in shared.hidden.values())
