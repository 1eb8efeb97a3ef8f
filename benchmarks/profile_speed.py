"""How fast profiling is: against a `generate()` call per layer, and against the FLOPs it needs.

    python -m benchmarks.profile_speed --threads 1 --repeats 5 --out speed.json
    python -m benchmarks.profile_speed --config llava-1.5-7b --scale 0.125 --samples 2

Both ways run here, in turns, on the same samples, and their answers are compared. The bound is the
time that the least possible FLOPs would take at the speed of a large matrix product, measured in
the same run. On a CPU with one thread the process's own time is measured, so that other processes
do not count.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.naive import profile_one
from swiftprof.bench.clock import Clock, paired_ratio, summary
from swiftprof.bench.environment import environment
from swiftprof.bench.random_model import random_model
from swiftprof.core.stages import BASE_LAYER
from swiftprof.costs.flops import DecoderShape, layer_flops, vanilla_flops
from swiftprof.data.asking import ask_all
from swiftprof.data.base import Dataset, Sample
from swiftprof.data.drawing import draw
from swiftprof.data.registry import BUNDLED, get_datasets
from swiftprof.errors import SwiftprofError
from swiftprof.models.loading import VLM, load
from swiftprof.models.memory import Prompt, most_rows, profiling
from swiftprof.models.registry import BUNDLED_MODEL, find_model
from swiftprof.profiling.decode import decode, end_tokens
from swiftprof.profiling.job import Request, prepare
from swiftprof.profiling.record import record
from swiftprof.profiling.rerun import Rows, run_prompts
from swiftprof.profiling.rows import Row, Settings
from swiftprof.profiling.steps import Steps, check_steps
from swiftprof.profiling.worker import batches, candidates, measure_batch

_SIDE = 2048
"""Side of the matrix product whose speed stands for the device's."""

Progress = Callable[[int, int], None]


@dataclass
class _Set:
    dataset: Dataset
    samples: list[Sample]


def profiling_speed(
    vlm: VLM,
    datasets: Sequence[Dataset],
    *,
    samples: int,
    naive_samples: int,
    keep: float = 0.2,
    batch_size: int | None = None,
    repeats: int = 3,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Profile the same samples in both ways, in turns, and compare times and answers.

    Args:
        samples: of each set, profiled as `swiftprof profile` does.
        naive_samples: of these, the first ones are profiled one by one too.
        repeats: rounds; one more before them does not count.

    Raises:
        SwiftprofError: a set has no usable sample.
    """
    clock, steps = Clock(vlm.model.device), check_steps(vlm.model)
    request = Request(tuple(datasets), keep, samples, seed)
    settings = prepare(vlm, request).settings
    size = profiling(
        Prompt.of(vlm, max(d.max_new_tokens for d in datasets)),
        str(vlm.model.device),
        keep=keep,
        candidates=len(settings.layers),
        samples=batch_size,
    ).samples
    work = []
    for each in datasets:
        drawn = draw(each, each.train_split, samples, seed, at_most=True)
        good, bad = ask_all(each, each.train_split, drawn, vlm)
        if not good:
            raise SwiftprofError(
                f"data set {each.name}: no sample can be used; the first: {bad[0].reason}"
            )
        work.append(_Set(each, good))
    count = sum(len(w.samples) for w in work)
    slow_count = sum(len(w.samples[:naive_samples]) for w in work)
    fast_times, slow_times, peaks = [], [], []
    phases: dict[str, list[float]] = {}
    pairs: list[tuple[str, str]] = []
    for turn in range(repeats + 1):
        peak = _matmul_speed(clock, vlm.model.dtype)
        began = clock.worked()
        rows = [row for w in work for row in _fast(vlm, steps, w, settings, size)]
        middle = clock.worked()
        by_id = {(row.dataset, row.id): row for row in rows}
        pairs = [
            pair
            for w in work
            for sample in w.samples[:naive_samples]
            for pair in _answers(vlm, w.dataset, sample, by_id[w.dataset.name, sample.id], settings)
        ]
        ended = clock.worked()
        found = _phases(vlm, steps, work, settings, size, clock)
        if turn:
            fast_times.append((middle - began) / count)
            slow_times.append((ended - middle) / slow_count)
            peaks.append(peak)
            for name, seconds in found.items():
                phases.setdefault(name, []).append(seconds)
        if progress is not None:
            progress(turn + 1, repeats + 1)
    flops = sum(needed_flops(vlm, row, settings) for row in rows) / len(rows)
    bounds = [flops / peak for peak in peaks]
    layers = len(settings.layers)
    fast, naive = median(fast_times), median(slow_times)
    return {
        "settings": {
            "datasets": [w.dataset.name for w in work],
            "samples": count,
            "naive_samples": slow_count,
            "keep": keep,
            "layers": layers,
            "batch_size": size,
            "repeats": repeats,
        },
        "profiling": {**_rates(fast, layers), "seconds_per_sample": summary(fast_times)},
        "naive": {**_rates(naive, layers), "seconds_per_sample": summary(slow_times)},
        "bound": {
            **_rates(median(bounds), layers),
            "gflops_per_sample": flops / 1e9,
            "gflops_per_second": median(peaks) / 1e9,
        },
        "speedup": paired_ratio(slow_times, fast_times),
        "of_bound": 1 / paired_ratio(fast_times, bounds),
        "seconds_of_phases": {name: median(each) for name, each in phases.items()},
        "distinct_reruns": sum(_distinct(row, settings) for row in rows) / len(rows),
        "equal_answers": sum(a == b for a, b in pairs),
        "compared_answers": len(pairs),
    }


def needed_flops(vlm: VLM, row: Row, settings: Settings) -> float:
    """Least FLOPs for one sample, a multiply-add as two: everything shared that can be shared.

    Vision tower and vanilla run once; per distinct selection the text behind the image and the
    selected tokens through layers 3..L; one pass of the decoder per generated token. Behind a
    prompt only the last token is needed: of the others layer L makes keys and values alone.
    """
    shape, visual = vlm.decoder_shape, row.n_visual
    text = row.prompt_tokens - visual
    kept = len(row.selection[0])
    vocabulary = shape.hidden_size * vlm.model.get_output_embeddings().weight.shape[0]
    token = vanilla_flops(shape, 0, 1) + vocabulary
    own = text / 2 + kept  # about half of the text stands before the image and is shared
    layers = shape.num_layers - BASE_LAYER
    rerun = layers * layer_flops(shape, own) - _not_needed(shape, own) + vocabulary
    said = [row.prediction, *_distinct_answers(row, settings)]
    steps = sum(_tokens(vlm, text) for text in said)
    vanilla = vanilla_flops(shape, visual, text) - _not_needed(shape, visual + text)
    passes = vanilla + _distinct(row, settings) * rerun + steps * token
    return 2 * passes + _vision_flops(vlm, shape, visual)


def _not_needed(shape: DecoderShape, tokens: float) -> float:
    """What layer L would do for all tokens of a prompt but the last, beside keys and values."""
    keys = 2 * tokens * shape.hidden_size * shape.key_size
    return (layer_flops(shape, tokens) - keys) * (1 - 1 / tokens)


def _vision_flops(vlm: VLM, shape: DecoderShape, visual: int) -> float:
    inner = vlm.model.get_decoder()
    decoder = sum(p.numel() for p in inner.parameters())
    head = vlm.model.get_output_embeddings().weight.numel()
    return 2.0 * visual * max(0, sum(p.numel() for p in vlm.model.parameters()) - decoder - head)


def _distinct(row: Row, settings: Settings) -> int:
    return len({tuple(row.selection[layer - 1]) for layer in settings.layers})


def _distinct_answers(row: Row, settings: Settings) -> list[str]:
    by_selection = {
        tuple(row.selection[layer - 1]): answer
        for layer, answer in zip(settings.layers, row.rerun_prediction, strict=True)
    }
    return [answer or "" for answer in by_selection.values()]


def _tokens(vlm: VLM, text: str) -> int:
    tokenizer: Any = getattr(vlm.processor, "tokenizer", vlm.processor)
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])


def _fast(vlm: VLM, steps: Steps, work: _Set, settings: Settings, size: int) -> list[Row]:
    return [
        row
        for batch in _batches(work.samples, size)
        for row in measure_batch(vlm, steps, work.dataset, batch, settings)
    ]


def _answers(
    vlm: VLM, dataset: Dataset, sample: Sample, row: Row, settings: Settings
) -> list[tuple[str, str]]:
    """Every answer of a profile's row beside that of its own `generate()` call."""
    chosen = [row.selection[layer - 1] for layer in settings.layers]
    naive = profile_one(vlm, dataset, sample, chosen, settings.keep)
    ours = [row.prediction, *row.rerun_prediction]
    return list(zip(ours, [naive.vanilla, *naive.reruns], strict=True))


@torch.inference_mode()
def _phases(
    vlm: VLM, steps: Steps, work: Sequence[_Set], settings: Settings, size: int, clock: Clock
) -> dict[str, float]:
    """Seconds a sample of what profiling consists of, and of a plain vanilla `generate()`."""
    spent: dict[str, float] = {}
    began = clock.worked()

    def tick(name: str | None = None) -> None:
        nonlocal began
        now = clock.worked()
        if name is not None:
            spent[name] = spent.get(name, 0.0) + now - began
        began = now

    first = [(each.dataset, _batches(each.samples, size)[0]) for each in work]
    for dataset, batch in first:
        inputs = vlm.inputs([s.image for s in batch], [s.question for s in batch])
        new, model = dataset.max_new_tokens, vlm.model
        tick()
        model.generate(**inputs, do_sample=False, num_beams=1, max_new_tokens=new)  # type: ignore[operator]
        tick("generate")
        recording = record(steps, inputs, vlm.image_token_id, new)
        tick("vanilla run and scores")
        chosen = candidates(recording.select(settings.keep), settings)
        rows = Rows.of(recording, chosen)
        for _, prompted in run_prompts(recording, rows, most_rows(str(model.device)), new=new):
            tick("prompts of the re-runs")
            decode(steps, prompted, new, end_tokens(model))
            tick("decoding the re-runs")
    return {name: each / sum(len(b) for _, b in first) for name, each in spent.items()}


def _matmul_speed(clock: Clock, dtype: torch.dtype) -> float:
    """FLOP/s of a large matrix product, the best of three."""
    left = torch.randn(_SIDE, _SIDE, device=clock.device, dtype=dtype)
    times = []
    for _ in range(4):
        began = clock.worked()
        left @ left
        times.append(clock.worked() - began)
    return 2 * _SIDE**3 / min(times)


def _rates(seconds: float, candidates: int) -> dict[str, float]:
    return {"samples_per_second": 1 / seconds, "reruns_per_second": candidates / seconds}


def _batches(samples: Sequence[Sample], size: int) -> list[list[Sample]]:
    return [[samples[i] for i in each] for each in batches(dict(enumerate(samples)), size)]


def random_vlm(name: str, **options: Any) -> VLM:
    """A model of known sizes with random weights and the bundled model's tokenizer.

    Args:
        options: those of `random_model`.
    """
    bundled = load(BUNDLED_MODEL, device="cpu")
    processor: Any = bundled.processor
    made = random_model(
        name,
        vocabulary=int(bundled.model.config.get_text_config().vocab_size),
        image_token=bundled.image_token_id,
        **options,
    )
    vision = made.model.config.vision_config
    side = {"height": vision.image_size, "width": vision.image_size}
    processor.image_processor.size = processor.image_processor.crop_size = side
    processor.patch_size = vision.patch_size
    processor.tokenizer.model_max_length = made.model.config.text_config.max_position_embeddings
    return VLM(find_model(name), made.model, processor)


def main() -> None:
    """Measure and print or write a JSON document."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="tiny-llava", help="a model, with its weights")
    parser.add_argument("--config", help="random weights in the sizes of this model, instead")
    parser.add_argument("--scale", type=float, default=1.0, help="of its sizes")
    parser.add_argument("--datasets", default=",".join(BUNDLED))
    parser.add_argument("--samples", type=int, default=24, help="of each set")
    parser.add_argument("--naive-samples", type=int, default=4, help="also profiled one by one")
    parser.add_argument("--keep", type=float, default=0.2)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    if asked.threads:
        torch.set_num_threads(asked.threads)
    if asked.config:
        on_gpu = {"device": torch.device("cuda"), "dtype": torch.bfloat16}
        options = on_gpu if torch.cuda.is_available() else {}
        vlm = random_vlm(asked.config, scale=asked.scale, seed=asked.seed, **options)
    else:
        vlm = load(asked.model)
    document = {
        "command": " ".join(["python -m benchmarks.profile_speed", *sys.argv[1:]]),
        "environment": environment(vlm.model.device),
        "model": {"name": vlm.name, "scale": asked.scale, "random_weights": bool(asked.config)},
        **profiling_speed(
            vlm,
            get_datasets(asked.datasets.split(",")),
            samples=asked.samples,
            naive_samples=min(asked.naive_samples, asked.samples),
            keep=asked.keep,
            batch_size=asked.batch_size,
            repeats=asked.repeats,
            seed=asked.seed,
            progress=lambda done, total: print(f"turn {done} of {total}", file=sys.stderr),
        ),
    }
    text = json.dumps(document, indent=1)
    if asked.out is None:
        print(text)
    else:
        asked.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
