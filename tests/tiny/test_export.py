"""The shipped tokenizer and processor agree with what the model was trained on."""

from __future__ import annotations

import pytest
import torch

from swiftprof.data.registry import BUNDLED, get_dataset
from swiftprof.models.registry import bundled_folder
from swiftprof.tiny import vocabulary
from swiftprof.tiny.scenes.labels import PATCHES
from training import batches
from training.export import CHAT_TEMPLATE, build_processor


@pytest.fixture(scope="module")
def processor():
    return build_processor()


@pytest.mark.parametrize("name", BUNDLED)
def test_texts_become_the_same_ids_and_come_back(processor, name):
    tokenizer, dataset = processor.tokenizer, get_dataset(name)
    for index in range(40):
        sample = dataset.sample("test", index)
        for text in (sample.question, sample.answers[0]):
            assert tuple(tokenizer(text, add_special_tokens=False).input_ids) == vocabulary.encode(
                text
            )
        ids = vocabulary.encode(sample.answers[0])
        assert tokenizer.decode(ids, skip_special_tokens=True) == sample.answers[0]


def test_prompt_is_prefix_image_question(processor):
    sample = get_dataset("scenes-qa").sample("test", 0)
    content = [{"type": "image"}, {"type": "text", "text": sample.question}]
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True
    )
    assert text == f"USER: <image>\n{sample.question} ASSISTANT:"
    inputs = processor(images=[sample.image], text=[text], return_tensors="pt")
    ids = vocabulary.index()
    assert inputs["input_ids"][0].tolist() == [
        *batches.prefix_ids(),
        *[ids[vocabulary.IMAGE]] * PATCHES,
        *vocabulary.encode(sample.question),
        ids[vocabulary.ASSISTANT],
    ]
    torch.testing.assert_close(inputs["pixel_values"], batches.pixels([sample.image]))


@pytest.mark.parametrize("name", ["tiny-llava", "tiny-llava-plain"])
def test_shipped_templates_are_the_recipes(name):
    path = bundled_folder(name) / "chat_template.jinja"
    assert path.read_text() == CHAT_TEMPLATE


def test_a_system_prompt_is_nobodys_turn(processor):
    turns = [("system", "what"), ("user", "is"), ("assistant", "a"), ("user", "star")]
    messages = [{"role": role, "content": text} for role, text in turns]
    text = processor.apply_chat_template(messages, add_generation_prompt=True)
    assert text == "what USER: is ASSISTANT: a USER: star ASSISTANT:"
