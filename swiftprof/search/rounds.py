"""The rounds of a search: starts first, then neighbours of those that lead, halved as they go."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from swiftprof.planning.plan_file import Plan
from swiftprof.search.limit import Limit
from swiftprof.search.measure import Meter, plan_key
from swiftprof.search.pricing import Pricing
from swiftprof.search.race import Floats, go_on
from swiftprof.search.space import Candidate, neighbour

Progress = Callable[[int, int], None]

PARENTS, CHILDREN = 4, 12
"""Candidates whose neighbours are tried next, and how many neighbours are."""
PATIENCE = 16
"""Rounds without a new leader after which a search ends before its limit."""
STEPS = 1000
SEARCHING = 0.8
"""Share of the limit, and of the progress bar, that searching takes; the rest is the finals'."""


class Bar:
    """One progress bar over search and finals."""

    def __init__(self, progress: Progress | None, limit: Limit, meter: Meter) -> None:
        self._progress, self._limit, self._meter = progress, limit, meter
        self.candidates, self.finals = 0, 0.0

    def __call__(self) -> None:
        used = min(1.0, self._limit.share(self._meter.seconds, self.candidates) / SEARCHING)
        if self.finals:
            used = 1.0
        done = SEARCHING * used + (1 - SEARCHING) * self.finals
        if self._progress is not None:
            self._progress(int(STEPS * done), STEPS)


class Race:
    """Rounds of candidates: starts first, then neighbours of those that lead."""

    def __init__(self, pricing: Pricing, meter: Meter, limit: Limit, seed: int, bar: Bar) -> None:
        self.pricing, self.meter, self.bar = pricing, meter, bar
        self.plans: dict[Candidate, Plan] = {}
        self.values: dict[Candidate, Floats] = {}
        self._limit, self._rng = limit, random.Random(seed)
        self._keys: set[str] = set()

    @property
    def over(self) -> bool:
        """Whether the searching part of the limit is used up."""
        return self._limit.share(self.meter.seconds, len(self.plans)) >= SEARCHING

    def run(self, begin: Sequence[Candidate]) -> None:
        """Search until the limit; `values` then holds those that lead, on all samples."""
        leading = self._rounds(self._new(begin), keep=PARENTS)
        calm = 0
        while not self.over and calm < PATIENCE:
            before = leading[0]
            children = self._new(self._neighbours(leading, calm))
            if not children:
                calm += 1
                continue
            leading = self._rounds(children, keep=PARENTS, incumbents=leading)
            calm = 0 if leading[0] != before else calm + 1

    def _neighbours(self, parents: Sequence[Candidate], calm: int) -> list[Candidate]:
        """A step or two from the parents, more after calm rounds: that leaves a hollow."""
        depth = self.pricing.paper.model.num_layers
        found = []
        for number in range(CHILDREN):
            moved = parents[number % len(parents)]
            for _ in range(1 + calm // 3 + (self._rng.random() < 0.3)):
                moved = neighbour(moved, depth, self._rng)
            found.append(moved)
        return found

    def _new(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Those that are possible and do not do what another one does."""
        found = []
        for candidate in candidates:
            made = self.pricing.plan(candidate)
            if made is None or plan_key(made) in self._keys:
                continue
            self._keys.add(plan_key(made))
            self.plans[candidate] = made
            found.append(candidate)
        self.bar.candidates = len(self.plans)
        return found

    def _rounds(
        self,
        candidates: Sequence[Candidate],
        keep: int,
        incumbents: Sequence[Candidate] = (),
    ) -> list[Candidate]:
        """Halve on one block, two, four … of every set; the last round is on all of them."""
        staying = [*incumbents, *candidates]
        level = 1
        while True:
            level = min(level, self.meter.levels)
            plans = [self.plans[each] for each in staying]
            found = self.meter.likelihood(plans, level, self.bar)
            values = dict(zip(staying, found, strict=True))
            if level == self.meter.levels:
                self.values |= values
                return go_on(values, keep)
            staying = go_on(values, max(keep, (len(staying) + 1) // 2))
            level *= 2
