"""From layers and a token budget to a whole plan, for any method."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swiftprof.core.stages import check_layers, tokens_per_layer
from swiftprof.costs.flops import DecoderShape, plan_flops, vanilla_flops
from swiftprof.errors import BadParameter
from swiftprof.methods import create, name_of, options_of
from swiftprof.methods.base import Method
from swiftprof.models.registry import ModelInfo
from swiftprof.planning.budget import MERGE_SHARE, fill_budget, smallest_retain
from swiftprof.planning.plan_file import Budget, Expected, Plan, Source, Stage

DEFAULT_RATIO = 1 / 3
"""A third of the visual tokens: the paper's main setting (192 of 576)."""

_NOMINAL_TOKENS = 10_000
"""Stands for n_v where it varies: fractions are then solved to 1/100 of a percent."""


@dataclass(frozen=True)
class Target:
    """The token budget as it was asked for; at most one field is set."""

    retain: float | None = None
    ratio: float | None = None
    flops: float | None = None

    def __post_init__(self) -> None:
        given = {name: value for name, value in vars(self).items() if value is not None}
        if len(given) > 1:
            raise BadParameter(" and ".join(given), None, "give only one of them")
        for name, value in given.items():
            if not (math.isfinite(value) and value > 0):
                raise BadParameter(name, value, "must be a number above 0")
        if self.ratio is not None and self.ratio >= 1:
            raise BadParameter(
                "ratio",
                self.ratio,
                "must be below 1 (1 prunes nothing); for a number of tokens use `retain`",
            )

    @property
    def given(self) -> bool:
        """Whether anything was asked for."""
        return any(value is not None for value in vars(self).values())


@dataclass(frozen=True)
class Cost:
    """What a number of tokens costs; `shape` is None where the decoder is not known."""

    model: ModelInfo
    shape: DecoderShape | None
    text_tokens: float

    @property
    def tokens(self) -> int:
        """n_v, or a nominal number where it varies."""
        return self.model.visual_tokens or _NOMINAL_TOKENS

    def tflops(self, stages: Sequence[Stage], method: Method) -> float | None:
        """Cost of a prefill in TFLOPs; None where sizes or tokens are not known."""
        if self.shape is None or self.model.visual_tokens is None:
            return None
        return plan_flops(self.shape, stages, self.tokens, self.text_tokens, method=method) / 1e12

    def tflops_vanilla(self) -> float | None:
        """The same without pruning."""
        if self.shape is None or self.model.visual_tokens is None:
            return None
        return vanilla_flops(self.shape, self.tokens, self.text_tokens) / 1e12

    def ratio_of(self, target: Target) -> float | None:
        """About how large a share of the tokens a target leaves."""
        if target.retain is not None and self.model.visual_tokens:
            return target.retain / self.model.visual_tokens
        if target.flops is not None:
            return target.flops / (self.tflops_vanilla() or math.inf)
        return target.ratio


@dataclass(frozen=True)
class Setting:
    """A method and how its stages are filled.

    Attributes:
        name: the method's name in a plan.
        options: its own options, as in a plan.
        method: the method made of them.
        schedule: see `shares_of`; None for the method's default.
        merge_share: Z / n_v, for methods that leave Z open.
    """

    name: str
    options: dict[str, Any]
    method: Method
    schedule: str | None = None
    merge_share: float = MERGE_SHARE

    @classmethod
    def of(
        cls,
        method: str | Method,
        options: Mapping[str, Any] | None = None,
        *,
        schedule: str | None = None,
        merge_share: float = MERGE_SHARE,
    ) -> Setting:
        """A method by its name and options, or as it is; unknown ones are a SwiftprofError."""
        if not 0 <= merge_share <= 1:
            raise BadParameter("merge_share", merge_share, "must be a fraction from 0 to 1")
        if isinstance(method, Method):
            if options:
                raise BadParameter("options", options, "the method brings its own; leave them out")
            name, options = name_of(method), options_of(method)
        else:
            name = method
        made = create(name, options)
        return cls(name_of(made), dict(options or {}), made, schedule, merge_share)

    def stages(self, layers: Sequence[int], cost: Cost, tokens: float) -> tuple[Stage, ...]:
        """Stages at these layers with `tokens` retained."""
        return fill_budget(
            layers,
            cost.model.num_layers,
            cost.tokens,
            tokens,
            method=self.method,
            merge_share=self.merge_share,
            schedule=self.schedule,
        )


def fill_plan(
    layers: Sequence[int],
    tokens: float,
    cost: Cost,
    setting: Setting,
    *,
    source: Source | None = None,
    area: float | None = None,
    notes: Sequence[str] = (),
) -> Plan:
    """A plan that retains `tokens` with pruning at the given layers.

    Raises:
        SwiftprofError: impossible layers, or an impossible budget; the message names the smallest
            possible.
    """
    try:
        check_layers(layers, cost.model.num_layers, setting.method.earliest)
    except ValueError as error:
        raise BadParameter("layers", ",".join(map(str, layers)), str(error)) from None
    stages = setting.stages(layers, cost, tokens)
    depth, known = cost.model.num_layers, cost.model.visual_tokens is not None
    realised = math.fsum(tokens_per_layer(stages, depth, cost.tokens, setting.method.first)) / depth
    return Plan(
        model=cost.model,
        method=setting.name,
        stages=stages,
        options=setting.options,
        budget=Budget(
            layers=len(layers),
            retain=round(tokens, 4) if known else None,
            ratio=round(tokens / cost.tokens, 6),
        ),
        expected=Expected(
            retained_tokens=round(realised, 4) if known else None,
            tflops=_rounded(cost.tflops(stages, setting.method)),
            tflops_vanilla=_rounded(cost.tflops_vanilla()),
            area=None if area is None else round(area, 6),
        ),
        source=source or Source(),
        notes=tuple(notes),
    )


def tokens_for(target: Target, layers: Sequence[int], cost: Cost, setting: Setting) -> float:
    """N for a target.

    Raises:
        SwiftprofError: tokens or sizes are not known, or the FLOPs are impossible.
    """
    if target.retain is not None:
        if cost.model.visual_tokens is None:
            raise BadParameter(
                "retain",
                target.retain,
                "the number of visual tokens is not known; add `visual_tokens` N or use `ratio`",
            )
        return target.retain
    if target.ratio is not None:
        return target.ratio * cost.tokens
    assert target.flops is not None
    return _tokens_costing(target.flops, layers, cost, setting)


def default_tokens(layers: Sequence[int], cost: Cost, setting: Setting) -> tuple[float, str | None]:
    """N where nothing was asked for: a third; and a note where that had to give way."""
    depth = cost.model.num_layers
    full = layers[0] / depth
    floor = smallest_retain(layers, depth, cost.tokens, setting.method) / cost.tokens
    # With next to nothing left for the stages, the default would ruin the answers it should keep.
    if floor + 0.05 * (1 - full) <= DEFAULT_RATIO:
        return DEFAULT_RATIO * cost.tokens, None
    ratio = round(full + 0.25 * (1 - full), 2)
    return ratio * cost.tokens, (
        f"the first pruning layer is {layers[0]} of {depth}, too late to retain a "
        f"third of the tokens; planned for a ratio of {ratio:g} (choose your own with `ratio`)"
    )


def _tokens_costing(tflops: float, layers: Sequence[int], cost: Cost, setting: Setting) -> float:
    """The largest N whose plan costs at most `tflops`, to a hundredth of a token."""
    vanilla = cost.tflops_vanilla()
    if vanilla is None:
        raise BadParameter(
            "flops", tflops, "the model's sizes are not known; add `model`, or use `ratio`"
        )
    if tflops >= vanilla:
        raise BadParameter(
            "flops", tflops, f"the model costs {vanilla:.4g} TFLOPs without pruning; choose less"
        )

    def price(tokens: float) -> float:
        return cost.tflops(setting.stages(layers, cost, tokens), setting.method) or 0.0

    low = smallest_retain(layers, cost.model.num_layers, cost.tokens, setting.method)
    if tflops < price(low):
        raise BadParameter(
            "flops",
            tflops,
            f"impossible with layers {', '.join(map(str, layers))}; the "
            "smallest "
            f"possible is {math.ceil(price(low) * 1e4) / 1e4:g} (`retain` {math.ceil(low)})",
        )
    high = math.nextafter(cost.tokens, 0)
    while high - low > 0.01:
        middle = (low + high) / 2
        low, high = (middle, high) if price(middle) <= tflops else (low, middle)
    return low


def _rounded(value: float | None) -> float | None:
    """Six significant digits: tiny models cost millionths of a TFLOP."""
    return None if value is None else float(f"{value:.6g}")
