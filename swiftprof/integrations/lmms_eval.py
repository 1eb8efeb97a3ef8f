"""Evaluate a plan with lmms-eval.

    lmms-eval --model swiftprof --model_args pretrained=llava-1.5-7b,plan=plan.json --tasks gqa

Without `plan` it is the unpruned model, for the number beside. Prompts are lmms-eval's own, in the
model's chat template; images go through the checkpoint's own processor, as in lmms-eval's own
wrappers. lmms-eval finds this file through the entry point group `lmms_eval.models`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from lmms_eval.api.model import lmms

from swiftprof.errors import SwiftprofError
from swiftprof.models.loading import load
from swiftprof.planning.plan_file import Plan
from swiftprof.runtime.prune import prune

_LONGEST = 1024
"""lmms-eval's own limit for tasks that give none."""
_MARK = "<image>"


def manifest() -> Any:
    """What lmms-eval's registry wants to know."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id="swiftprof", simple_class_path=f"{__name__}.Swiftprof")


class Swiftprof(lmms):  # type: ignore[misc]
    """A model that answers with its visual tokens pruned by a plan.

    Args:
        pretrained: alias, hub id or folder.
        plan: a plan.json; None for the unpruned model.
        batch_size: requests that run together.
        device: as of `swiftprof.load`; by default each process of a launcher takes its own GPU.
        max_batch_size: given by lmms-eval; not used.
        options: further arguments of `swiftprof.load` (dtype, attn, revision, device_map …).

    Raises:
        SwiftprofError: the model or the plan cannot be used.
    """

    is_simple = True

    def __init__(
        self,
        pretrained: str,
        plan: str | None = None,
        batch_size: int | str = 1,
        device: str | None = None,
        max_batch_size: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        local = os.environ.get("LOCAL_RANK")
        if device in (None, "cuda") and local is not None and torch.cuda.is_available():
            device = f"cuda:{local}"
        if "device_map" in options:
            device = None
        self._vlm = load(pretrained, device=device or "auto", **options)
        self._plan = Plan.load(plan) if plan is not None else None
        if self._plan is not None:
            self._plan.check_model(self._vlm.num_layers, self._vlm.name)
        self._batch_size = int(batch_size) if str(batch_size).isdecimal() else 1

    @property
    def model(self) -> Any:
        """The Hugging Face model."""
        return self._vlm.model

    @property
    def device(self) -> torch.device:
        return torch.device(self._vlm.model.device)

    @property
    def batch_size(self) -> int:
        return self._batch_size

    @property
    def tokenizer(self) -> Any:
        return getattr(self._vlm.processor, "tokenizer", None)

    @property
    def eot_token_id(self) -> Any:
        return self.tokenizer.eos_token_id

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Answers in the order of the requests; those with the same options run in batches."""
        answers = [""] * len(requests)
        context = nullcontext() if self._plan is None else prune(self._vlm.model, self._plan)
        with torch.inference_mode(), context:
            for places, options in self._batches(requests):
                rows = [self._row(requests[place]) for place in places]
                for place, answer in zip(places, self._answer(rows, options), strict=True):
                    answers[place] = answer
                    key = (requests[place].args[0], options)
                    self.cache_hook.add_partial("generate_until", key, answer)
        return answers

    def _batches(self, requests: Sequence[Any]) -> Iterator[tuple[list[int], dict[str, Any]]]:
        groups: dict[str, list[int]] = {}
        for place, request in enumerate(requests):
            key = json.dumps(request.args[1], sort_keys=True, default=str)
            groups.setdefault(key, []).append(place)
        for places in groups.values():
            places.sort(key=lambda place: len(requests[place].args[0]))  # less padding
            for start in range(0, len(places), self._batch_size):
                batch = places[start : start + self._batch_size]
                yield batch, dict(requests[batch[0]].args[1])

    def _row(self, request: Any) -> tuple[str, list[Any]]:
        """Text and images of one request."""
        context, _, doc_to_visual, doc_id, task, split = request.args
        images = list(doc_to_visual(self.task_dict[task][split][doc_id]) or ())
        for image in images:
            if not hasattr(image, "convert"):
                raise SwiftprofError(
                    f"lmms-eval task {task}: gives a {type(image).__name__}, and only images are "
                    "supported; choose an image task"
                )
        # Images come before the text, wherever a task writes its own placeholder.
        return context.replace(_MARK, "").strip(), images

    def _answer(self, rows: list[tuple[str, list[Any]]], options: Mapping[str, Any]) -> list[str]:
        inputs = self._vlm.inputs([images for _, images in rows], [text for text, _ in rows])
        temperature = float(options.get("temperature") or 0)
        settings: dict[str, Any] = {
            "max_new_tokens": int(options.get("max_new_tokens") or _LONGEST),
            "num_beams": int(options.get("num_beams") or 1),
            "do_sample": temperature > 0,
        }
        if temperature > 0:
            settings |= {"temperature": temperature, "top_p": options.get("top_p")}
        ids = self._vlm.model.generate(**inputs, **settings)  # type: ignore[operator]
        stops = options.get("until") or ()
        stops = (stops,) if isinstance(stops, str) else tuple(stops)
        texts = self._vlm.decode(ids[:, inputs["input_ids"].shape[1] :])
        return [_until(text, stops) for text in texts]

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Not available: pruning depends on the last prompt token, so answers are generated."""
        raise NotImplementedError(
            "swiftprof answers by generation; choose tasks of output_type generate_until"
        )

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
        """Not available."""
        raise NotImplementedError(
            "swiftprof answers one round; choose tasks of output_type generate_until"
        )


def _until(text: str, stops: tuple[str, ...]) -> str:
    for stop in stops:
        if stop:
            text = text.split(stop)[0]
    return text.strip()
