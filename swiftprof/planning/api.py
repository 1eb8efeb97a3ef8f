"""`swiftprof.plan`: a profile (or a bare curve) and a budget in, a plan out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from swiftprof.core.stages import BASE_LAYER
from swiftprof.costs.flops import DecoderShape
from swiftprof.errors import BadParameter, SwiftprofError, did_you_mean
from swiftprof.methods.base import Method
from swiftprof.methods.depths import equal_depths
from swiftprof.models.registry import ModelInfo
from swiftprof.planning.budget import MERGE_SHARE
from swiftprof.planning.curve import Curve, Normalize, SampleScores, bootstrap_curves, combine
from swiftprof.planning.fill import (
    DEFAULT_RATIO,
    Cost,
    Setting,
    Target,
    default_tokens,
    fill_plan,
    tokens_for,
)
from swiftprof.planning.plan_file import Plan, Source
from swiftprof.planning.program import area, solve
from swiftprof.planning.stability import plan_stability

LAYER_RULES = ("planned", "own", "equal")
"""Where to prune, beside layers named one by one."""


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


def plan(
    profile: ProfileLike,
    budget: int = 3,
    retain: float | None = None,
    ratio: float | None = None,
    flops: float | None = None,
    *,
    method: str | Method = "swiftvlm",
    bootstrap: int = 1000,
    seed: int = 0,
    normalize: Normalize = "relative",
    schedule: str | None = None,
    merge_share: float = MERGE_SHARE,
    options: Mapping[str, Any] | None = None,
    layers: str | Sequence[int] | None = None,
) -> Plan:
    """Choose pruning layers for a profile and fill a token budget.

    Args:
        profile: a profile (`swiftprof.profile` or `swiftprof.Profile.load`).
        budget: m, the number of pruning layers.
        retain: N, visual tokens averaged over layers. Give at most one of the three.
        ratio: N as a fraction of the model's visual tokens; 1/3 if nothing is given.
        flops: cost of the prefill in TFLOPs, overhead included.
        method: what will prune, a name or a `Method`; its name and options go into the plan.
            SwiftVLM and its ablations prune at the layers that the profile chooses, other methods
            at their own.
        bootstrap: resamples for the plan's error bars; 0 for none.
        seed: of the bootstrap.
        normalize: how data sets are brought to one scale, "relative" or "minmax".
        schedule: how tokens fall from stage to stage (`shares_of`); the method's
            default if None.
        merge_share: Z as a fraction of the visual tokens, for methods that leave it open.
        options: the method's own options.
        layers: "planned" (judged by those layers, whatever the method), "own" (the method's
            published ones), "equal" (the planned number at equal depths), or layers.

    Returns:
        The plan. Where fewer layers are worth pruning at than `budget`, it has fewer, and a note
        says so.

    Raises:
        SwiftprofError: an impossible budget (the message names the smallest possible), unknown
            names, or a profile in which no layer beats layer 2.
    """
    samples = profile.samples
    curve = Curve(profile.model.num_layers, profile.layers, combine(samples, normalize))
    cost = Cost(profile.model, DecoderShape.of(profile.decoder), profile.text_tokens)
    source = Source(
        profile=str(profile.path) if profile.path is not None else None,
        sha256=profile.sha256,
        datasets=tuple(samples),
        samples=sum(len(scores.vanilla) for scores in samples.values()),
        keep=profile.keep,
        given=getattr(profile, "given", {}),
    )
    setting = Setting.of(method, options, schedule=schedule, merge_share=merge_share)
    target = Target(retain, ratio, flops)
    if bootstrap < 0:
        raise BadParameter("bootstrap", bootstrap, "must be 0 (none) or more")
    made = plan_from_curve(curve, budget, target, cost, setting, layers, source)
    chosen = setting.method.planned and layers in (None, "planned")
    if not bootstrap or not chosen or setting.method.scoring != "own":
        return made
    curves = bootstrap_curves(samples, replicates=bootstrap, seed=seed, normalize=normalize)
    stability = plan_stability(curves, curve.layers, curve.num_layers, made.pruning_layers, budget)
    return made.model_copy(update={"stability": stability})


def plan_from_curve(
    curve: Curve,
    budget: int,
    target: Target,
    cost: Cost,
    setting: Setting,
    layers: str | Sequence[int] | None = None,
    source: Source | None = None,
) -> Plan:
    """Plan from a bare curve: no samples, hence no error bars.

    Args:
        curve: capabilities by layer.
        budget: m.
        target: the token budget; a third of the tokens where none is given.
        cost: the model that the curve belongs to. Where its `visual_tokens` are not known, only a
            ratio can be asked for, and the expected tokens and FLOPs are null.
        setting: what will prune.
        layers: as for `plan`.
        source: where the curve came from.

    Raises:
        SwiftprofError: as `plan`, and for a model of another depth than the curve.
    """
    if cost.model.num_layers != curve.num_layers:
        raise SwiftprofError(
            f"curve: has num_layers {curve.num_layers}, but {cost.model.name} has "
            f"{cost.model.num_layers}; give the model that the curve was measured on"
        )
    method, notes = setting.method, list[str]()

    def planned() -> tuple[int, ...]:
        found = solve(curve, budget)
        notes.extend([found.warning] if found.warning and layers != "equal" else [])
        return found.layers

    ratio = cost.ratio_of(target) if target.given else DEFAULT_RATIO
    chosen = layers_at(layers, method, curve.num_layers, ratio, planned)
    if target.given:
        tokens = tokens_for(target, chosen, cost, setting)
    else:
        tokens, note = default_tokens(chosen, cost, setting)
        notes += [note] if note else []
    worth = None
    if method.planned and set(chosen) <= set(curve.layers):
        value = float(area(curve.layers, curve.num_layers, curve.x, chosen))
        worth = value / max(1, curve.num_layers - BASE_LAYER)
    made = fill_plan(chosen, tokens, cost, setting, source=source, area=worth, notes=notes)
    asked = made.budget.model_copy(update={"layers": budget}) if made.budget else None
    by_curve = layers == "planned" or (layers is None and method.planned)
    return made.model_copy(update={"budget": asked}) if by_curve else made


def layers_at(
    where: str | Sequence[int] | None,
    method: Method,
    num_layers: int,
    ratio: float | None,
    planned: Callable[[], tuple[int, ...]],
) -> tuple[int, ...]:
    """Where a method prunes: at layers, or by a rule; by the method's usual one if None.

    `planned` gives the layers that a curve chooses; it is called where they are needed.
    """
    if where is None:
        where = "planned" if method.planned else "own"
    if not isinstance(where, str):
        return tuple(where)
    if where == "own":
        return method.default_layers(num_layers, ratio)
    if where not in LAYER_RULES:
        raise BadParameter("layers", where, did_you_mean(where, LAYER_RULES))
    if not (judges := planned()):
        raise SwiftprofError(
            "no layer tells visual tokens apart better than layer 2, so there is nothing to "
            "plan; profile more samples or other data sets"
        )
    if where == "equal":
        return equal_depths(judges[0], len(judges), num_layers)
    return method.planned_layers(judges)
