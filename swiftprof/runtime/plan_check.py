"""Does a plan fit a model? Asked before any hook is installed."""

from __future__ import annotations

from swiftprof.core.stages import check_stages, cut_layers
from swiftprof.errors import SwiftprofError
from swiftprof.methods import check_words
from swiftprof.methods.base import Method
from swiftprof.runtime.decoder import Decoder
from swiftprof.runtime.schedule import PlanLike


def check_plan(decoder: Decoder, method: Method, plan: PlanLike) -> None:
    """Refuse a plan that cannot run on a model.

    Raises:
        SwiftprofError: another depth, impossible stages, or a method that this model does not suit.
    """
    stages = tuple(plan.stages)
    layers, planned = len(decoder.layers), plan.model.num_layers
    if planned != layers:
        raise SwiftprofError(
            f"plan: made for a model with {planned} layers, this one has {layers}: "
            "make a plan for this model"
        )
    check_stages(stages, layers, method.earliest)
    check_words(method)
    if stages and method.reads_grid and not decoder.mrope and decoder.picture is None:
        raise SwiftprofError(
            f"plan: method '{plan.method}' keeps a grid of an image's rows and columns, and this "
            "model cuts images into tiles or puts newline tokens between rows: choose another "
            "method"
        )
    if method.compacts and decoder.mrope:
        raise SwiftprofError(
            f"plan: method '{plan.method}' renumbers positions, which this model gives in "
            "three dimensions; set options.positions to 'kept'"
        )
    first = decoder.first_cut
    if stages and cut_layers(stages, method.first)[0] < first:
        least = first + (method.first == "before")
        raise SwiftprofError(
            f"plan: stages[0].layer is {stages[0].layer}; this model adds vision "
            f"features after its first {first} layers: start at layer {least} or later"
        )
    for j, stage in enumerate(stages):
        if stage.merge > 0 and not method.merges:
            raise SwiftprofError(
                f"plan: stages[{j}].merge is {stage.merge}, but method '{plan.method}' "
                "does not merge: set it to 0"
            )
