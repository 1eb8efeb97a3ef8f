"""Plans that need no profile: what served best on models that were measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from swiftprof.costs.flops import DecoderShape
from swiftprof.errors import BadParameter, did_you_mean
from swiftprof.models.registry import ModelInfo
from swiftprof.planning.fill import DEFAULT_RATIO, Cost, Setting, Target, fill_plan, tokens_for
from swiftprof.planning.plan_file import Plan


@dataclass(frozen=True)
class Preset:
    """Where to prune, and how, in any model.

    Attributes:
        published: the layers in a model of `depth` layers.
        depth: see `published`.
        options: of swiftvlm.
        schedule: how tokens fall from stage to stage.
    """

    published: tuple[int, ...]
    depth: int
    options: Mapping[str, Any]
    schedule: str

    def layers(self, num_layers: int) -> tuple[int, ...]:
        """The layers at the same relative depths, without those that coincide."""
        moved = {max(2, round(layer * num_layers / self.depth)) for layer in self.published}
        return tuple(sorted(layer for layer in moved if layer < num_layers))


PRESETS: Mapping[str, Preset] = {
    "often": Preset(
        published=(3, 4, 6, 8, 10, 12, 14, 18),
        depth=24,
        options={"first": "before", "spread": 0.35},
        schedule="geometric",
    )
}
"""`often`: judge often, from an early layer on, and spread a share of every selection."""


def plan_preset(
    name: str,
    model: ModelInfo,
    decoder: DecoderShape | None = None,
    text_tokens: float = 0.0,
    *,
    retain: float | None = None,
    ratio: float | None = None,
    flops: float | None = None,
) -> Plan:
    """Fill a preset's stages for a model.

    Args:
        name: a name in `PRESETS`.
        model: the model.
        decoder: its decoder, for FLOPs.
        text_tokens: tokens of a prompt beside the visual ones, for FLOPs.
        retain, ratio, flops: the budget, as in `swiftprof.plan`; a third of the tokens if none.

    Raises:
        SwiftprofError: an unknown name or an impossible budget.
    """
    if name not in PRESETS:
        raise BadParameter("preset", name, did_you_mean(name, PRESETS))
    preset = PRESETS[name]
    setting = Setting.of("swiftvlm", preset.options, schedule=preset.schedule)
    target = Target(retain, ratio, flops)
    target = target if target.given else Target(ratio=DEFAULT_RATIO)
    cost, layers = Cost(model, decoder, text_tokens), preset.layers(model.num_layers)
    note = f"the preset {name}: layers that served other models, none of this one's measured"
    return fill_plan(layers, tokens_for(target, layers, cost, setting), cost, setting, notes=[note])
