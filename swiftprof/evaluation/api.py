"""``swiftprof.evaluate``: methods side by side on the same samples, in a folder that resumes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from swiftprof.data.asking import prompt_sizes
from swiftprof.data.base import Dataset
from swiftprof.data.drawing import draw
from swiftprof.data.registry import BUNDLED, get_datasets
from swiftprof.errors import BadParameter, SwiftprofError
from swiftprof.evaluation.answer import Progress
from swiftprof.evaluation.fill import fill
from swiftprof.evaluation.results import Results, scores_of, summarise
from swiftprof.evaluation.settings import EvalSettings, VariantSettings
from swiftprof.evaluation.specs import Budgets, Planner, TargetText, parse_spec, targets_of
from swiftprof.evaluation.statistics import Scores
from swiftprof.evaluation.store import FOLDER, Answers
from swiftprof.evaluation.table import averages_table, markdown, shown_groups
from swiftprof.files import write_text_atomic
from swiftprof.methods.base import Method
from swiftprof.models.loading import VLM
from swiftprof.models.memory import Prompt, answering
from swiftprof.planning.api import ProfileLike
from swiftprof.planning.fill import Cost
from swiftprof.planning.plan_file import Plan
from swiftprof.profiling.store import Profile, find_newest
from swiftprof.runs.folder import Run, open_run
from swiftprof.runs.settings import common_settings, versions
from swiftprof.runtime.prune import prune
from swiftprof.tables import Table, html_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from swiftprof.evaluation.drawing import Against


MethodLike = str | Method | Plan | VariantSettings


@dataclass(frozen=True)
class Evaluation:
    """A finished evaluation on disk.

    Attributes:
        path: its folder.
        results: the document of ``results.json``.
        answers: what every variant said.
    """

    path: Path
    results: Results
    answers: Answers

    @property
    def table(self) -> Table:
        """Averages and costs, as a command prints them."""
        return averages_table(self.results, shown_groups(self.results))

    def plot(self, against: Against = "tokens") -> Figure:
        """Score against retained `tokens`, or `flops`: one line a method, as a figure."""
        from swiftprof.evaluation.drawing import score_figure

        return score_figure(self.results, against)

    def _repr_html_(self) -> str:
        from swiftprof.drawing import picture_html

        note = f"<p><small>{html_text(self.table.note)}</small></p>"
        return f"{self.table.html()}{picture_html(self.plot(), 'score against tokens')}{note}"

    @property
    def dataframe(self) -> pd.DataFrame:
        """One row per variant and data set."""
        import pandas as pd

        return pd.DataFrame(
            {
                "method": row.label,
                "budget": row.budget,
                "dataset": name,
                "score": found.score,
                "relative": None if found.relative is None else found.relative.value,
                "retained": found.retained,
                "tflops": found.tflops,
                "samples": self.results.samples[name],
            }
            for row in self.results.rows
            for name, found in row.scores.items()
        )

    @property
    def scores(self) -> Mapping[str, Scores]:
        """Variant -> data set -> scores of the samples, in one order for all variants; NaN where
        a method failed."""
        return scores_of(self.answers)

    def markdown(self) -> str:
        """The tables of ``results.md``."""
        return markdown(self.results)


def evaluate(
    vlm: VLM,
    methods: Sequence[MethodLike],
    datasets: Sequence[str | Dataset] | None = None,
    *,
    retain: Budgets = None,
    ratio: Budgets = None,
    flops: Budgets = None,
    targets: Sequence[TargetText] = (),
    profile: ProfileLike | str | Path | None = None,
    layers: Sequence[int] | None = None,
    budget: int = 3,
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
    """Score methods beside the unpruned model, at equal token budgets, on the same samples.

    Args:
        vlm: the model.
        methods: names with options as on the command line ("swiftvlm:merge=0.1"), methods, plans,
            or paths of plans. The unpruned model is added where it is missing.
        datasets: names, files, or data sets; those of the bundled model by default, if it is that.
        retain, ratio, flops: the budget, or several, as of `swiftprof.plan`; a third of the tokens
            by default. FLOPs are those of the prompts that are asked here.
        targets: budgets with the text that stands for them in tables, instead.
        profile: chooses the layers of methods that are planned; the model's newest by default.
        layers: prune at these layers instead.
        budget: m, pruning layers at most.
        samples: of each set; all of a smaller one; None for all there are.
        seed: of the draw, which is the same for all methods.
        split: None for each set's own evaluation split.
        out: folder; by default ``evals/<model>-<digest of the settings>``. Answers that are there
            are not asked for again: an interrupted call goes on where it stopped, and more samples,
            data sets or methods add to what is there.
        reference: label of the method that the tests compare the others with.
        command: how to make it again, for the table.
        batch_size: samples that run together; by default what memory allows. No result depends on
            it.
        progress: called after every batch with (done, total) samples.
        note: told in one line how many samples run together, and how each data set begins.

    Raises:
        SwiftprofError: unknown data set or method, an impossible budget, a plan that does not fit,
            a folder with other settings, or no set that says anything.
    """
    if datasets is None and not vlm.source.bundled:
        raise BadParameter("datasets", None, "name at least one; see swiftprof datasets")
    chosen = get_datasets(
        BUNDLED if datasets is None else datasets, None if data_root is None else Path(data_root)
    )
    splits = {d.name: split or d.eval_split for d in chosen}
    common = common_settings(vlm, chosen, splits)
    sizes = {d.name: samples or d.size(splits[d.name]) for d in chosen}
    drawn = {d.name: draw(d, splits[d.name], sizes[d.name], seed, at_most=True) for d in chosen}
    wanted = _variants(
        vlm, methods, targets or targets_of(retain, ratio, flops), profile, layers, budget,
        lambda: prompt_sizes(vlm, ((d, splits[d.name], drawn[d.name]) for d in chosen))[1],
    )  # fmt: skip
    for each in wanted:
        if (plan := each.load()) is not None:
            prune(vlm.model, plan)  # refuses a plan that does not fit
    settings = EvalSettings(
        **common, samples=samples or max(sizes.values()), seed=seed, variants=tuple(wanted)
    )
    run = Run[EvalSettings](settings=settings, draw=drawn)
    folder = Path(out) if out else FOLDER / f"{vlm.name}-{settings.digest()}"
    open_run(folder, run)
    told = note or (lambda text: None)
    if batch_size is None:
        new = max(d.max_new_tokens for d in chosen)
        fitting = answering(Prompt.of(vlm, new), str(vlm.model.device))
        batch_size = fitting.samples
        told(str(fitting))
    fill(vlm, chosen, run, folder, batch_size, progress, told)
    results, answers = summarise(run, chosen, folder, reference, command, _versions(vlm))
    text = results.model_dump_json(indent=1, by_alias=True)
    write_text_atomic(folder / "results.json", text + "\n")
    write_text_atomic(folder / "results.md", markdown(results))
    return Evaluation(folder, results, answers)


def _variants(
    vlm: VLM,
    methods: Sequence[MethodLike],
    targets: Sequence[TargetText],
    profile: ProfileLike | str | Path | None,
    layers: Sequence[int] | None,
    budget: int,
    text_tokens: Callable[[], float],
) -> list[VariantSettings]:
    """Vanilla first, then methods at their budgets, then plans."""
    if isinstance(profile, str | Path):
        profile = Profile.load(profile)
    specs = [parse_spec(m) for m in methods if not isinstance(m, VariantSettings)]
    if profile is None and layers is None and any(s.needs_profile for s in specs):
        profile = find_newest(model=vlm.name)
    if profile is not None and profile.model.num_layers != vlm.num_layers:
        raise SwiftprofError(
            f"{profile.path}: is a profile of {profile.model.name} with {profile.model.num_layers} "
            f"layers, but {vlm.name} has {vlm.num_layers}; name another with `profile`"
        )
    by_flops = any(each.target.flops is not None for each in targets)
    text = text_tokens() if by_flops else 0.0 if profile is None else profile.text_tokens
    cost = Cost(vlm.info, vlm.decoder_shape, text)
    planner = Planner(cost, profile, tuple(layers) if layers is not None else None, budget)
    made = planner.variants(specs, targets)
    made += [each for each in methods if isinstance(each, VariantSettings)]
    return list({variant.name: variant for variant in made}.values())


def _versions(vlm: VLM) -> dict[str, str]:
    device = vlm.model.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    return {**versions(), "device": name}
