"""Profiling against its definition: the same answers, less memory than it might take."""

from __future__ import annotations

import pytest
import torch

from benchmarks.naive import profile_one
from benchmarks.profile_speed import random_vlm
from swiftprof.bench.memory import peak_bytes
from swiftprof.data.asking import ask_all
from swiftprof.data.registry import get_dataset
from swiftprof.profiling.job import Request, prepare
from swiftprof.profiling.record import record
from swiftprof.profiling.steps import Steps, check_steps
from swiftprof.profiling.worker import measure_batch


def test_answers_are_those_of_one_generate_call_per_layer(bundled):
    request = Request(("scenes-ref",), keep=0.1, samples=2)
    settings = prepare(bundled, request).settings
    settings = settings.model_copy(update={"layers": (2, 3, 5, 8, 13, 17, 20, 24)})
    dataset = get_dataset("scenes-ref")
    samples, _ = ask_all(dataset, "train", [3, 4], bundled)
    rows = measure_batch(bundled, Steps(bundled.model), dataset, samples, settings)
    for row, sample in zip(rows, samples, strict=True):
        selections = [row.selection[layer - 1] for layer in settings.layers]
        naive = profile_one(bundled, dataset, sample, selections, settings.keep)
        assert naive.vanilla == row.prediction
        assert naive.reruns == row.rerun_prediction
    assert len({a for row in rows for a in row.rerun_prediction}) > 2


def test_recording_holds_little_more_than_generating(llava, prompts):
    inputs = prompts.batch(0, 1, 2)

    @torch.inference_mode()
    def plain():
        llava.generate(**inputs, do_sample=False, max_new_tokens=4, return_dict_in_generate=True)

    base, steps = peak_bytes(llava.device, plain), check_steps(llava)
    assert peak_bytes(llava.device, lambda: record(steps, inputs, 127, 4)) <= 1.3 * base


@pytest.mark.parametrize("score", ["generation", "nll"])
def test_profiling_holds_little_more_than_generating(bundled, score):
    """Bytes of living tensors at their most, vision tower and decoding included."""
    dataset = get_dataset("scenes-text")
    samples, _ = ask_all(dataset, "train", range(4), bundled)
    settings = prepare(bundled, Request(("scenes-text",), samples=4, score=score)).settings
    settings = settings.model_copy(update={"layers": (2, 7, 8, 12, 17, 20, 24)})

    @torch.inference_mode()
    def plain():
        inputs = bundled.inputs([s.image for s in samples], [s.question for s in samples])
        bundled.model.generate(**inputs, do_sample=False, max_new_tokens=dataset.max_new_tokens)

    base = peak_bytes(bundled.model.device, plain)
    steps = check_steps(bundled.model)  # holds the decoder's weights a second time
    whole = peak_bytes(
        bundled.model.device, lambda: measure_batch(bundled, steps, dataset, samples, settings)
    )
    assert whole <= 1.3 * base


def test_a_model_of_known_sizes_is_asked_real_questions():
    vlm = random_vlm("llava-1.5-7b", scale=1 / 32, layers=4)
    dataset = get_dataset("scenes-text")
    samples, _ = ask_all(dataset, "train", [0, 1], vlm)
    settings = prepare(vlm, Request(("scenes-text",), samples=2)).settings
    rows = measure_batch(vlm, Steps(vlm.model), dataset, samples, settings)
    assert [row.n_visual for row in rows] == [576, 576]
    assert [len(row.selection) for row in rows] == [4, 4]
    selections = [rows[1].selection[layer - 1] for layer in settings.layers]
    naive = profile_one(vlm, dataset, samples[1], selections, settings.keep)
    assert [rows[1].prediction, *rows[1].rerun_prediction] == [naive.vanilla, *naive.reruns]
