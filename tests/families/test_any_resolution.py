"""A prompt of five tiles of 576 visual tokens: no tensor is square in them, memory is bounded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import transformers as hf
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from swiftprof.bench.memory import peak_bytes
from swiftprof.methods import REGISTRY, create
from swiftprof.profiling.record import record
from swiftprof.profiling.rerun import rerun
from swiftprof.profiling.steps import Steps, check_steps
from swiftprof.runtime.prune import prune

CPU = torch.device("cpu")
IMAGE, LAYERS, TILE = 127, 6, 576
VISUAL = 5 * TILE + 48
"""Five tiles, and a newline token behind each of the 48 rows of the four that make the image."""
NEW = 2
ONE_GRID = {"feather", "visionzip", "vispruner", "hiprune", "pool"}
METHODS = sorted(set(REGISTRY) - {"vanilla"} - ONE_GRID)
"""Those two refuse images of several tiles, as they are defined on one grid."""


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    config = hf.LlavaNextConfig(
        vision_config=hf.CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=1,
            image_size=96,
            patch_size=4,
            projection_dim=16,
        ),
        text_config=hf.LlamaConfig(
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=LAYERS,
            num_attention_heads=2,
            num_key_value_heads=1,
            vocab_size=128,
            max_position_embeddings=4096,
            initializer_range=0.2,
            eos_token_id=None,
            pad_token_id=0,
        ),
        image_token_id=IMAGE,
        image_grid_pinpoints=[[192, 192]],
        vision_feature_layer=-1,
    )
    return hf.LlavaNextForConditionalGeneration(config).eval()


@pytest.fixture(scope="module")
def inputs() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    text = torch.randint(2, 120, (2, 12), generator=generator)
    image = torch.full((2, VISUAL), IMAGE)
    ids = torch.cat([text[:, :5], image, text[:, 5:]], 1)
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "pixel_values": torch.randn(2, 5, 3, 96, 96, generator=generator),
        "image_sizes": torch.tensor([[192, 192]] * 2),
    }


class _Square(TorchDispatchMode):
    """Collects operations whose results have two dimensions as long as the visual tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for each in tree_iter(out):
            if not isinstance(each, torch.Tensor):
                continue
            expanded = each.untyped_storage().nbytes() < (VISUAL // 2) ** 2
            if sum(n > VISUAL // 2 for n in each.shape) > 1 and not expanded:
                self.found.append(f"{func}: {tuple(each.shape)}")
        return out


@contextmanager
def nothing_square() -> Iterator[None]:
    with _Square() as seen:
        yield
    assert not seen.found


def generate(model: Any, inputs: Any) -> torch.Tensor:
    with torch.inference_mode():
        ids = model.generate(**inputs, do_sample=False, max_new_tokens=NEW)
    return ids[:, inputs["input_ids"].shape[1] :]


def profile(steps: Steps, inputs: Any, max_rows: int) -> tuple[Any, Any]:
    recording = record(steps, inputs, IMAGE, NEW)
    chosen = [selection[1:] for selection in recording.select(0.2)]
    return recording, rerun(recording, chosen, NEW, (), max_rows=max_rows)


def test_the_square_detector_sees_attention_maps(model: Any, inputs: Any) -> None:
    one = {name: value[:1] for name, value in inputs.items()}
    model.set_attn_implementation("eager")
    try:
        with _Square() as seen:
            generate(model, one)
    finally:
        model.set_attn_implementation("sdpa")
    assert seen.found


def test_profiling_needs_no_square_and_gives_the_same_in_chunks(model: Any, inputs: Any) -> None:
    steps = check_steps(model)
    with nothing_square():
        recording, chunked = profile(steps, inputs, max_rows=3)
    assert int(recording.visual.sum()) == 2 * VISUAL
    _, together = profile(steps, inputs, max_rows=64)
    assert chunked == together
    assert recording.generated == generate(model, inputs).tolist()


def test_profiling_in_chunks_holds_little_more_than_generating(model: Any, inputs: Any) -> None:
    plain, steps = peak_bytes(CPU, lambda: generate(model, inputs)), check_steps(model)
    peaks = [peak_bytes(CPU, lambda n=n: profile(steps, inputs, n)) for n in (1, 10)]
    assert max(peaks) < 1.3 * plain
    assert peaks[0] <= peaks[1]


@pytest.mark.parametrize("method", METHODS)
def test_pruning_needs_no_square(model: Any, inputs: Any, plan_of: Any, method: str) -> None:
    merge = 0.05 if create(method).merges else 0.0
    plan = plan_of((2, 0.3, merge), (4, 0.1), method=method, num_layers=LAYERS)
    with nothing_square(), prune(model, plan):
        said = generate(model, inputs)
    assert said.shape == (2, NEW)
