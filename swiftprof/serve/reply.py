"""Answers in OpenAI's shapes: a whole completion, and the chunks of a stream."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from swiftprof.serve.generation import Done


@dataclass(frozen=True)
class Reply:
    """One completion.

    Args:
        model: as the request named it.
        trace: whether stages, times and FLOPs were asked for.
    """

    model: str
    trace: bool = False
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, text: str, done: Done) -> dict[str, Any]:
        """The body without streaming."""
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": done.finish}
        return self._frame("chat.completion", [choice], usage=usage(done), **self._extra(done))

    def chunk(self, delta: dict[str, Any], done: Done | None = None) -> bytes:
        """An event of a stream; the last one of an answer says how it ended."""
        finish = done.finish if done else None
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        extra = self._extra(done) if done else {}
        return event(self._frame("chat.completion.chunk", [choice], **extra))

    def totals(self, done: Done) -> bytes:
        """The event that only counts, for those who asked for it."""
        return event(self._frame("chat.completion.chunk", [], usage=usage(done)))

    def _frame(self, kind: str, choices: list[Any], **more: Any) -> dict[str, Any]:
        head = {"id": self.id, "object": kind, "created": self.created, "model": self.model}
        return {**head, "choices": choices, **more}

    def _extra(self, done: Done) -> dict[str, Any]:
        return {"swiftprof": done.trace} if self.trace else {}


END = b"data: [DONE]\n\n"


def event(document: dict[str, Any]) -> bytes:
    """A server-sent event."""
    return b"data: " + json.dumps(document, ensure_ascii=False).encode() + b"\n\n"


def usage(done: Done) -> dict[str, Any]:
    """Tokens counted as OpenAI does, and the visual ones; `retained` is a mean over layers."""
    return {
        "prompt_tokens": done.prompt_tokens,
        "completion_tokens": done.completion_tokens,
        "total_tokens": done.prompt_tokens + done.completion_tokens,
        "visual_tokens": done.visual,
        "retained_visual_tokens": round(done.retained, 2),
    }
