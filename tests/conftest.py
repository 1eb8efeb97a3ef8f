"""Tiny random models of the real Hugging Face classes: no downloads, no GPU, quick to build."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch

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
