"""``swiftprof.profile``: draw samples, record and re-run them, write the folder."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import torch

from swiftprof import __version__
from swiftprof.data.asking import ask_all
from swiftprof.data.base import Dataset, Sample
from swiftprof.data.drawing import draw
from swiftprof.data.registry import BUNDLED, get_datasets
from swiftprof.errors import SwiftprofError
from swiftprof.models.loading import VLM
from swiftprof.planning.curve import combine
from swiftprof.planning.plan_file import ModelInfo
from swiftprof.planning.stability import curve_intervals
from swiftprof.profiling.conformance import check_steps
from swiftprof.profiling.measure import measure_batch
from swiftprof.profiling.parts import (
    PART_SAMPLES,
    Row,
    part_count,
    part_path,
    read_part,
    read_scores,
    read_skipped,
    write_part,
)
from swiftprof.profiling.settings import Settings
from swiftprof.profiling.store import (
    FOLDER,
    SCHEMA,
    Profile,
    RunFile,
    Summary,
    open_run,
    write_summary,
)

SAMPLES = 1000
"""Samples a data set, as in the paper."""
FIRST_CANDIDATE = 2
"""x_2 is the base of the plan; layer 1 is recorded but not re-run."""

Progress = Callable[[int, int], None]
"""Called with (samples done, samples in all)."""


@dataclass(frozen=True)
class Unit:
    """One part of the work: a chunk of a data set's drawn samples, one parquet file."""

    dataset: Dataset
    split: str
    number: int
    indices: tuple[int, ...]


def profile(
    vlm: VLM,
    datasets: Sequence[str | Dataset],
    *,
    keep: float = 0.2,
    samples: int | None = None,
    seed: int = 0,
    split: str | None = None,
    data_root: str | Path | None = None,
    batch_size: int | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> Profile:
    """Measure the capability x_i of every layer (paper §3.2).

    Args:
        datasets: names of data sets, ``.jsonl`` or ``.parquet`` files, or data sets.
        keep: V, the share of visual tokens that a selection holds, in (0, 1].
        samples: drawn from each data set's ``split``; by default 1,000, or all of a smaller one.
        split: by default each set's own train split.
        data_root: folder with local copies of data sets.
        batch_size: samples that run together; by default what suits the device.
        out: folder; by default ``profiles/<model>-<digest of the settings>``. Parts that are
            already there are kept, so the same call goes on where an interrupted one stopped.
        progress: called after every batch.

    Raises:
        SwiftprofError: unknown data set, a set without such a split, impossible settings, a
            folder with other settings, a set whose every sample is broken.
    """
    if not 0 < keep <= 1:
        raise SwiftprofError(f"V (keep) is {keep:g}: it must lie in (0, 1], 0.2 keeps a fifth")
    if not datasets:
        raise SwiftprofError("no data set named: give at least one, see swiftprof datasets")
    if batch_size is not None and batch_size < 1:
        raise SwiftprofError(f"batch size {batch_size}: it must be at least 1")
    chosen = get_datasets(datasets, None if data_root is None else Path(data_root))
    splits = {d.name: split or d.train_split for d in chosen}
    at_most = samples is None
    samples = SAMPLES if samples is None else samples
    drawn = {d.name: draw(d, splits[d.name], samples, seed, at_most=at_most) for d in chosen}
    usual = split or Dataset.train_split
    sources = {d.name: d.source(splits[d.name]) for d in chosen}
    protocol = {d.name: d.protocol(vlm.conventions) for d in chosen}
    settings = Settings(
        model=model_info(vlm),
        datasets=tuple(d.name for d in chosen),
        split=usual,
        samples=samples,
        keep=keep,
        seed=seed,
        layers=tuple(range(FIRST_CANDIDATE, vlm.num_layers + 1)),
        dtype=str(vlm.model.dtype).removeprefix("torch."),
        attention=str(vlm.model.config._attn_implementation),
        splits={name: own for name, own in splits.items() if own != usual},
        protocol={name: line for name, line in protocol.items() if name not in BUNDLED},
        sources={name: source for name, source in sources.items() if source},
        loading=vlm.loading,
    )
    folder = Path(out) if out else FOLDER / f"{vlm.name}-{settings.digest()}"
    open_run(folder, RunFile(settings=settings, draw=drawn))
    check_steps(vlm.model)
    began = time.monotonic()
    work = [u for d in chosen for u in _units(d, splits[d.name], drawn[d.name])]
    total = done = sum(len(u.indices) for u in work)
    missing = [u for u in work if not part_path(folder, u.dataset.name, u.number).is_file()]
    done -= sum(len(u.indices) for u in missing)
    report = progress or (lambda done, total: None)
    report(done, total)
    for unit in missing:
        samples_here, skipped = ask_all(unit.dataset, unit.split, unit.indices, vlm)
        rows: list[Row] = []
        done += len(skipped)
        for batch in _batches(samples_here, batch_size or _batch_size(vlm)):
            rows += measure_batch(vlm, unit.dataset, batch, settings)
            done += len(batch)
            report(done, total)
        order = {sample.id: n for n, sample in enumerate(samples_here)}
        rows.sort(key=lambda r: order[r.id])
        write_part(part_path(folder, unit.dataset.name, unit.number), rows, skipped)
    if missing or not (folder / "profile.json").is_file():
        counts = {name: len(indices) for name, indices in drawn.items()}
        seconds = time.monotonic() - began
        write_summary(folder, _summarise(folder, settings, counts, protocol, vlm, seconds))
    return Profile.load(folder)


def _units(dataset: Dataset, split: str, indices: Sequence[int]) -> list[Unit]:
    return [
        Unit(dataset, split, n, tuple(indices[n * PART_SAMPLES : (n + 1) * PART_SAMPLES]))
        for n in range(part_count(len(indices)))
    ]


def _batches(samples: list[Sample], size: int) -> list[list[Sample]]:
    """Samples of similar question length together: less padding."""
    by_length = sorted(samples, key=lambda s: len(s.question))
    return [by_length[i : i + size] for i in range(0, len(samples), size)]


def _batch_size(vlm: VLM) -> int:
    return 8 if vlm.model.device.type == "cpu" else 16


def model_info(vlm: VLM) -> ModelInfo:
    """What files say of a model."""
    return ModelInfo(
        name=vlm.name,
        id=vlm.source.id,
        revision=vlm.source.revision,
        num_layers=vlm.num_layers,
        visual_tokens=vlm.visual_tokens,
    )


def _summarise(
    folder: Path,
    settings: Settings,
    drawn: Mapping[str, int],
    protocol: dict[str, str],
    vlm: VLM,
    seconds: float,
) -> Summary:
    import transformers

    names = settings.datasets
    parts = {n: [part_path(folder, n, i) for i in range(part_count(drawn[n]))] for n in names}
    skipped = {n: [s for p in parts[n] for s in read_skipped(p)] for n in names}
    for name in names:
        if len(skipped[name]) == drawn[name]:
            raise SwiftprofError(
                f"data set {name}: none of {drawn[name]} samples can be used; "
                f"the first: {skipped[name][0].reason}"
            )
    scores = {n: read_scores(parts[n], len(settings.layers)) for n in names}
    dead = [n for n in names if not scores[n].vanilla.mean() > 0]
    if dead:
        raise SwiftprofError(
            f"the vanilla model scores 0 on {', '.join(dead)}, so no layer can be "
            "compared with it: "
            "check the model and the data set, or leave it out"
        )
    text, rows = 0, 0
    for part in (p for paths in parts.values() for p in paths):
        table = read_part(part, ["prompt_tokens", "n_visual"])
        text += sum(table["prompt_tokens"].to_pylist()) - sum(table["n_visual"].to_pylist())
        rows += len(table)

    def by_layer(values: Iterable[float]) -> dict[str, float]:
        return {str(i): round(float(v), 6) for i, v in zip(settings.layers, values, strict=True)}

    low, high = curve_intervals(scores, seed=settings.seed)
    return Summary(
        schema=SCHEMA,
        settings=settings,
        decoder=vlm.decoder_shape,
        samples={n: len(scores[n].vanilla) for n in names},
        text_tokens=text / rows,
        vanilla={n: float(scores[n].vanilla.mean()) for n in names},
        curve=by_layer(combine(scores)),
        curve_per_dataset={n: by_layer(combine({n: scores[n]})) for n in names},
        interval={
            str(i): (round(float(a), 6), round(float(b), 6))
            for i, a, b in zip(settings.layers, low, high, strict=True)
        },
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        seconds=round(seconds, 1),
        versions={
            "swiftprof": __version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "python": platform.python_version(),
        },
        protocol=protocol,
        skipped={name: each for name, each in skipped.items() if each},
    )
