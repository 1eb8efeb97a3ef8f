"""Weights that are no numbers are refused; weights that change get another name."""

from __future__ import annotations

import copy

import pytest
import torch

from swiftprof.errors import SwiftprofError
from swiftprof.runs.settings import check_weights, fingerprint


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(llava, value):
    check_weights(llava)
    model = copy.deepcopy(llava)
    name, weight = list(model.named_parameters())[-3]
    with torch.no_grad():
        weight.view(-1)[7] = value
    with pytest.raises(SwiftprofError, match=f"weights of {name}"):
        check_weights(model)


def test_large_finite_weights_pass(llava):
    model = copy.deepcopy(llava).half()
    with torch.no_grad():
        next(model.parameters()).fill_(6e4)
    check_weights(model)


def test_a_model_that_was_trained_further_has_another_fingerprint(llava):
    again = copy.deepcopy(llava)
    assert fingerprint(again) == fingerprint(llava)
    with torch.no_grad():
        list(again.parameters())[5].add_(1e-4)
    assert fingerprint(again) != fingerprint(llava)
