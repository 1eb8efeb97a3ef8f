"""Text grows piece by piece and ends before the first stop string, however tokens are cut."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from swiftprof.serve.text import TextWriter

texts = st.text(st.sampled_from("ab \nüλ😀"), min_size=0, max_size=20)


def decode(tokens: Sequence[int]) -> str:
    return bytes(tokens).decode("utf-8", errors="replace")


def written(text: str, stops: Sequence[str]) -> tuple[list[str], bool]:
    writer, pieces = TextWriter(decode, stops), []
    for token in text.encode():
        pieces.append(writer.add(token))
        if writer.stopped:
            break
    pieces.append(writer.end())
    return pieces, writer.stopped


@given(texts, st.lists(st.text(st.sampled_from("ab ü"), min_size=1, max_size=3), max_size=3))
def test_pieces_are_the_text_up_to_its_first_stop(text: str, stops: list[str]) -> None:
    pieces, stopped = written(text, stops)
    wanted = text.lstrip()
    places = [wanted.find(stop) for stop in stops if stop in wanted]
    # Tokens are single bytes, so the stop that is complete first is the one that ends the answer.
    ends = [wanted.find(stop) + len(stop) for stop in stops if stop in wanted]
    assert stopped == bool(places)
    if stopped:
        seen = wanted[: min(ends)]
        wanted = seen[: min(seen.find(stop) for stop in stops if stop in seen)]
    assert "".join(pieces) == wanted
    assert not any("\ufffd" in piece for piece in pieces)


def test_what_is_certain_is_not_held_back() -> None:
    assert written("  ab😀", ["bb"])[0] == ["", "", "a", "", "", "", "", "b😀", ""]
