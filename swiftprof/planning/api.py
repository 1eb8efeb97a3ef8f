"""`swiftprof.plan`: a profile (or a bare curve) and a budget in, a plan out."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from swiftprof.errors import SwiftprofError, did_you_mean
from swiftprof.measure.flops import DecoderShape, plan_flops, vanilla_flops
from swiftprof.methods import REGISTRY
from swiftprof.planning.budget import MERGE_SHARE, fill_budget, smallest_retain
from swiftprof.planning.curve import Curve, Normalize, SampleScores, combine
from swiftprof.planning.plan_file import (
    Budget,
    Expected,
    ModelInfo,
    Plan,
    Source,
    Stability,
    Stage,
)
from swiftprof.planning.program import solve
from swiftprof.planning.stability import bootstrap_curves, plan_stability
from swiftprof.planning.tokens import tokens_per_layer

__all__ = [
    "BYPASS_METHODS",
    "DEFAULT_RATIO",
    "PlanWarning",
    "ProfileLike",
    "plan",
    "plan_from_curve",
]

DEFAULT_RATIO = 1 / 3
"""A third of the visual tokens: the paper's main setting (192 of 576)."""

BYPASS_METHODS = frozenset({"swiftvlm"})
"""Methods that merge unselected tokens and bring them back; the others only drop."""

_NOMINAL_TOKENS = 10_000
"""Stands for n_v where it varies: fractions are then solved to 1/100 of a percent."""


class PlanWarning(UserWarning):
    """A plan differs from what was asked for; `Plan.notes` says how."""


class ProfileLike(Protocol):
    """What planning reads of a profile."""

    @property
    def model(self) -> ModelInfo: ...
    @property
    def decoder(self) -> Any: ...
    @property
    def layers(self) -> tuple[int, ...]: ...
    @property
    def samples(self) -> Mapping[str, SampleScores]: ...
    @property
    def keep(self) -> float: ...
    @property
    def text_tokens(self) -> float: ...
    @property
    def path(self) -> Path | None: ...
    @property
    def sha256(self) -> str: ...


@dataclass(frozen=True)
class _Target:
    """The token budget as it was asked for; at most one field is set."""

    retain: float | None
    ratio: float | None
    flops: float | None

    def __post_init__(self) -> None:
        given = {f"--{k}": v for k, v in vars(self).items() if v is not None}
        if len(given) > 1:
            raise SwiftprofError(f"{' and '.join(given)}: give only one of them")
        for option, value in given.items():
            if not (math.isfinite(value) and value > 0):
                raise SwiftprofError(f"{option} {value:g}: must be a number above 0")
        if self.ratio is not None and self.ratio >= 1:
            raise SwiftprofError(
                f"--ratio {self.ratio:g}: must be below 1 (1 prunes nothing); for a number of "
                "tokens "
                "use --retain"
            )


@dataclass(frozen=True)
class _Cost:
    """What a number of tokens costs; `shape` is None where the decoder is not known."""

    model: ModelInfo
    shape: DecoderShape | None
    text_tokens: float

    @property
    def tokens(self) -> int:
        return self.model.visual_tokens or _NOMINAL_TOKENS

    def tflops(self, stages: tuple[Stage, ...], method: str) -> float | None:
        if self.shape is None or self.model.visual_tokens is None:
            return None
        bypass = method in BYPASS_METHODS
        return plan_flops(self.shape, stages, self.tokens, self.text_tokens, bypass=bypass) / 1e12

    def tflops_vanilla(self) -> float | None:
        if self.shape is None or self.model.visual_tokens is None:
            return None
        return vanilla_flops(self.shape, self.tokens, self.text_tokens) / 1e12


def plan(
    profile: ProfileLike,
    budget: int = 3,
    retain: float | None = None,
    ratio: float | None = None,
    flops: float | None = None,
    *,
    method: str = "swiftvlm",
    bootstrap: int = 1000,
    seed: int = 0,
    normalize: Normalize = "relative",
    schedule: str = "geometric",
) -> Plan:
    """Choose pruning layers for a profile and fill a token budget.

    Args:
        profile: a profile (`swiftprof.profile` or `swiftprof.Profile.load`).
        budget: m, the number of pruning layers.
        retain: N, visual tokens averaged over layers. Give at most one of the three.
        ratio: N as a fraction of the model's visual tokens; 1/3 if nothing is given.
        flops: cost of the prefill in TFLOPs, overhead included.
        method: what will prune; its name goes into the plan.
        bootstrap: resamples for the plan's error bars; 0 for none.
        seed: of the bootstrap.
        normalize: how data sets are brought to one scale, "relative" or "minmax".
        schedule: how tokens fall from stage to stage, "geometric" or "uniform".

    Returns:
        The plan. Where fewer layers are worth pruning at than `budget`, it has fewer, a note, and a
        `PlanWarning` is issued.

    Raises:
        SwiftprofError: an impossible budget (the message names the smallest possible), unknown
            names, or a profile in which no layer beats layer 2.
    """
    samples = profile.samples
    curve = Curve(profile.model.num_layers, profile.layers, combine(samples, normalize))
    cost = _Cost(profile.model, DecoderShape.of(profile.decoder), profile.text_tokens)
    source = Source(
        profile=str(profile.path) if profile.path is not None else None,
        sha256=profile.sha256,
        datasets=tuple(samples),
        samples=sum(len(scores.vanilla) for scores in samples.values()),
        keep=profile.keep,
    )
    made = _make(curve, budget, _Target(retain, ratio, flops), cost, method, schedule, source)
    if bootstrap < 0:
        raise SwiftprofError(f"--bootstrap {bootstrap}: must be 0 (none) or more")
    if not bootstrap:
        return made
    curves = bootstrap_curves(samples, replicates=bootstrap, seed=seed, normalize=normalize)
    stability = plan_stability(curves, curve.layers, curve.num_layers, made.pruning_layers, budget)
    return _with_stability(made, stability)


def plan_from_curve(
    curve: Curve,
    budget: int = 3,
    retain: float | None = None,
    ratio: float | None = None,
    flops: float | None = None,
    *,
    model: ModelInfo | None = None,
    decoder: DecoderShape | None = None,
    text_tokens: float = 0.0,
    method: str = "swiftvlm",
    schedule: str = "geometric",
    source: Source | None = None,
) -> Plan:
    """Plan from a bare curve: no samples, hence no error bars.

    Args:
        curve: capabilities by layer.
        model: the model the curve belongs to. Without its `visual_tokens` only `ratio` can be
            asked for, and the expected tokens and FLOPs are null.
        decoder: its decoder, for FLOPs.
        text_tokens: tokens of a prompt beside the visual ones, for FLOPs.
        source: where the curve came from.

    The other arguments, the result and the errors are those of `plan`.
    """
    info = model or ModelInfo(name="unnamed", num_layers=curve.num_layers)
    if info.num_layers != curve.num_layers:
        raise SwiftprofError(
            f"curve: has num_layers {curve.num_layers}, but {info.name} has {info.num_layers}; "
            "give the model that the curve was measured on"
        )
    target, cost = _Target(retain, ratio, flops), _Cost(info, decoder, text_tokens)
    return _make(curve, budget, target, cost, method, schedule, source or Source())


def _make(
    curve: Curve,
    budget: int,
    target: _Target,
    cost: _Cost,
    method: str,
    schedule: str,
    source: Source,
) -> Plan:
    if method not in REGISTRY:
        raise SwiftprofError(f"--method {method}: {did_you_mean(method, REGISTRY)}")
    found = solve(curve, budget)
    if not found.layers:
        raise SwiftprofError(
            "no layer tells visual tokens apart better than layer 2, so there is nothing to plan; "
            "profile more samples or other data sets"
        )
    notes = [found.warning] if found.warning else []

    def fill(tokens: float) -> tuple[Stage, ...]:
        share = MERGE_SHARE if method in BYPASS_METHODS else 0.0
        return fill_budget(
            found.layers,
            curve.num_layers,
            cost.tokens,
            tokens,
            merge_share=share,
            schedule=schedule,
        )

    if target.flops is not None:
        tokens = _tokens_for(target.flops, found.layers, cost, fill, method)
    else:
        tokens, note = _tokens(target, found.layers, cost)
        notes += [note] if note else []
    stages = fill(tokens)
    for note in notes:
        warnings.warn(note, PlanWarning, stacklevel=3)
    known = cost.model.visual_tokens is not None
    realised = math.fsum(tokens_per_layer(stages, curve.num_layers, cost.tokens))
    return Plan(
        model=cost.model,
        method=method,
        stages=stages,
        budget=Budget(
            layers=budget,
            retain=round(tokens, 4) if known else None,
            ratio=round(tokens / cost.tokens, 6),
        ),
        expected=Expected(
            retained_tokens=round(realised / curve.num_layers, 4) if known else None,
            tflops=_rounded(cost.tflops(stages, method)),
            tflops_vanilla=_rounded(cost.tflops_vanilla()),
            area=round(found.performance, 6),
        ),
        source=source,
        notes=tuple(notes),
    )


def _tokens(target: _Target, layers: tuple[int, ...], cost: _Cost) -> tuple[float, str | None]:
    """N for `--retain`, `--ratio` or nothing; a note where the default had to give way."""
    if target.retain is not None:
        if cost.model.visual_tokens is None:
            raise SwiftprofError(
                f"--retain {target.retain:g}: the number of visual tokens is not known; add "
                "--visual-tokens N or use --ratio"
            )
        return target.retain, None
    if target.ratio is not None:
        return target.ratio * cost.tokens, None
    full = layers[0] / cost.model.num_layers
    floor = smallest_retain(layers, cost.model.num_layers, cost.tokens) / cost.tokens
    # With next to nothing left for the stages, the default would ruin the answers it should keep.
    if floor + 0.05 * (1 - full) <= DEFAULT_RATIO:
        return DEFAULT_RATIO * cost.tokens, None
    ratio = round(full + 0.25 * (1 - full), 2)
    return ratio * cost.tokens, (
        f"the first pruning layer is {layers[0]} of {cost.model.num_layers}, too late to retain a "
        f"third of the tokens; planned for a ratio of {ratio:g} (choose your own with --ratio)"
    )


def _tokens_for(
    tflops: float,
    layers: tuple[int, ...],
    cost: _Cost,
    fill: Any,
    method: str,
) -> float:
    """The largest N whose plan costs at most `tflops`, to a hundredth of a token."""
    vanilla = cost.tflops_vanilla()
    if vanilla is None:
        raise SwiftprofError(
            f"--flops {tflops:g}: the model's sizes are not known; add --model, or use --ratio"
        )
    if tflops >= vanilla:
        raise SwiftprofError(
            f"--flops {tflops:g}: the model costs {vanilla:.4g} TFLOPs without pruning; choose less"
        )

    def price(tokens: float) -> float:
        return cost.tflops(fill(tokens), method) or 0.0

    low = smallest_retain(layers, cost.model.num_layers, cost.tokens)
    if tflops < price(low):
        raise SwiftprofError(
            f"--flops {tflops:g}: impossible with layers {', '.join(map(str, layers))}; the "
            "smallest "
            f"possible is {math.ceil(price(low) * 1e4) / 1e4:g} (--retain {math.ceil(low)})"
        )
    high = math.nextafter(cost.tokens, 0)
    while high - low > 0.01:
        middle = (low + high) / 2
        low, high = (middle, high) if price(middle) <= tflops else (low, middle)
    return low


def _with_stability(made: Plan, stability: Stability) -> Plan:
    return made.model_copy(update={"stability": stability})


def _rounded(value: float | None) -> float | None:
    """Six significant digits: tiny models cost millionths of a TFLOP."""
    return None if value is None else float(f"{value:.6g}")
