"""At which layers published methods prune, for cost estimates without a plan.

Depths are of LLaVA-1.5-7B (32 layers), as in the methods' own code or papers, in the numbering of
plans: the first stage cuts after its layer, later ones before theirs. Other depths are scaled.
"""

from __future__ import annotations

from collections.abc import Mapping

from swiftprof.errors import SwiftprofError, did_you_mean

__all__ = ["PUBLISHED_LAYERS", "default_layers"]

_DEPTH = 32

PUBLISHED_LAYERS: Mapping[str, tuple[int, ...]] = {
    "swiftvlm": (3, 11, 15),  # arXiv 2602.03134, section 3.2
    "drop": (3, 11, 15),
    "random": (3, 11, 15),
    "uniform": (3, 11, 15),
    "fastv": (2,),  # K = 2
    "pdrop": (8, 17, 25),  # after 8, 16 and 24 layers
    "sparsevlm": (3, 8, 17),  # after the 0-based layers 2, 6 and 15
    "feather": (8, 17),  # before the 0-based layers 8 and 16
    "visionzip": (0,),  # before the decoder
}


def default_layers(method: str, num_layers: int) -> tuple[int, ...]:
    """Pruning layers of a method in a model of this depth.

    Raises:
        SwiftprofError: unknown method, or a model too shallow for its stages.
    """
    published = PUBLISHED_LAYERS.get(method)
    if published is None:
        raise SwiftprofError(f"--method {method}: {did_you_mean(method, PUBLISHED_LAYERS)}")
    layers: list[int] = []
    for position, layer in enumerate(published):
        # FastV's K stays: it is the first layers that are special, not a fraction of the depth.
        scaled = layer if len(published) == 1 else round(layer * num_layers / _DEPTH)
        gap = 2 if position == 1 else 1
        layers.append(max(scaled, layers[-1] + gap if layers else min(layer, 1)))
    if layers[-1] >= num_layers:
        raise SwiftprofError(
            f"--method {method}: {num_layers} layers are too few for its {len(layers)} stages; "
            "give --layers or --plan"
        )
    return tuple(layers)
