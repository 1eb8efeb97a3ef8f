"""From a checked request to a job in the queue: prompt, images, sampling."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from swiftprof.serve.batcher import Batcher
from swiftprof.serve.catalog import Variant, choose
from swiftprof.serve.errors import ApiError
from swiftprof.serve.generation import Event, Job, context_length, generate
from swiftprof.serve.images import load_image
from swiftprof.serve.request import ChatRequest, ImagePart, Message, TextPart
from swiftprof.serve.sampling import Sampler

if TYPE_CHECKING:
    from PIL.Image import Image

    from swiftprof.data.images import Picture
    from swiftprof.models.loading import VLM

Events = asyncio.Queue[Event]
LETTERS_PER_TOKEN = 32
"""No text has as many on average; longer ones are refused before they take the tokenizer's time."""


@dataclass(frozen=True)
class Limits:
    """What one server takes.

    Attributes:
        batch: requests that run together.
        waiting: requests in the queue.
        tokens: of one answer; requests for more get this many.
        images: of one request.
        body: bytes of one request.
    """

    batch: int = 8
    waiting: int = 256
    tokens: int = 1024
    images: int = 8
    body: int = 40_000_000


class Service:
    """A model, its plans, and the thread that runs them.

    Args:
        fetch: address → bytes for images; None reads data: URIs only.
    """

    def __init__(
        self,
        vlm: VLM,
        variants: Mapping[str, Variant],
        limits: Limits,
        fetch: Callable[[str], bytes] | None = None,
    ) -> None:
        self.vlm, self.variants, self.limits, self._fetch = vlm, dict(variants), limits, fetch
        self._batcher = Batcher(self._answer, batch=limits.batch, waiting=limits.waiting)
        own: Any = getattr(vlm.model, "generation_config", None)
        draws = bool(getattr(own, "do_sample", False))
        self._temperature = float(getattr(own, "temperature", None) or 1.0) if draws else 0.0
        self._top_p = float(getattr(own, "top_p", None) or 1.0) if draws else 1.0

    @asynccontextmanager
    async def answer(self, asked: ChatRequest) -> AsyncIterator[Events]:
        """The events of an answer; leaving the block early gives the request up.

        Raises:
            ApiError: it cannot be served.
        """
        choose(self.variants, asked.model)
        images = await asyncio.to_thread(self._images, asked.messages)
        loop, events = asyncio.get_running_loop(), Events()
        job = Job(
            variant=asked.model,
            prompt=self._prompt(asked.messages),
            images=images,
            max_tokens=min(asked.limit or self.limits.tokens, self.limits.tokens),
            deliver=lambda event: _hand_over(loop, events, event),
            sampler=self._sampler(asked),
            stops=asked.stops,
        )
        self._batcher.submit(job)
        try:
            yield events
        finally:
            job.cancelled.set()

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return self._batcher.waiting

    async def close(self, seconds: float) -> None:
        """Take no more requests, answer those that came, within a time."""
        await asyncio.to_thread(self._batcher.close, seconds)

    def _answer(self, jobs: Sequence[Job]) -> None:
        generate(self.vlm, self.variants[jobs[0].variant].plan, jobs)

    def _images(self, messages: Sequence[Message]) -> list[Image | Picture]:
        """All images in the order of the conversation. Raises ApiError."""
        found = [
            (part.image_url.url, f"messages[{m}].content[{p}].image_url.url")
            for m, message in enumerate(messages)
            for p, part in enumerate(message.content)
            if isinstance(part, ImagePart)
        ]
        if len(found) > self.limits.images:
            raise ApiError(
                400,
                f"{len(found)} images in one request; this server takes {self.limits.images}",
                param="messages",
                code="too_many_images",
            )
        return [load_image(url, where, self.vlm, self._fetch) for url, where in found]

    def _prompt(self, messages: Sequence[Message]) -> str:
        texts = [p.text for m in messages for p in m.content if isinstance(p, TextPart)]
        most = LETTERS_PER_TOKEN * context_length(self.vlm)
        if sum(map(len, texts)) > most:
            raise ApiError(
                400,
                f"more than {most:,} characters of text; the model takes less",
                param="messages",
                code="context_length_exceeded",
            )
        marks = self._marks()
        for m, message in enumerate(messages):
            for part in message.content:
                if isinstance(part, TextPart) and any(mark in part.text for mark in marks):
                    raise ApiError(
                        400,
                        "a text holds the mark by which the model knows an image "
                        f"({' or '.join(marks)}); leave it out and add a part of type image_url",
                        param=f"messages[{m}].content",
                    )
        try:
            return self.vlm.chat([_turn(message) for message in messages])
        except Exception as error:  # a chat template refuses by raising whatever it likes
            raise ApiError(
                400, f"the model's chat template refuses these turns: {error}", param="messages"
            ) from None

    def _marks(self) -> list[str]:
        processor: Any = self.vlm.processor
        names = ("image_token", "video_token")
        found = [getattr(processor, name, None) for name in names]
        return [mark for mark in found if isinstance(mark, str) and mark]

    def _sampler(self, asked: ChatRequest) -> Sampler | None:
        """None for greedy answers."""
        temperature = self._temperature if asked.temperature is None else asked.temperature
        if temperature < 1e-4:
            return None
        top_p = asked.top_p if asked.top_p is not None else self._top_p
        return Sampler(temperature, top_p, asked.seed)


def _turn(message: Message) -> dict[str, Any]:
    role = "system" if message.role == "developer" else message.role
    parts = [
        {"type": "text", "text": part.text} if isinstance(part, TextPart) else {"type": "image"}
        for part in message.content
    ]
    return {"role": role, "content": parts}


def _hand_over(loop: asyncio.AbstractEventLoop, events: Events, event: Event) -> None:
    """From the thread that generates to the one that answers; which may be gone by then."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(events.put_nowait, event)
