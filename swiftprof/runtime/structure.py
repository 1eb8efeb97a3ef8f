"""Is a model still built as the hooks expect? Transformers may change a family under us.

What is checked here is what the runtime relies on without touching it: which arguments a layer is
called with, that all layers are alike, and that the text model is given nothing that we do not know
(it might add to the hidden states between layers, and then a pruned sequence would be wrong without
a sign of it). Numbers are checked by `swiftprof.runtime.conformance`.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import NoReturn

from torch import nn

from swiftprof.errors import SwiftprofError

DEEPSTACK = ("visual_pos_masks", "deepstack_visual_embeds")
"""Arguments of a text model that adds vision features after its first layers: where, and which."""

_PARTS = ("input_layernorm", "self_attn.q_proj", "self_attn.k_proj")
_LAYER_ARGUMENTS = (
    "hidden_states",
    "attention_mask",
    "position_embeddings",
    "position_ids",
    "past_key_values",
)
_TEXT_ARGUMENTS = {
    "self",
    "input_ids",
    "attention_mask",
    "position_ids",
    "past_key_values",
    "inputs_embeds",
    "use_cache",
    "cache_position",
    "output_attentions",
    "output_hidden_states",
    "return_dict",
}


class NotCopied:
    """What hangs on a pruned model and belongs to it alone."""

    def __deepcopy__(self, memo: object) -> NoReturn:
        raise SwiftprofError(
            "a model cannot be copied while it is being pruned: copy it before the prune block, "
            "and prune the copy in a block of its own"
        )

    def __reduce__(self) -> NoReturn:
        self.__deepcopy__(None)


def changed(name: str, what: str) -> SwiftprofError:
    """The error for a model that is built differently: which, what, and in which transformers."""
    import transformers

    return SwiftprofError(
        f"{name} cannot be pruned: {what}; transformers {transformers.__version__} builds it "
        "differently from what swiftprof knows, take the version that `swiftprof doctor` names as "
        "tested"
    )


def check_structure(
    name: str, text: nn.Module, layers: Sequence[nn.Module], *, deepstack: bool
) -> None:
    """Refuse a decoder that the hooks would serve wrongly.

    Args:
        name: class of the model, for messages.
        text: the text model.
        layers: its decoder layers.
        deepstack: the text model adds vision features after its first layers (see `DEEPSTACK`).

    Raises:
        SwiftprofError: with the first difference found.
    """
    for layer in layers:
        kind = type(layer).__name__
        for part in _PARTS:
            try:
                layer.get_submodule(part)
            except AttributeError:
                raise SwiftprofError(
                    f"{name} cannot be pruned: its layers ({kind}) have no {part}"
                ) from None
        for fact in ("head_dim", "scaling"):
            if not hasattr(layer.self_attn, fact):
                raise changed(name, f"the attention of its layers ({kind}) has no {fact}")
    for cls in dict.fromkeys(type(layer) for layer in layers):
        missing = [a for a in _LAYER_ARGUMENTS if a not in _arguments(cls)]
        if missing:
            raise changed(name, f"its layers ({cls.__name__}) take no {missing[0]}")
    known = _TEXT_ARGUMENTS | (set(DEEPSTACK) if deepstack else set())
    unknown = sorted(_arguments(type(text)) - known)
    if unknown:
        raise changed(name, f"its text model {type(text).__name__} is given {unknown[0]}")
    if deepstack and not set(DEEPSTACK) <= _arguments(type(text)):
        raise changed(name, f"its text model {type(text).__name__} is not given {DEEPSTACK[1]}")


def _arguments(kind: type[nn.Module]) -> set[str]:
    """Named arguments of a module's forward."""
    parameters = inspect.signature(kind.forward).parameters.values()
    return {p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
