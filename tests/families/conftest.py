"""Every family as a tiny random model of its real classes: configuration, weights, processor.

Images go through the family's own processor, so prompts have the visual tokens, newline tokens and
positions that the family gives them. A `Case` holds four prompts whose numbers of visual tokens all
differ: one image, two images, another image, no image.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from PIL import Image

from swiftprof.models.loading import VLM, images_only
from swiftprof.models.registry import ModelSource

LAYERS = 8
WORDS = [f"w{i}" for i in range(100)]
TEXT = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "initializer_range": 0.15,
    "bos_token_id": 1,
    "eos_token_id": None,
    "pad_token_id": 0,
}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "patch_size": 4,
}
PLAIN = (
    "{% for m in messages %}{% for c in m['content'] %}"
    "{{ IMAGE if c['type'] == 'image' else ' ' + c['text'] }}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %} w99{% endif %}"
)


def tokenizer(*special: str, **named: str) -> Any:
    """Words w0 … w99 and some special tokens, one id each."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    marks = ["<pad>", "<s>", "</s>", "<unk>", *special, *named.values()]
    vocabulary = {token: i for i, token in enumerate([*marks, *WORDS])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.add_special_tokens(marks)
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        extra_special_tokens=named,
    )


def template(image: str) -> str:
    return PLAIN.replace("IMAGE", f"'w98 {image}'")


def without_torchvision(name: str) -> Any:
    """The image processor class that works on Pillow's images; its name depends on the version."""
    return getattr(hf, f"{name}Pil", None) or getattr(hf, name)


def text_config(kind: str, words: Any, **options: Any) -> Any:
    classes = {"llama": hf.LlamaConfig, "mistral": hf.MistralConfig, "qwen2": hf.Qwen2Config}
    return classes[kind](**TEXT, vocab_size=len(words), **options)


def llava() -> tuple[Any, Any]:
    words = tokenizer(image_token="<image>")
    config = hf.LlavaConfig(
        vision_config=hf.CLIPVisionConfig(**VISION, image_size=24, projection_dim=32),
        text_config=text_config("llama", words),
        image_token_id=words.image_token_id,
        vision_feature_layer=-1,
    )
    images = without_torchvision("CLIPImageProcessor")(size={"shortest_edge": 24}, crop_size=24)
    processor = hf.LlavaProcessor(
        images,
        words,
        patch_size=4,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template("<image>"),
    )
    return hf.LlavaForConditionalGeneration(config), processor


def llava_next(kind: str = "llama", **options: Any) -> tuple[Any, Any]:
    words = tokenizer(image_token="<image>")
    grids = [[16, 32], [32, 16], [32, 32]]
    config = hf.LlavaNextConfig(
        vision_config=hf.CLIPVisionConfig(**VISION, image_size=16, projection_dim=32),
        text_config=text_config(kind, words, **options),
        image_token_id=words.image_token_id,
        vision_feature_layer=-1,
        image_grid_pinpoints=grids,
    )
    images = without_torchvision("LlavaNextImageProcessor")(
        size={"shortest_edge": 16}, crop_size=16, image_grid_pinpoints=grids
    )
    processor = hf.LlavaNextProcessor(
        images,
        words,
        patch_size=4,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template("<image>"),
    )
    return hf.LlavaNextForConditionalGeneration(config), processor


def llava_next_mistral() -> tuple[Any, Any]:
    return llava_next("mistral", sliding_window=None)


def llava_onevision() -> tuple[Any, Any]:
    words = tokenizer(image_token="<image>", video_token="<video>")
    grids = [[16, 32], [32, 16], [32, 32]]
    config = hf.LlavaOnevisionConfig(
        vision_config=hf.SiglipVisionConfig(**VISION, image_size=16),
        text_config=text_config("qwen2", words),
        image_token_id=words.image_token_id,
        video_token_id=words.video_token_id,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        image_grid_pinpoints=grids,
    )
    images = without_torchvision("LlavaOnevisionImageProcessor")(
        size={"height": 16, "width": 16}, image_grid_pinpoints=grids
    )
    processor = images_only(hf.LlavaOnevisionProcessor)(
        images,
        words,
        None,
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=template("<image>"),
    )
    return hf.LlavaOnevisionForConditionalGeneration(config), processor


QWEN = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "start": "<|vision_start|>",
    "end": "<|vision_end|>",
}


def _qwen(processor: Any, patch: int = 4) -> tuple[dict[str, Any], Any, int]:
    words = tokenizer(**QWEN)
    ids = {
        "image_token_id": words.image_token_id,
        "video_token_id": words.video_token_id,
        "vision_start_token_id": words.convert_tokens_to_ids(QWEN["start"]),
        "vision_end_token_id": words.convert_tokens_to_ids(QWEN["end"]),
    }
    images = without_torchvision("Qwen2VLImageProcessor")(
        patch_size=patch,
        merge_size=2,
        size={"shortest_edge": 256, "longest_edge": 64 * 64},
    )
    mark = f"{QWEN['start']}{QWEN['image_token']}{QWEN['end']}"
    made = images_only(processor)(images, words, None, chat_template=template(mark))
    return ids, made, len(words)


def _rope(**options: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, **options}}


def qwen2_vl() -> tuple[Any, Any]:
    ids, processor, size = _qwen(hf.Qwen2VLProcessor)
    config = hf.Qwen2VLConfig(
        text_config={**TEXT, "vocab_size": size, **_rope(mrope_section=[2, 3, 3])},
        vision_config={
            "depth": 2,
            "embed_dim": 32,
            "hidden_size": 64,
            "num_heads": 2,
            "mlp_ratio": 2,
            "patch_size": 4,
            "spatial_merge_size": 2,
        },
        **ids,
    )
    return hf.Qwen2VLForConditionalGeneration(config), processor


def qwen2_5_vl() -> tuple[Any, Any]:
    ids, processor, size = _qwen(hf.Qwen2_5_VLProcessor)
    config = hf.Qwen2_5_VLConfig(
        text_config={**TEXT, "vocab_size": size, **_rope(mrope_section=[2, 3, 3])},
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "patch_size": 4,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "out_hidden_size": 64,
            "window_size": 16,
            "fullatt_block_indexes": [1],
        },
        **ids,
    )
    return hf.Qwen2_5_VLForConditionalGeneration(config), processor


def qwen3_vl() -> tuple[Any, Any]:
    ids, processor, size = _qwen(hf.Qwen3VLProcessor)
    config = hf.Qwen3VLConfig(
        text_config={
            **TEXT,
            "vocab_size": size,
            "head_dim": 16,
            **_rope(mrope_section=[4, 2, 2], mrope_interleaved=True),
        },
        vision_config={
            "depth": 4,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "patch_size": 4,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "out_hidden_size": 64,
            "num_position_embeddings": 256,
            "deepstack_visual_indexes": [0, 1, 2],
        },
        **ids,
    )
    return hf.Qwen3VLForConditionalGeneration(config), processor


def internvl() -> tuple[Any, Any]:
    words = tokenizer(
        start_image_token="<img>",
        end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>",
        video_token="<video>",
    )
    config = hf.InternVLConfig(
        vision_config={**VISION, "image_size": [16, 16], "patch_size": [4, 4]},
        text_config=text_config("qwen2", words),
        image_token_id=words.context_image_token_id,
        downsample_ratio=0.5,
    )
    images = without_torchvision("GotOcr2ImageProcessor")(
        size={"height": 16, "width": 16}, crop_to_patches=True, max_patches=6
    )
    processor = images_only(hf.InternVLProcessor)(
        images, words, None, image_seq_length=4, chat_template=template("<IMG_CONTEXT>")
    )
    return hf.InternVLForConditionalGeneration(config), processor


def _smol(config: Any, model: Any, processor: Any, images: Any) -> tuple[Any, Any]:
    rows = [f"<row_{i}_col_{j}>" for i in range(1, 7) for j in range(1, 7)]
    words = tokenizer(
        *("<fake_token_around_image>", "<end_of_utterance>", "<global-img>", "<image>", *rows)
    )
    made = processor(
        images(size={"longest_edge": 32}, max_image_size={"longest_edge": 16}),
        words,
        *((None,) if "SmolVLM" in processor.__name__ else ()),
        image_seq_len=4,
        chat_template=template("<image>"),
    )
    configuration = config(
        vision_config={**VISION, "image_size": 16},
        text_config=text_config("llama", words),
        image_token_id=words.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=0,
    )
    return model(configuration), made


def smolvlm() -> tuple[Any, Any]:
    pytest.importorskip("num2words", reason="SmolVLM's processor needs it")
    try:
        _ = hf.SmolVLMProcessor
    except ModuleNotFoundError as error:  # older versions need torchvision
        pytest.skip(f"SmolVLM's processor cannot be imported: {error}")
    return _smol(
        hf.SmolVLMConfig,
        hf.SmolVLMForConditionalGeneration,
        images_only(hf.SmolVLMProcessor),
        without_torchvision("SmolVLMImageProcessor"),
    )


def idefics3() -> tuple[Any, Any]:
    return _smol(
        hf.Idefics3Config,
        hf.Idefics3ForConditionalGeneration,
        hf.Idefics3Processor,
        without_torchvision("Idefics3ImageProcessor"),
    )


FAMILIES: list[Callable[[], tuple[Any, Any]]] = [
    llava,
    llava_next,
    llava_next_mistral,
    llava_onevision,
    qwen2_vl,
    qwen2_5_vl,
    qwen3_vl,
    internvl,
    smolvlm,
    idefics3,
]


def picture(width: int, height: int, seed: int) -> Image.Image:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8)
    return Image.fromarray(noise.numpy(), "RGB")


PICTURES = [
    [picture(40, 24, 1)],
    [picture(24, 40, 2), picture(44, 20, 3)],
    [picture(32, 32, 4)],
    [],
]
QUESTIONS = [
    "w3 w14 w15 w92 w65",
    "w2 w7",
    "w16 w18 w33 w98 w87 w4 w52",
    "w1 w4 w14 w21 w35 w62 w37",
]


@dataclass(frozen=True)
class Case:
    """One family and its four prompts; the last has no image."""

    name: str
    vlm: VLM

    @property
    def model(self) -> Any:
        return self.vlm.model

    def batch(self, *rows: int) -> dict[str, Any]:
        """Model inputs for some of the prompts, padded on the left."""
        return self.vlm.inputs([PICTURES[i] for i in rows], [QUESTIONS[i] for i in rows])

    def visual(self, inputs: dict[str, Any]) -> torch.Tensor:
        return inputs["input_ids"] == self.vlm.image_token_id

    def extended(self, inputs: dict[str, Any], new: torch.Tensor) -> dict[str, Any]:
        """One row's inputs with more text behind the prompt."""
        out, text = dict(inputs), new.view(1, -1)
        fill = {"input_ids": text, "attention_mask": 1, "mm_token_type_ids": 0}
        for key in fill.keys() & out.keys():
            value = fill[key] if key == "input_ids" else torch.full_like(text, fill[key])
            out[key] = torch.cat([out[key], value], 1)
        return out

    @contextmanager
    def eager(self) -> Iterator[Any]:
        """The model with attention as plain matrices."""
        self.model.set_attn_implementation("eager")
        try:
            yield self.model
        finally:
            self.model.set_attn_implementation("sdpa")


def save(case: Case, folder: Path) -> None:
    """A checkpoint folder laid out as on the hub, the processor's parts in files of their own."""
    processor = case.vlm.processor
    case.model.save_pretrained(folder)
    processor.tokenizer.save_pretrained(folder)
    processor.image_processor.save_pretrained(folder)
    path = folder / "preprocessor_config.json"
    kind = {"processor_class": type(processor).__name__}
    path.write_text(json.dumps({**json.loads(path.read_text()), **kind}))
    (folder / "chat_template.jinja").write_text(processor.chat_template)
    own = (
        *("num_image_tokens", "vision_feature_select_strategy", "patch_size"),
        *("num_additional_image_tokens", "image_seq_length", "image_seq_len"),
    )
    facts = {name: getattr(processor, name) for name in own if hasattr(processor, name)}
    if facts:
        (folder / "processor_config.json").write_text(json.dumps({**kind, **facts}))


def make(builder: Callable[[], tuple[Any, Any]]) -> Case:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model, processor = builder()
    model.eval().requires_grad_(False).set_attn_implementation("sdpa")
    with torch.no_grad():  # so that it never says an image token
        model.get_output_embeddings().weight[processor.tokenizer.all_special_ids] = 0
    name = builder.__name__
    return Case(name, VLM(ModelSource(name, name), model, processor))


@pytest.fixture(scope="package", params=FAMILIES, ids=lambda f: f.__name__)
def case(request: pytest.FixtureRequest) -> Case:
    """Each family in turn."""
    return make(request.param)


@pytest.fixture(scope="session")
def folder_of() -> Callable[[Case, Path], None]:
    """The function `save`; see its docstring."""
    return save


@pytest.fixture(scope="session")
def build() -> Callable[[str], Case]:
    """One family by the name of its builder."""
    return lambda name: make(globals()[name])
