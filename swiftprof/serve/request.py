"""The body of `/v1/chat/completions`: what is understood, and what is refused and why."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from swiftprof.errors import did_you_mean
from swiftprof.serve.errors import ApiError

MAX_STOPS = 4
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
}
"""Parameters that this server does not have, with the values that ask for nothing."""
IGNORED = (
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "parallel_tool_calls",
)
"""Parameters that change no answer."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TextPart(_Strict):
    type: Literal["text"]
    text: str


class ImageUrl(_Strict):
    url: str
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(_Strict):
    type: Literal["image_url"]
    image_url: ImageUrl


class Message(_Strict):
    """One turn. `content` is a list of parts, also where it came as one string."""

    role: Literal["system", "developer", "user", "assistant"]
    content: list[Annotated[TextPart | ImagePart, Field(discriminator="type")]]
    name: str | None = None

    @field_validator("content", mode="before")
    @classmethod
    def _parts(cls, value: object) -> object:
        return [{"type": "text", "text": value}] if isinstance(value, str) else value


class StreamOptions(_Strict):
    include_usage: bool = False
    include_obfuscation: bool | None = None


class Extras(_Strict):
    """Ours: `trace` adds the visual tokens of every stage, times and FLOPs to the answer."""

    trace: bool = False


class ChatRequest(_Strict):
    """A request. Absent sampling parameters are the model's own generation settings."""

    model: str
    messages: Annotated[list[Message], Field(min_length=1, max_length=256)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: int | None = None
    stop: Annotated[list[str], Field(max_length=MAX_STOPS)] | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    swiftprof: Extras = Extras()

    @field_validator("stop", mode="before")
    @classmethod
    def _list(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @property
    def limit(self) -> int | None:
        """The most tokens to answer with, as asked for."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def stops(self) -> tuple[str, ...]:
        return tuple(stop for stop in self.stop or () if stop)


def parse(body: object) -> ChatRequest:
    """Check a request's JSON. Raises ApiError."""
    if not isinstance(body, dict):
        raise ApiError(400, "the body must be a JSON object")
    known = set(ChatRequest.model_fields)
    fields = {}
    for name, value in body.items():
        if name in known:
            fields[name] = value
        elif name in NEUTRAL:
            if value is not None and value not in NEUTRAL[name]:
                raise ApiError(
                    400, f"{name} is not supported; leave it out", param=name, code="unsupported"
                )
        elif name not in IGNORED:
            hint = did_you_mean(str(name)[:100], known)
            raise ApiError(
                400, f"unknown parameter {str(name)[:100]!r}; {hint}", param=str(name)[:100]
            )
    try:
        return ChatRequest.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = _path(first["loc"])
        raise ApiError(400, f"{where}: {first['msg']}", param=where) from None


def _path(location: tuple[int | str, ...]) -> str:
    """`("messages", 0, "content", 1, "text", "text")` as a client would write it."""
    out = ""
    for place, step in enumerate(location):
        if isinstance(step, int):
            out += f"[{step}]"
        elif not (place and isinstance(location[place - 1], int) and step in ("text", "image_url")):
            out += f".{step}" if out else step  # else the tag of a part, which is no field
    return out
