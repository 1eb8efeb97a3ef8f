"""A check, before a model is profiled, that its layers run one by one do what the model does.

Vanilla runs and re-runs call the layers themselves. A family that does more between embedding and
logits (scales embeddings, adds features, caps logits) would be measured wrongly without a sign of
it; here it is found out.
"""

from __future__ import annotations

import torch
from torch import nn

from swiftprof.errors import SwiftprofError
from swiftprof.profiling.row_cache import RowCache
from swiftprof.profiling.steps import Steps
from swiftprof.runtime.conformance import check_scores

_TOKENS = 8


@torch.inference_mode()
def check_steps(model: nn.Module) -> Steps:
    """Compare the layers run one by one with the model's own forward, on eight made-up tokens.

    The scores of every layer are compared with its eager attention map as well.

    Raises:
        SwiftprofError: the model is not supported, or the two differ.
    """
    steps = Steps(model)
    decoder = steps.decoder
    for index in range(len(decoder.layers)):
        check_scores(decoder, index)
    weight = steps.model.get_input_embeddings().weight
    taken = {*decoder.visual_ids, getattr(decoder.config, "pad_token_id", None)}
    words = [i for i in range(min(len(weight), 3 * _TOKENS)) if i not in taken][-_TOKENS:]
    ids = torch.tensor([words], device=weight.device)
    wanted = steps.model(input_ids=ids, use_cache=False).logits[:, -1].float()
    everyone = torch.ones_like(ids, dtype=torch.bool)
    rope = steps.rope(steps.embed(ids), torch.arange(len(words), device=ids.device)[None])
    cache = RowCache(1, [len(words)] * len(decoder.layers))
    hidden = steps.through(steps.embed(ids), rope, (everyone, everyone), cache)
    got = steps.logits(hidden)[:, -1].float().to(wanted.device)
    scale = wanted.std().clamp_min(1e-6)
    tolerance = 1e-3 if hidden.dtype == torch.float32 else 0.1
    difference = ((got - wanted).abs().max() / scale).item()
    if not difference <= tolerance:
        raise SwiftprofError(
            f"{type(model).__name__} cannot be profiled: its layers run one by one do not give "
            f"its own logits (they differ by {difference:.2g} standard deviations), so it does "
            "something between them that swiftprof does not know"
        )
    return steps
