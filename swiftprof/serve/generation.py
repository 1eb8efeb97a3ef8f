"""One batch of requests through `generate()`: every row streams, samples and stops on its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, StoppingCriteria
from transformers import StoppingCriteriaList as Criteria

from swiftprof.analysis.patches import patch_grid, stage_patches
from swiftprof.costs.flops import vanilla_flops
from swiftprof.errors import reason
from swiftprof.evaluation.answer import spent
from swiftprof.models.memory import out_of_memory, release_memory
from swiftprof.runtime.prune import prune
from swiftprof.runtime.trace import Trace
from swiftprof.serve.errors import ApiError
from swiftprof.serve.images import opened
from swiftprof.serve.sampling import Sampler
from swiftprof.serve.text import TextWriter

if TYPE_CHECKING:
    from PIL.Image import Image

    from swiftprof.data.images import Picture
    from swiftprof.models.loading import VLM
    from swiftprof.planning.plan_file import Plan


@dataclass(frozen=True)
class Done:
    """How an answer ended.

    Attributes:
        finish: "stop" or "length", as OpenAI's clients know them.
        visual: visual tokens of the prompt, and
        retained: how many of them entered a layer, averaged over layers.
        trace: what a request may ask for beside its answer: rows and columns of the one image's
            visual tokens (`grid`; null where they form none), what each stage kept, merged and
            brought back, FLOPs, times from the batch's begin, and requests that ran together.
    """

    finish: str
    prompt_tokens: int
    completion_tokens: int
    visual: int
    retained: float
    trace: dict[str, Any]


Event = str | Done | ApiError
"""A piece of the answer, its end, or why there is none."""


@dataclass
class Job:
    """A request that waits or runs.

    Attributes:
        variant: name of the plan to run with.
        deliver: takes the events, from the thread that generates.
        cancelled: set when nobody waits any more; the row then ends at its next token.
    """

    variant: str
    prompt: str
    images: Sequence[Image | Picture]
    max_tokens: int
    deliver: Callable[[Event], None]
    sampler: Sampler | None = None
    stops: tuple[str, ...] = ()
    cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def key(self) -> tuple[str, bool]:
        """What requests of one batch have in common."""
        return self.variant, bool(self.images)


def generate(vlm: VLM, plan: Plan | None, jobs: Sequence[Job]) -> None:
    """Answer a batch; every job gets pieces and then a `Done`, or an `ApiError`.

    A batch that fails before its first token is tried in halves, so that one bad request, or memory
    for fewer than all, spoils nothing for the others.
    """
    rows: list[_Row] = []
    try:
        images = [[opened(image) for image in job.images] for job in jobs]
        inputs = vlm.encode([job.prompt for job in jobs], images)
        rows = _rows(vlm, plan, jobs, inputs)
        if any(row.room < 1 for row in rows):
            _refuse_long(vlm, plan, jobs, rows)
            return
        _run(vlm, plan, rows, inputs)
        return
    except Exception as error:  # whatever a model may raise: the server lives on
        if out_of_memory(error):
            release_memory()
        if len(jobs) == 1 or any(row.begun for row in rows):
            ended = {id(row.job) for row in rows if row.done}
            for job in jobs:
                if id(job) not in ended:
                    job.deliver(ApiError(500, f"generation failed: {reason(error)}"))
            return
    for part in (jobs[: len(jobs) // 2], jobs[len(jobs) // 2 :]):
        generate(vlm, plan, part)


def _run(vlm: VLM, plan: Plan | None, rows: list[_Row], inputs: dict[str, Any]) -> None:
    trace = rows[0].trace
    context: Any = nullcontext() if plan is None else prune(vlm.model, plan, on_stage=trace)
    began = time.perf_counter()
    for row in rows:
        row.started = began
    with torch.inference_mode(), context:
        vlm.model.generate(  # type: ignore[operator]
            **inputs,
            do_sample=False,
            num_beams=1,
            max_new_tokens=max(row.room for row in rows),
            logits_processor=LogitsProcessorList([_Sampling(rows)]),
            stopping_criteria=Criteria([_Watch(rows)]),
        )


def context_length(vlm: VLM) -> int:
    """Tokens that a prompt and its answer may have."""
    return int(getattr(vlm.model.config.get_text_config(), "max_position_embeddings", 2**20))


def _rows(vlm: VLM, plan: Plan | None, jobs: Sequence[Job], inputs: dict[str, Any]) -> list[_Row]:
    lengths = inputs["attention_mask"].sum(1).tolist()
    visual = (inputs["input_ids"] == vlm.image_token_id).sum(1).tolist()
    trace, whole = Trace(), context_length(vlm)
    return [
        _Row(
            vlm=vlm,
            plan=plan,
            job=job,
            place=place,
            length=length,
            visual=seen,
            room=min(job.max_tokens, whole - length),
            batch=len(jobs),
            trace=trace,
            grid=_grid(vlm, jobs, place, seen, inputs),
        )
        for place, (job, length, seen) in enumerate(zip(jobs, lengths, visual, strict=True))
    ]


def _grid(
    vlm: VLM, jobs: Sequence[Job], place: int, seen: int, inputs: dict[str, Any]
) -> tuple[int, int] | None:
    if len(jobs[place].images) != 1:
        return None
    patches, before = inputs.get("image_grid_thw"), sum(len(job.images) for job in jobs[:place])
    own = {} if patches is None else {"image_grid_thw": patches[before : before + 1]}
    return patch_grid(vlm, own, seen)


def _refuse_long(vlm: VLM, plan: Plan | None, jobs: Sequence[Job], rows: list[_Row]) -> None:
    """Refuse the prompts that leave no room for an answer, and answer the others."""
    whole = context_length(vlm)
    for row in rows:
        if row.room < 1:
            text = f"the prompt has {row.length} tokens, and the model takes {whole} in all"
            row.job.deliver(ApiError(400, text, param="messages", code="context_length_exceeded"))
    rest = [row.job for row in rows if row.room >= 1]
    if rest:
        generate(vlm, plan, rest)


@dataclass
class _Row:
    """One request while its batch runs."""

    vlm: VLM
    plan: Plan | None
    job: Job
    place: int
    length: int
    visual: int
    room: int
    batch: int
    trace: Trace
    grid: tuple[int, int] | None
    started: float = 0.0
    first: float | None = None
    count: int = 0
    done: bool = False

    def __post_init__(self) -> None:
        tokenizer: Any = getattr(self.vlm.processor, "tokenizer", self.vlm.processor)
        self.writer = TextWriter(
            lambda ids: str(tokenizer.decode(ids, skip_special_tokens=True)), self.job.stops
        )
        end: Any = getattr(self.vlm.model, "generation_config").eos_token_id  # noqa: B009
        self._ends = {end} if isinstance(end, int) else set(end or ())

    @property
    def begun(self) -> bool:
        return self.first is not None

    def add(self, token: int) -> None:
        """Take the next token and pass on what it makes certain."""
        now = time.perf_counter()
        self.first = self.first if self.first is not None else now
        self.count += 1
        ended = token in self._ends
        piece = "" if ended else self.writer.add(token)
        finish = None
        if ended or self.writer.stopped:
            finish = "stop"
        elif self.count >= self.room or self.job.cancelled.is_set():
            finish = "length"
        if finish is not None:
            piece += self.writer.end()
        if piece:
            self.job.deliver(piece)
        if finish is not None:
            self.done = True
            self.job.deliver(self._summary(finish, now))

    def _summary(self, finish: str, now: float) -> Done:
        text, traced = self.length - self.visual, self.trace
        retained, flops = spent(self.vlm, self.plan, traced, self.place, self.visual, text)
        pruned = self.plan is not None and self.visual and traced.prefills
        stages = stage_patches(traced.prefills[0], self.place) if pruned else []
        plain = vanilla_flops(self.vlm.decoder_shape, self.visual, text)
        assert self.first is not None
        trace = {
            "visual_tokens": self.visual,
            "retained_visual_tokens": round(retained, 2),
            "grid": self.grid,
            "stages": [stage.model_dump() for stage in stages],
            "prefill_tflops": flops / 1e12,
            "prefill_tflops_vanilla": plain / 1e12,
            "seconds": round(now - self.started, 4),
            "first_token_seconds": round(self.first - self.started, 4),
            "batch": self.batch,
            "completion_tokens": self.count,
        }
        return Done(finish, self.length, self.count, self.visual, retained, trace)


class _Sampling(LogitsProcessor):
    """Lets rows that sample draw their token; greedy search then takes what they drew."""

    def __init__(self, rows: Sequence[_Row]) -> None:
        self._rows = rows

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        drawing = [row for row in self._rows if row.job.sampler is not None and not row.done]
        if drawing:
            scores = scores.clone()
        for row in drawing:
            assert row.job.sampler is not None
            token = row.job.sampler.pick(scores[row.place])
            scores[row.place] = -torch.inf
            scores[row.place, token] = 0
        return scores


class _Watch(StoppingCriteria):
    """Passes every new token on, and ends rows one by one."""

    def __init__(self, rows: Sequence[_Row]) -> None:
        self._rows = rows

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        for row, token in zip(self._rows, input_ids[:, -1].tolist(), strict=True):
            if not row.done:
                row.add(token)
        return torch.tensor([row.done for row in self._rows], device=input_ids.device)
