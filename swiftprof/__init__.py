"""Find the layers at which a vision-language model can prune its visual tokens; prune there.

    vlm = swiftprof.load("llava-1.5-7b")
    profile = swiftprof.profile(vlm, datasets=["refcoco"], samples=1000)
    plan = swiftprof.plan(profile, budget=3, retain=192)
    with swiftprof.prune(vlm.model, plan):
        vlm.model.generate(**inputs)

Importing this package imports nothing heavy: each public name loads its module when it is first
used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swiftprof.errors import SwiftprofError
    from swiftprof.evaluation.api import evaluate
    from swiftprof.methods.base import Method
    from swiftprof.methods.view import PromptView, StageView
    from swiftprof.models.loading import load
    from swiftprof.planning.api import plan
    from swiftprof.planning.plan_file import Plan
    from swiftprof.profiling.api import profile
    from swiftprof.profiling.store import Profile
    from swiftprof.runtime.prune import prune
    from swiftprof.search.api import search_plan

__version__ = "0.1.0"

__all__ = [
    "Method",
    "Plan",
    "Profile",
    "PromptView",
    "StageView",
    "SwiftprofError",
    "__version__",
    "evaluate",
    "load",
    "plan",
    "profile",
    "prune",
    "search_plan",
]

_HOMES = {
    "Method": "swiftprof.methods.base",
    "Plan": "swiftprof.planning.plan_file",
    "Profile": "swiftprof.profiling.store",
    "PromptView": "swiftprof.methods.view",
    "StageView": "swiftprof.methods.view",
    "SwiftprofError": "swiftprof.errors",
    "evaluate": "swiftprof.evaluation.api",
    "load": "swiftprof.models.loading",
    "plan": "swiftprof.planning.api",
    "profile": "swiftprof.profiling.api",
    "prune": "swiftprof.runtime.prune",
    "search_plan": "swiftprof.search.api",
}


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562)."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'swiftprof' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(home), name)
    globals()[name] = value  # the next access does not come through here
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
