"""Methods as they are named on a command line, and the plans that they become.

swiftvlm                        at the profile's layers
pdrop:positions=kept            with an option
pdrop@planned                   judged by the profile's layers
drop@equal, drop@own, drop@3+9  at equal depths, the published layers, or layers named
swiftvlm:schedule=uniform:merge=0.1:budget=2
often, often:spread=0.2         a preset: its layers and settings, without a profile
my_pkg.mod:MyMethod:size=3      a method of another package
my/plan.json                    a plan as it is
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from swiftprof.errors import BadParameter, SwiftprofError
from swiftprof.evaluation.settings import VariantSettings
from swiftprof.evaluation.table import LADDER, OWN_BUDGET
from swiftprof.methods import REGISTRY, method_class, name_of, options_of
from swiftprof.methods.base import Method
from swiftprof.methods.options import read_value
from swiftprof.planning.api import LAYER_RULES, ProfileLike, layers_at
from swiftprof.planning.budget import MERGE_SHARE
from swiftprof.planning.curve import Curve, Normalize, combine
from swiftprof.planning.fill import DEFAULT_RATIO, Cost, Setting, Target, fill_plan, tokens_for
from swiftprof.planning.plan_file import Plan
from swiftprof.planning.preset import PRESETS, Preset
from swiftprof.planning.program import solve
from swiftprof.plugins import PluginError

ABLATION = tuple(LADDER)
"""Paper Table 3: progressive dropping at equal depths with kept positions, + planned layers,
+ merging, + bypass."""

Budgets = float | Sequence[float] | None

_PLANNING = ("schedule", "merge", "budget", "normalize")


@dataclass(frozen=True)
class Spec:
    """One method of a comparison.

    Attributes:
        text: as it was typed.
        method: its name; empty for a plan.
        layers: a rule, layers, or None for the method's default.
        options: the method's own.
        planning: `schedule`, `merge`, `budget`, `normalize`.
        plan: a plan as it is.
        preset: gives the layers.
    """

    text: str
    method: str = ""
    layers: str | tuple[int, ...] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    planning: dict[str, Any] = field(default_factory=dict)
    plan: Plan | None = None
    preset: Preset | None = None

    @property
    def needs_profile(self) -> bool:
        """Whether its layers come from a profile, unless they are given."""
        if self.plan is not None or self.preset is not None or isinstance(self.layers, tuple):
            return False
        planned = method_class(self.method).planned
        return self.layers in ("planned", "equal") or (self.layers is None and planned)


@dataclass(frozen=True)
class TargetText:
    """A budget and how it was typed."""

    text: str
    target: Target


def targets_of(retain: Budgets, ratio: Budgets, flops: Budgets) -> list[TargetText]:
    """Budgets from one of the three, a number or several; a third of the tokens by default.

    Raises:
        SwiftprofError: more than one of them, or a number that is no budget.
    """
    given = {"retain": retain, "ratio": ratio, "flops": flops}
    named = {name: value for name, value in given.items() if value is not None}
    if len(named) > 1:
        raise BadParameter(" and ".join(named), None, "give only one of them")
    name, values = next(iter((named or {"ratio": DEFAULT_RATIO}).items()))
    numbers = [values] if isinstance(values, int | float) else list(values)
    return [target_text(name, f"{_fraction(n)}", n) for n in numbers]


def target_text(name: str, typed: str, value: float) -> TargetText:
    """A budget with the words that stand for it in tables."""
    title = {"retain": "{} tokens", "ratio": "{} of the tokens", "flops": "{} TFLOPs"}[name]
    return TargetText(title.format(typed), Target(**{name: value}))


def _fraction(value: float) -> str:
    """1/3 as it was meant."""
    near = Fraction(value).limit_denominator(20)
    exact = abs(float(near) - value) < 1e-9 and near.denominator not in (1, 2, 4, 5, 10, 20)
    return str(near) if exact else f"{value:g}"


def parse_spec(text: str | Method | Plan) -> Spec:
    """Read one method, or take it as it is.

    Raises:
        SwiftprofError: unknown names, a plan that cannot be read; values are checked when the plan
            is made.
    """
    if isinstance(text, Plan):
        return Spec("plan", plan=text)
    if isinstance(text, Method):
        own = options_of(text)
        label = ":".join([name_of(text), *(f"{key}={value}" for key, value in own.items())])
        return Spec(label, name_of(text), options=own)
    if text.endswith(".json"):
        return Spec(text, plan=Plan.load(text))
    head, *settings = text.split(":")
    if head not in REGISTRY and settings and "=" not in settings[0].partition("@")[0]:
        head = f"{head}:{settings.pop(0)}"  # module:Class
    name, _, where = head.partition("@")
    preset = PRESETS.get(name)
    try:
        name = name if preset is None else "swiftvlm"
        method_class(name)
    except SwiftprofError as error:
        hint = "" if isinstance(error, PluginError) else " (or give the path of a plan.json)"
        raise BadParameter("methods", text, f"{error}{hint}") from None
    layers: str | tuple[int, ...] | None = where or None
    if where and where not in LAYER_RULES:
        parts = where.split("+")
        if not all(part.isascii() and part.isdecimal() for part in parts):
            raise BadParameter(
                "methods", text, f"'{where}' must be {', '.join(LAYER_RULES)}, or layers as 3+9"
            )
        layers = tuple(int(part) for part in parts)
    options: dict[str, Any] = {} if preset is None else dict(preset.options)
    planning: dict[str, Any] = {} if preset is None else {"schedule": preset.schedule}
    for each in settings:
        key, sign, value = each.partition("=")
        if not sign:
            raise BadParameter("methods", text, f"'{each}' must be name=value")
        (planning if key in _PLANNING else options)[key] = (
            value if key in ("schedule", "normalize") else read_value(value)
        )
    return Spec(text, name, layers, options, planning, preset=preset)


def plans_at(cost: Cost, methods: Sequence[str], targets: Sequence[TargetText]) -> dict[str, Plan]:
    """`fastv | 192` → its plan, at the published layers of a method that names none.

    The unpruned model has no plan.

    Raises:
        SwiftprofError: unknown methods or impossible budgets.
    """
    if not methods:
        raise BadParameter("methods", None, "no name given, as in fastv,swiftvlm")
    specs = [
        s if s.preset else replace(s, layers=s.layers or "own") for s in map(parse_spec, methods)
    ]
    loaded = {each.name: each.load() for each in Planner(cost).variants(specs, targets)}
    return {
        name.removesuffix(" tokens").removesuffix(" of the"): plan
        for name, plan in loaded.items()
        if plan is not None
    }


@dataclass(frozen=True)
class Planner:
    """Makes plans for a comparison.

    Attributes:
        cost: the model, its decoder, and a prompt's usual number of text tokens.
        profile: chooses the layers of methods that are planned.
        layers: these layers instead, for example a published plan's.
        budget: m, pruning layers at most.
    """

    cost: Cost
    profile: ProfileLike | None = None
    layers: tuple[int, ...] | None = None
    budget: int = 3

    def variants(
        self,
        specs: Sequence[Spec],
        targets: Sequence[TargetText],
        left_out: list[str] | None = None,
    ) -> list[VariantSettings]:
        """Vanilla first, then every method at every budget; plans once each.

        Args:
            left_out: takes the reasons why a method cannot have a budget, instead of an error.

        Raises:
            SwiftprofError: an impossible budget or option, named with its method.
        """
        found = [VariantSettings.of("vanilla")]
        methods = [s for s in specs if s.method != "vanilla"]
        for target in targets:
            for spec in methods:
                if spec.plan is None:
                    try:
                        plan = self._plan(spec, target.target)
                    except SwiftprofError as error:
                        why = f"method {spec.text} at {target.text}: {error}"
                        if left_out is None:
                            raise SwiftprofError(why) from None
                        left_out.append(why)
                        continue
                    found.append(VariantSettings.of(spec.text, target.text, plan))
        for spec in methods:
            if spec.plan is not None:
                spec.plan.check_model(self.cost.model.num_layers, self.cost.model.name)
                found.append(VariantSettings.of(spec.text, OWN_BUDGET, spec.plan))
        return list({variant.name: variant for variant in found}.values())

    def _plan(self, spec: Spec, target: Target) -> Plan:
        merge = spec.planning.get("merge", MERGE_SHARE)
        if isinstance(merge, bool) or not isinstance(merge, int | float):
            raise SwiftprofError(f"merge={merge}: must be a fraction from 0 to 1")
        budget = spec.planning.get("budget", self.budget)
        if isinstance(budget, bool) or not isinstance(budget, int):
            raise SwiftprofError(f"budget={budget}: must be a number of pruning layers")
        normalize = spec.planning.get("normalize", "relative")
        setting = Setting.of(
            spec.method,
            spec.options,
            schedule=spec.planning.get("schedule"),
            merge_share=merge,
        )
        depth = self.cost.model.num_layers
        layers = layers_at(
            spec.layers or (spec.preset.layers(depth) if spec.preset else None),
            setting.method,
            depth,
            self.cost.ratio_of(target),
            lambda: self.layers or self._planned(budget, normalize),
        )
        return fill_plan(layers, tokens_for(target, layers, self.cost, setting), self.cost, setting)

    def _planned(self, budget: int, normalize: Normalize) -> tuple[int, ...]:
        """The layers that the profile chooses."""
        if self.profile is None:
            raise SwiftprofError(
                "its layers come from a profile, and there is none: make one with swiftprof "
                "profile, name it with `profile`, or give a plan's layers with `plan`"
            )
        scores = combine(self.profile.samples, normalize)
        curve = Curve(self.cost.model.num_layers, self.profile.layers, scores)
        return solve(curve, budget).layers
