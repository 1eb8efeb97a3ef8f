"""Tiny random models of the real Hugging Face classes: no downloads, no GPU, quick to build."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
settings.load_profile("untimed")

IMAGE = 127
"""Token id of the image placeholder in every tiny model."""


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tiny_llava(
    *,
    text: str = "llama",
    layers: int = 8,
    hidden: int = 64,
    heads: int = 4,
    kv_heads: int = 2,
    grid: int = 6,
    seed: int = 0,
    attn: str = "sdpa",
    **text_options: Any,
) -> Any:
    """A LlavaForConditionalGeneration with random weights, grid * grid visual tokens per image.

    Args:
        text: family of the text model: llama, mistral, qwen2 or qwen3.
        layers: decoder layers.
        hidden: hidden size of the text model.
        heads: attention heads.
        kv_heads: key-value heads; fewer than `heads` is grouped-query attention.
        grid: image patches per side; images are `(3, 4 * grid, 4 * grid)`.
        seed: seed of the weights; the global random state is left alone.
        attn: attention backend.
        text_options: further fields of the text config.
    """
    import transformers as hf

    config_class = {
        "llama": hf.LlamaConfig,
        "mistral": hf.MistralConfig,
        "qwen2": hf.Qwen2Config,
        "qwen3": hf.Qwen3Config,
    }[text]
    options: dict[str, Any] = {
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": 128,
        "max_position_embeddings": 1024,
        "initializer_range": 0.15,
        "bos_token_id": 1,
        "eos_token_id": None,
        "pad_token_id": 0,
    }
    if text == "mistral":
        options["sliding_window"] = None
    if text == "qwen3":
        options["head_dim"] = hidden // heads
    vision = hf.CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=4 * grid,
        patch_size=4,
        projection_dim=32,
    )
    config = hf.LlavaConfig(
        vision_config=vision,
        text_config=config_class(**{**options, **text_options}),
        image_token_id=IMAGE,
        vision_feature_layer=-1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = hf.LlavaForConditionalGeneration(config).eval()
    model.requires_grad_(False)
    model.set_attn_implementation(attn)
    return model


@pytest.fixture(scope="session")
def make_llava() -> Callable[..., Any]:
    """The factory `tiny_llava`; see its docstring."""
    return tiny_llava


@pytest.fixture
def llava() -> Any:
    """A fresh tiny LLaVA: 8 layers, grouped-query attention, 36 visual tokens per image."""
    return tiny_llava()


def make_plan(
    *stages: tuple[float, ...], method: str = "swiftvlm", num_layers: int = 8, **options: Any
) -> SimpleNamespace:
    """A plan as the runtime sees it, from `(layer, keep[, merge])` and the method's options."""
    return SimpleNamespace(
        method=method,
        stages=[
            SimpleNamespace(layer=int(s[0]), keep=s[1], merge=s[2] if len(s) > 2 else 0.0)
            for s in stages
        ],
        options=options,
        model=SimpleNamespace(num_layers=num_layers),
    )


@pytest.fixture(scope="session")
def plan_of() -> Callable[..., SimpleNamespace]:
    """The factory `make_plan`; see its docstring."""
    return make_plan


@dataclass(frozen=True)
class Prompts:
    """Prompts with one image each, their texts of different lengths before and after it.

    Attributes:
        ids: token ids of each prompt, `(length,)`.
        pixels: `(number, 3, side, side)`.
    """

    ids: list[torch.Tensor]
    pixels: torch.Tensor

    def batch(self, *rows: int) -> dict[str, torch.Tensor]:
        """Model inputs for some of the prompts, padded on the left."""
        length = max(len(self.ids[i]) for i in rows)
        ids = torch.zeros(len(rows), length, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for b, i in enumerate(rows):
            ids[b, length - len(self.ids[i]) :] = self.ids[i]
            mask[b, length - len(self.ids[i]) :] = 1
        return {
            "input_ids": ids,
            "attention_mask": mask,
            "pixel_values": self.pixels[list(rows)],
        }


@pytest.fixture(scope="session")
def prompts() -> Prompts:
    """Three prompts for models with 36 visual tokens per image; lengths 50, 44 and 55."""
    generator = torch.Generator().manual_seed(1)

    def text(n: int) -> torch.Tensor:
        return torch.randint(2, 120, (n,), generator=generator)

    image = torch.full((36,), IMAGE)
    ids = [torch.cat([text(a), image, text(b)]) for a, b in ((5, 9), (2, 6), (7, 12))]
    return Prompts(ids, torch.randn(3, 3, 24, 24, generator=generator))


@pytest.fixture(scope="session")
def bundled() -> Any:
    """The bundled model, loaded once."""
    from swiftprof.models.loading import load

    return load("tiny-llava")


@pytest.fixture(scope="session")
def small_profile(bundled: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A real profile of the bundled model on a few samples of two data sets."""
    from swiftprof.profiling.api import profile

    folder = tmp_path_factory.mktemp("profile") / "small"
    return profile(bundled, ["scenes-qa", "scenes-text"], samples=8, out=folder)


@pytest.fixture(scope="session")
def made_profile(bundled: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A profile folder of the bundled model with invented scores whose plan is certain.

    Two sets of 30 samples; layers 3, 7 and 11 are ever better, the others are as bad as layer 2.
    """
    import random

    from swiftprof.data.drawing import draw
    from swiftprof.data.registry import get_dataset
    from swiftprof.models.registry import ModelInfo
    from swiftprof.planning.curve import combine
    from swiftprof.profiling.rows import Row, Settings, parts_of, read_scores, series_of
    from swiftprof.profiling.store import Profile, Summary
    from swiftprof.runs.folder import Run, open_run

    depth, visual, size = bundled.num_layers, bundled.visual_tokens, 30
    good = {3: 0.7, 7: 0.85, 11: 0.95}
    layers = tuple(range(2, depth + 1))
    settings = Settings(
        model=ModelInfo(
            name=bundled.name, id=bundled.source.id, num_layers=depth, visual_tokens=visual
        ),
        datasets=("scenes-ref", "scenes-qa"),
        splits={"scenes-ref": "train", "scenes-qa": "train"},
        decoder=bundled.decoder_shape,
        samples=size,
        keep=0.2,
        layers=layers,
    )
    folder = tmp_path_factory.mktemp("profiles") / "made"
    drawn = {n: draw(get_dataset(n), "train", size, 0) for n in settings.datasets}
    run = Run[Settings](settings=settings, draw=drawn)
    open_run(folder, run)
    chance = random.Random(0)
    for name, indices in drawn.items():
        rows = {}
        for place, index in enumerate(indices):
            sample = get_dataset(name).sample("train", index)
            turn = 7 * place % size  # right and wrong ones mixed
            right = [turn < round(size * good.get(layer, 0.5)) for layer in layers]
            row = Row(
                id=sample.id,
                dataset=name,
                kind=sample.kind,
                question=sample.question,
                answers=list(sample.answers),
                prediction=sample.answers[0],
                score=1.0,
                n_visual=visual,
                prompt_tokens=visual + 20,
                selection=[sorted(chance.sample(range(visual), visual // 5)) for _ in range(depth)],
                rerun_prediction=[sample.answers[0] if r else "nothing" for r in right],
                rerun_score=[float(r) for r in right],
            )
            rows[index] = vars(row)
        parts_of(folder).add(series_of(run, name), 0, rows)
    scores = {n: read_scores(parts_of(folder), series_of(run, n), len(layers)) for n in drawn}

    def by_layer(values: Any) -> dict[str, float]:
        return {str(layer): float(v) for layer, v in zip(layers, values, strict=True)}

    summary = Summary(
        schema="swiftprof.profile/1",
        settings=settings,
        draw=drawn,
        samples=dict.fromkeys(settings.datasets, size),
        text_tokens=20.0,
        vanilla=dict.fromkeys(settings.datasets, 1.0),
        curve=by_layer(combine(scores)),
        curve_per_dataset={n: by_layer(combine({n: s})) for n, s in scores.items()},
        interval={str(layer): (0.0, 1.0) for layer in layers},
        created="2026-01-01T00:00:00+00:00",
        seconds=1.0,
        versions={},
    )
    (folder / "profile.json").write_text(summary.model_dump_json(by_alias=True))
    return Profile.load(folder)
