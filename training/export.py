"""Pack a trained checkpoint as an ordinary Hugging Face folder: weights, tokenizer, processor.

python -m training.export --checkpoint runs/tiny/join.safetensors --to my-model
"""

from __future__ import annotations

import argparse
from pathlib import Path

import transformers
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import LlavaProcessor, PreTrainedTokenizerFast

from swiftprof.tiny import vocabulary
from swiftprof.tiny.scenes.graph import CANVAS
from swiftprof.tiny.scenes.labels import PATCH
from training import checkpoint
from training.architecture import build_model

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}USER: "
    "{% elif message['role'] == 'assistant' %}ASSISTANT: {% endif %}"
    "{% if message['content'] is string %}{{ message['content'] }} "
    "{% else %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}<image>\n"
    "{% endfor %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ part['text'] }} {% endfor %}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
"""LLaVA-1.5's shape: ``USER: <image>\\n… ASSISTANT:``."""


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Whole words and single letters; decodes boxes and signs to readable text."""
    ids = vocabulary.index()
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=vocabulary.UNK))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Replace(Regex(rf"\b{w}\b"), w.lower()) for w in vocabulary.CAPITALISED]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Split(Regex(vocabulary.TOKEN_PATTERN), "isolated"),
        ]
    )
    tokenizer.add_special_tokens(
        [AddedToken(t, special=True, normalized=False) for t in vocabulary.SPECIAL]
    )
    tokenizer.post_processor = TemplateProcessing(
        single=f"{vocabulary.BOS} $A", special_tokens=[(vocabulary.BOS, ids[vocabulary.BOS])]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace(Regex("^"), " "),
            decoders.Fuse(),
            decoders.Replace(Regex(r"(?<=\b[A-Z]) (?=[A-Z]\b)"), ""),
            decoders.Replace(Regex(r"(?<=\[) | (?=[\],?.])"), ""),
            decoders.Replace(Regex("^ "), ""),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=vocabulary.BOS,
        eos_token=vocabulary.EOS,
        unk_token=vocabulary.UNK,
        pad_token=vocabulary.PAD,
        padding_side="left",
        model_max_length=512,
        clean_up_tokenization_spaces=False,
        extra_special_tokens={"image_token": vocabulary.IMAGE},
    )


def build_processor() -> LlavaProcessor:
    square = {"height": CANVAS, "width": CANVAS}
    # The processor that needs no torchvision: newer versions give it a name of its own.
    pillow = getattr(transformers, "CLIPImageProcessorPil", transformers.CLIPImageProcessor)
    image_processor = pillow(
        size=square,
        crop_size=square,
        do_center_crop=False,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    return LlavaProcessor(
        image_processor=image_processor,
        tokenizer=build_tokenizer(),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )


_HUB_NAMES = {
    "model.language_model.": "language_model.model.",
    "model.multi_modal_projector.": "multi_modal_projector.",
    "model.vision_tower.": "vision_tower.vision_model.",
    "lm_head.": "language_model.lm_head.",
}


def _hub_name(key: str) -> str:
    """A tensor's name in LLaVA-1.5's published checkpoints, which every transformers version reads.

    The modules' own names change between versions: the vision tower's differ in 5.3 and 5.23.
    """
    own, hub = next((o, h) for o, h in _HUB_NAMES.items() if key.startswith(o))
    return hub + key.removeprefix(own).removeprefix("vision_model.")


def export(source: Path, to: Path) -> None:
    """Write config, fp16 weights, tokenizer, processor and chat template to the folder ``to``."""
    to.mkdir(parents=True, exist_ok=True)
    weights = checkpoint.weights(source, "model")
    layers = 1 + max(int(k.split(".")[3]) for k in weights if ".language_model.layers." in k)
    model = build_model(layers, seed=0)
    model.load_state_dict(weights)
    text, generation = model.config.get_text_config(), model.generation_config
    generation.bos_token_id = text.bos_token_id
    generation.eos_token_id = text.eos_token_id
    generation.pad_token_id = text.pad_token_id
    generation.max_new_tokens = 16
    model.half()
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(to)
    generation.save_pretrained(to)
    tensors = {_hub_name(k): v.contiguous() for k, v in model.state_dict().items()}
    save_file(tensors, to / "model.safetensors", metadata={"format": "pt"})
    build_processor().save_pretrained(to)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m training.export",
        description="Pack a trained checkpoint as a Hugging Face folder.",
    )
    parser.add_argument("--checkpoint", type=Path, required=True, help="checkpoint of the training")
    parser.add_argument("--to", type=Path, required=True, help="folder to write")
    args = parser.parse_args()
    export(args.checkpoint, args.to)


if __name__ == "__main__":
    main()
