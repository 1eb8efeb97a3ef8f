"""Masks per attention backend."""

from __future__ import annotations

import pytest
import torch

from swiftprof.core.masks import attention_mask, mask_kind


def _mask(
    kind: str,
    valid: torch.Tensor | None,
    queries: int,
    keys: int,
) -> torch.Tensor | None:
    return attention_mask(
        kind,
        valid,
        batch=2,
        queries=queries,
        keys=keys,
        dtype=torch.float32,
        device=torch.device("cpu"),
    )


@pytest.mark.parametrize(
    ("backend", "kind"),
    [
        ("sdpa", "sdpa"),
        ("eager", "eager"),
        ("flash_attention_2", "flash"),
        ("kernels-community/flash-attn2", "flash"),
        ("flex_attention", None),
        ("my_attention", None),
    ],
)
def test_backends_have_known_kinds(backend: str, kind: str | None) -> None:
    assert mask_kind(backend) == kind


def test_sdpa_needs_no_mask_only_where_its_own_is_right() -> None:
    assert _mask("sdpa", None, 5, 5) is None
    assert _mask("sdpa", None, 1, 5) is None
    continued = _mask("sdpa", None, 2, 4)  # its own mask would be aligned to the upper left
    assert continued is not None
    assert continued[0, 0].tolist() == [[True, True, True, False], [True] * 4]


def test_eager_always_gets_causality() -> None:
    assert _mask("eager", None, 1, 5) is None
    mask = _mask("eager", None, 3, 3)
    assert mask is not None
    assert ((mask[0, 0] == 0) == torch.ones(3, 3).tril().bool()).all()
    assert torch.isfinite(mask).all()


def test_padding_is_hidden_and_no_row_is_empty() -> None:
    valid = torch.tensor([[False, False, True, True], [True] * 4])
    mask = _mask("sdpa", valid, 4, 4)
    assert mask is not None
    assert mask[0, 0].tolist() == [
        [True, False, False, False],
        [False, True, False, False],
        [False, False, True, False],
        [False, False, True, True],
    ]
    assert torch.equal(mask[1, 0], torch.ones(4, 4).tril().bool())
    assert _mask("flash", valid, 4, 4) is valid
    assert _mask("flash", None, 4, 4) is None
