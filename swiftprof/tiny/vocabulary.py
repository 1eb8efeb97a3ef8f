"""The bundled model's vocabulary: whole words, single letters, coordinates 0.00 to 1.00."""

from __future__ import annotations

import re
from functools import lru_cache

from swiftprof.tiny.scenes.graph import COLORS, KINDS, LETTERS
from swiftprof.tiny.scenes.questions import plural

PAD, BOS, EOS, UNK, IMAGE = "<pad>", "<s>", "</s>", "<unk>", "<image>"
USER, ASSISTANT = "USER:", "ASSISTANT:"
SPECIAL = (PAD, BOS, EOS, UNK, IMAGE, USER, ASSISTANT)
CAPITALISED = ("What", "Where", "How", "Is")
_WORDS = [
    "what",
    "where",
    "how",
    "is",
    "are",
    "the",
    "a",
    "an",
    "of",
    "on",
    "there",
    "color",
    "shape",
    "thing",
    "things",
    "written",
    "sign",
    "many",
    "leftmost",
    "rightmost",
    "left",
    "right",
    "above",
    "below",
    "yes",
    "no",
    "?",
    ".",
    ",",
    "[",
    "]",
]
TOKEN_PATTERN = r"\d\.\d\d|[A-Z]|[a-z]+|\d|[^\w\s]"


@lru_cache(maxsize=1)
def words() -> tuple[str, ...]:
    """All tokens; a token's id is its place."""
    out = [*SPECIAL, *_WORDS, *COLORS, *KINDS, *(plural(k) for k in KINDS)]
    out += [str(d) for d in range(10)] + list(LETTERS)
    out += [f"{v / 100:.2f}" for v in range(101)]
    return tuple(dict.fromkeys(out))


@lru_cache(maxsize=1)
def index() -> dict[str, int]:
    return {w: i for i, w in enumerate(words())}


@lru_cache(maxsize=200_000)
def encode(text: str) -> tuple[int, ...]:
    """Token ids of a question or an answer, as the shipped tokenizer gives them."""
    for word in CAPITALISED:
        if text.startswith(word + " "):
            text = text[0].lower() + text[1:]
    table = index()
    return tuple(table.get(t, table[UNK]) for t in re.findall(TOKEN_PATTERN, text))


def decode(ids: list[int]) -> str:
    """Readable text: letters of a sign joined, boxes as ``[a, b, c, d]``."""
    text = " ".join(words()[i] for i in ids if i >= len(SPECIAL))
    text = re.sub(r"(?<=\b[A-Z]) (?=[A-Z]\b)", "", text)
    return text.replace("[ ", "[").replace(" ]", "]").replace(" ,", ",")
