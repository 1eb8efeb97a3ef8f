"""``swiftprof.evaluate``: methods side by side on the same samples, in a folder that resumes."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from swiftprof import __version__
from swiftprof.data.asking import Skipped
from swiftprof.data.base import Dataset
from swiftprof.data.drawing import draw
from swiftprof.data.registry import get_datasets
from swiftprof.errors import SwiftprofError
from swiftprof.evaluation.answer import (
    VANILLA,
    Answer,
    Progress,
    answer_samples,
    check_plans,
)
from swiftprof.evaluation.results import summarise
from swiftprof.evaluation.settings import EvalSettings, VariantSettings
from swiftprof.evaluation.store import (
    FOLDER,
    PART_SAMPLES,
    RunFile,
    open_run,
    part_path,
    read_part,
    write_part,
)
from swiftprof.evaluation.table import markdown
from swiftprof.files import write_text_atomic
from swiftprof.models.batch_size import Prompt, answering
from swiftprof.models.loading import VLM
from swiftprof.runs.settings import model_info


@dataclass(frozen=True)
class Evaluation:
    """A finished evaluation on disk.

    Attributes:
        path: its folder.
        results: the document of ``results.json``.
    """

    path: Path
    results: dict[str, Any]

    @property
    def skipped(self) -> dict[str, list[Skipped]]:
        """Data set -> samples that could not be used."""
        return {k: [Skipped(**s) for s in v] for k, v in self.results["skipped"].items()}

    def markdown(self) -> str:
        """The tables of ``results.md``."""
        return markdown(self.results)


def evaluate(
    vlm: VLM,
    variants: Sequence[VariantSettings],
    datasets: Sequence[str | Dataset],
    *,
    samples: int | None = None,
    seed: int = 0,
    split: str | None = None,
    data_root: str | Path | None = None,
    batch_size: int | None = None,
    out: str | Path | None = None,
    reference: str | None = None,
    command: str = "",
    progress: Progress | None = None,
    note: Callable[[str], None] | None = None,
) -> Evaluation:
    """Score methods beside the unpruned model.

    Args:
        vlm: the model.
        variants: what answers; the unpruned model is added where it is missing.
        datasets: names of data sets, or data sets.
        samples: of each set; all of a smaller one; None for all there are.
        seed: of the draw, which is the same for all variants.
        split: None for each set's own evaluation split.
        out: folder; by default ``evals/<model>-<digest of the settings>``. Parts that are already
            there are kept, so the same call goes on where an interrupted one stopped.
        reference: label of the method that the tests compare the others with.
        command: how to make it again, for the table.
        batch_size: samples that run together; by default what memory allows. No result depends on
            it.
        progress: called after every batch with (done, total) samples.
        note: told in one line how many samples run together.

    Raises:
        SwiftprofError: unknown data set, a plan that does not fit, a folder with other settings,
            or a set of which no sample can be used.
    """
    chosen = get_datasets(datasets, None if data_root is None else Path(data_root))
    splits = {d.name: split or d.eval_split for d in chosen}
    for dataset in chosen:
        dataset.check_split(splits[dataset.name])
    wanted = list(variants)
    if all(v.name != VANILLA for v in wanted):
        wanted.insert(0, VariantSettings.of(VANILLA))
    plans = {v.name: v.load() for v in wanted}
    check_plans(vlm, plans)
    sizes = {d.name: samples or d.size(splits[d.name]) for d in chosen}
    drawn = {d.name: draw(d, splits[d.name], sizes[d.name], seed, at_most=True) for d in chosen}
    settings = EvalSettings(
        model=model_info(vlm),
        datasets=tuple(d.name for d in chosen),
        splits=splits,
        samples=samples or max(sizes.values()),
        seed=seed,
        dtype=str(vlm.model.dtype).removeprefix("torch."),
        attention=str(vlm.model.config._attn_implementation),
        protocol={d.name: d.protocol(vlm.conventions) for d in chosen},
        loading=vlm.loading,
        sources={d.name: s for d in chosen if (s := d.source(splits[d.name]))},
        variants=tuple(wanted),
    )
    folder = Path(out) if out else FOLDER / f"{vlm.name}-{settings.digest()}"
    open_run(folder, RunFile(settings=settings, draw=drawn))
    if batch_size is None:
        new = max(d.max_new_tokens for d in chosen)
        fitting = answering(Prompt.of(vlm, new), str(vlm.model.device))
        batch_size = fitting.samples
        if note is not None:
            note(str(fitting))
    _fill(vlm, chosen, splits, drawn, plans, folder, batch_size, progress)
    answers, skipped = _read(chosen, drawn, plans, folder)
    results = summarise(settings, chosen, answers, skipped, reference=reference)
    results |= {"command": command, "versions": _versions(vlm)}
    write_text_atomic(folder / "results.json", json.dumps(results, indent=1) + "\n")
    write_text_atomic(folder / "results.md", markdown(results))
    return Evaluation(folder, results)


def _fill(
    vlm: VLM,
    datasets: Sequence[Dataset],
    splits: dict[str, str],
    drawn: dict[str, list[int]],
    plans: dict[str, Any],
    folder: Path,
    batch_size: int,
    progress: Progress | None,
) -> None:
    """Make the parts that are missing."""
    total, done = sum(map(len, drawn.values())), 0

    def report(here: int, _: int) -> None:
        if progress:
            progress(done + here, total)

    for dataset in datasets:
        indices = drawn[dataset.name]
        for number, start in enumerate(range(0, len(indices), PART_SAMPLES)):
            path = part_path(folder, dataset.name, number)
            part = indices[start : start + PART_SAMPLES]
            if not path.is_file():
                answers, skipped = answer_samples(
                    vlm,
                    dataset,
                    splits[dataset.name],
                    part,
                    plans,
                    batch_size=batch_size,
                    progress=report,
                    first=start,
                )
                write_part(path, answers, skipped)
            done += len(part)
            report(0, total)


def _read(
    datasets: Sequence[Dataset],
    drawn: dict[str, list[int]],
    plans: dict[str, Any],
    folder: Path,
) -> tuple[dict[str, dict[str, list[Answer]]], dict[str, list[Skipped]]]:
    """All parts: variant -> data set -> answers in the order drawn; and what was skipped."""
    answers: dict[str, dict[str, list[Answer]]] = {name: {} for name in plans}
    skipped: dict[str, list[Skipped]] = {}
    for dataset in datasets:
        skipped[dataset.name] = []
        for number in range(-(-len(drawn[dataset.name]) // PART_SAMPLES)):
            found, left_out = read_part(part_path(folder, dataset.name, number))
            skipped[dataset.name] += left_out
            for each in found:
                answers[each.variant].setdefault(dataset.name, []).append(each)
        if dataset.name not in answers[VANILLA]:
            first = skipped[dataset.name][0]
            raise SwiftprofError(
                f"data set {dataset.name}: none of {len(drawn[dataset.name])} samples can be used; "
                f"the first: {first.reason}"
            )
        for sets in answers.values():
            sets[dataset.name].sort(key=lambda a: a.place)
    return answers, skipped


def _versions(vlm: VLM) -> dict[str, str]:
    import transformers

    device = vlm.model.device
    return {
        "swiftprof": __version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
    }
