"""The FlashAttention code path of Hugging Face, with torch functions in place of the two kernels.

Everything but the kernels is real: unpadding, detection of packed sequences, causal alignment.
"""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

THREE = ((3, 0.5, 0.1), (5, 0.3, 0.1), (7, 0.1))


def _attend(q: Tensor, k: Tensor, v: Tensor, scale: float, causal: bool) -> Tensor:
    """Attention of `(L, H, d)`, causal mask aligned to the lower right."""
    repeat = q.shape[1] // k.shape[1]
    q, k, v = (
        t.transpose(0, 1)
        for t in (q, k.repeat_interleave(repeat, 1), v.repeat_interleave(repeat, 1))
    )
    scores = q @ k.transpose(1, 2) * scale
    if causal:
        rows, columns = torch.arange(q.shape[1])[:, None], torch.arange(k.shape[1])[None]
        allowed = columns <= rows + k.shape[1] - q.shape[1]
        scores = scores.masked_fill(~allowed, float("-inf"))
    return (scores.softmax(-1) @ v).transpose(0, 1)


@pytest.fixture
def flash(monkeypatch: pytest.MonkeyPatch) -> tuple[Callable[[Any], None], collections.Counter]:
    """Install the stand-in kernels; gives a switch for a model, and calls by kernel."""
    import transformers.modeling_flash_attention_utils as utils

    calls: collections.Counter = collections.Counter()

    def flash_attn_func(
        q, k, v, dropout_p=0.0, softmax_scale=None, causal=False, window_size=(-1, -1),
        softcap=0.0, deterministic=False,
    ):  # fmt: skip
        calls["dense"] += 1
        rows = [_attend(a, b, c, softmax_scale, causal) for a, b, c in zip(q, k, v, strict=True)]
        return torch.stack(rows)

    def flash_attn_varlen_func(
        q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, dropout_p=0.0,
        softmax_scale=None, causal=False, window_size=(-1, -1), softcap=0.0, deterministic=False,
    ):  # fmt: skip
        calls["varlen"] += 1
        qs, ks = cu_seqlens_q.tolist(), cu_seqlens_k.tolist()
        spans = zip(qs, qs[1:], ks, ks[1:], strict=False)
        return torch.cat(
            [_attend(q[a:b], k[c:d], v[c:d], softmax_scale, causal) for a, b, c, d in spans]
        )

    process = utils._lazy_define_process_function(flash_attn_varlen_func)
    stand_ins = {
        "_loaded_implementation": "flash_attention_2",
        "_flash_fn": flash_attn_func,
        "_flash_varlen_fn": flash_attn_varlen_func,
        "_flash_with_kvcache_fn": None,
        "_pad_fn": utils._pad_input,
        "_unpad_fn": utils._unpad_input,
        "_process_flash_kwargs_fn": process,
        "_process_with_kvcache_kwargs_fn": dict,
    }
    for name, value in stand_ins.items():
        monkeypatch.setattr(utils, name, value, raising=False)

    def switch(model: Any) -> None:
        model.config.text_config._attn_implementation_internal = "flash_attention_2"

    return switch, calls


@pytest.mark.parametrize("method", ["swiftvlm", "drop"])
@pytest.mark.parametrize("rows", [(0,), (0, 1, 2)])
def test_flash_attention_equals_sdpa(
    llava: Any,
    prompts: Any,
    plan_of: Any,
    generate: Any,
    logits_of: Any,
    flash: Any,
    rows: tuple[int, ...],
    method: str,
) -> None:
    switch, calls = flash
    merge = 0.1 if method == "swiftvlm" else 0.0
    plan = plan_of((3, 0.5, merge), (5, 0.3, merge), (7, 0.1), method=method)
    expected = logits_of(generate(llava, prompts.batch(*rows), plan))
    switch(llava)
    got = logits_of(generate(llava, prompts.batch(*rows), plan))
    assert (got - expected).abs().max() < 1e-4
    if len(rows) == 1:  # positions with gaps must not look like packed sequences
        assert calls["varlen"] == 0
        assert calls["dense"] == 8 * 5
    else:
        assert calls["varlen"] > 0


def test_flash_attention_keeping_everything_is_vanilla_bit_for_bit(
    llava: Any, prompts: Any, plan_of: Any, generate: Any, logits_of: Any, flash: Any
) -> None:
    flash[0](llava)
    vanilla = logits_of(generate(llava, prompts.batch(0, 1)))
    pruned = logits_of(generate(llava, prompts.batch(0, 1), plan_of((2, 1.0), (4, 1.0))))
    assert torch.equal(vanilla, pruned)
