"""The bundled data sets: every sample can be made, answered and scored; splits are disjoint."""

from __future__ import annotations

import numpy as np
import pytest

from swiftprof.data.base import Dataset
from swiftprof.data.drawing import draw
from swiftprof.data.registry import BUNDLED, DATASETS, get_dataset
from swiftprof.errors import SwiftprofError


@pytest.mark.parametrize("name", BUNDLED)
def test_samples_are_reproducible_and_score_their_own_answer(name):
    dataset = get_dataset(name)
    assert isinstance(dataset, Dataset)
    kinds = set()
    for index in range(60):
        sample, again = dataset.sample("train", index), dataset.sample("train", index)
        assert np.array_equal(np.asarray(sample.image), np.asarray(again.image))
        assert (sample.question, sample.answers) == (again.question, again.answers)
        assert dataset.score(sample.answers[0], sample) == 1.0
        assert dataset.score("nonsense", sample) == 0.0
        kinds.add(sample.kind)
    assert len(kinds) >= 3


def test_train_and_test_share_no_picture():
    dataset = get_dataset("scenes-qa")
    seen = {dataset.sample("train", i).image.tobytes() for i in range(100)}
    assert not seen & {dataset.sample("test", i).image.tobytes() for i in range(100)}


def test_draw_depends_on_seed_alone_and_never_repeats():
    dataset = get_dataset("scenes-qa")
    drawn = draw(dataset, "train", 500, 0)
    assert drawn == draw(dataset, "train", 500, 0)
    assert drawn != draw(dataset, "train", 500, 1)
    assert len(set(drawn)) == 500
    assert draw(dataset, "train", 50, 0) == drawn[:50]  # a smaller draw is the start of a larger


def test_impossible_draws_are_refused():
    dataset = get_dataset("scenes-qa")
    for split, n in (("val", 1), ("train", 0), ("test", 5001)):
        with pytest.raises(SwiftprofError):
            draw(dataset, split, n, 0)


def test_unknown_names_get_the_nearest():
    with pytest.raises(SwiftprofError, match="scenes-text"):
        get_dataset("scene-text")
    assert set(BUNDLED) <= set(DATASETS)
