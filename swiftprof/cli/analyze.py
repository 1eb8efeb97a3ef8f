"""`swiftprof analyze`: why a plan works, or does not; one figure and one table each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swiftprof.analysis import REGISTRY
from swiftprof.cli.analyses import RUNS
from swiftprof.cli.analysis_options import (
    ALL_METHODS,
    PICTURED,
    PLANNED,
    RATIOS,
    SAMPLES,
    SHARES,
    FromProfile,
    MethodsOpt,
    Pruning,
    WithModel,
)
from swiftprof.cli.analysis_request import FOLDER, Request
from swiftprof.cli.errors import DONE, SOME_FAILED
from swiftprof.cli.options import (
    BudgetOpt,
    JsonOpt,
    LoadOptions,
    SeedOpt,
    batch_size,
    grouped,
)
from swiftprof.cli.output import Output

if TYPE_CHECKING:
    from swiftprof.analysis.document import Document


def _start(
    context: typer.Context,
    json: JsonOpt = False,
) -> None:
    """Why does a plan work, or not? Each analysis writes a figure and a table."""
    if context.invoked_subcommand is not None:
        return
    output = Output(json)
    output.document(
        {
            "analyses": [
                {"name": n, "title": a.title, "question": a.question, "needs": a.needs}
                for n, a in REGISTRY.items()
            ]
        }
    )
    for name, each in REGISTRY.items():
        output.print(f"[bold]{name:10}[/bold] {each.question}")
        output.print(f"{'':10} [dim]needs {each.needs}[/dim]")
    output.print(
        "\nRun one with swiftprof analyze NAME, or each of them with swiftprof analyze all.\n"
        f"Figures and tables go to {FOLDER}/; swiftprof report {FOLDER} makes one page of them."
    )


@grouped(samples=SAMPLES["ranks"])
def ranks(load: LoadOptions, run: WithModel) -> None:
    """Do later layers want the visual tokens that earlier layers rank lowest? (paper Fig. 2)

    One unpruned prefill per sample ranks all visual tokens at every layer. A profile, where there
    is one, adds how far its layers' selections agree.
    """
    _analyze("ranks", run, load)


@grouped()
def curve(read: FromProfile) -> None:
    """Which layers can tell important visual tokens from unimportant ones? (paper Fig. 4)

    Reads a profile: nothing is run.
    """
    _analyze("curve", read)


@grouped(samples=SAMPLES["reading"])
def reading(
    load: LoadOptions,
    *,
    shares: Annotated[
        str,
        typer.Option("--shares", help="Further V at which capability is measured, with commas."),
    ] = SHARES,
    run: WithModel,
) -> None:
    """After which layer are visual tokens no longer needed, and how few does each layer need?

    Answers --samples of each set's train split with all visual tokens but one withdrawn after each
    layer, and profiles the same samples at further V. With the result a plan knows the depth and
    the number of kept tokens: swiftprof plan --reading analyses/reading.json. Finished parts are
    kept: after an interruption the same command goes on where it stopped.
    """
    _analyze("reading", run, load, more={"shares": shares})


@grouped()
def stability(
    read: FromProfile,
    bootstrap: Annotated[int, typer.Option("--bootstrap", min=10, help="Resamples.")] = 1000,
    seed: SeedOpt = 0,
) -> None:
    """How much of the plan is luck of the samples, and how many pruning layers pay?

    Reads a profile: nothing is run.
    """
    _analyze("stability", read, seed=seed, more={"bootstrap": bootstrap})


@grouped(samples=SAMPLES["alignment"])
def alignment(
    load: LoadOptions,
    *,
    merge: Annotated[
        str,
        typer.Option("--merge", help="Merged tokens as fractions of all; one row of panels each."),
    ] = "0.05,0.015",
    projection: Annotated[
        str, typer.Option("--projection", help="pca, or tsne where scikit-learn is installed.")
    ] = "pca",
    at: Pruning,
    run: WithModel,
) -> None:
    """Do bypassed tokens come back where the unpruned model would have them? (paper Fig. 7)

    Runs each sample unpruned and pruned, and compares hidden states at the plan's stages.
    """
    _analyze("alignment", run, load, at, more={"merge": merge, "projection": projection})


@grouped(samples=SAMPLES["overlap"])
def overlap(
    load: LoadOptions,
    *,
    methods: MethodsOpt = PLANNED,
    at: Pruning,
    run: WithModel,
) -> None:
    """Does the last stage keep what the unpruned model attends to there? (paper Fig. 8)

    Ranks the tokens in the unpruned model at the layer of the plan's last stage and counts how many
    of the best are left with each method, at equal token budgets.
    """
    _analyze("overlap", run, load, at, more={"methods": methods})


@grouped(samples=SAMPLES["pictures"])
def pictures(
    load: LoadOptions,
    *,
    methods: MethodsOpt = PICTURED,
    show: Annotated[int, typer.Option("--show", min=1, max=50, help="Samples to show.")] = 6,
    pick: Annotated[
        str,
        typer.Option(
            "--pick",
            help="disagree: methods differ in score; first: simply the first; wrong: swiftvlm "
            "scores below the unpruned model.",
        ),
    ] = "disagree",
    at: Pruning,
    run: WithModel,
) -> None:
    """Which patches are left after each stage, and what is answered from them? (paper Fig. 3, 6)

    Answers --samples of each set with every method and shows some of them, by the rule of --pick,
    in the order drawn.
    """
    _analyze("pictures", run, load, at, more={"methods": methods, "show": show, "pick": pick})


@grouped(samples=SAMPLES["plans"])
def plans(
    load: LoadOptions,
    *,
    sets: Annotated[
        str, typer.Option("--sets", help="Layer sets to measure beside the plan, or all.")
    ] = "60",
    method: Annotated[str, typer.Option("--method", help="A method that is planned.")] = "swiftvlm",
    reading: Annotated[
        Path | None,
        typer.Option("--reading", help="A reading.json, whose objective is judged too."),
    ] = None,
    at: Pruning,
    run: WithModel,
) -> None:
    """Do the planned layers beat other layers at the same cost, and does the objective tell?

    Answers the same samples with the plan, with as many layers at equal depths, and with other
    layer sets that the budget allows: a draw of them, or all. Finished parts are kept: after an
    interruption the same command goes on where it stopped.
    """
    _analyze("plans", run, load, at, more={"sets": sets, "method": method, "reading": reading})


@grouped(samples=SAMPLES["pareto"])
def pareto(
    load: LoadOptions,
    *,
    methods: MethodsOpt = ALL_METHODS,
    evaluation: Annotated[
        Path | None,
        typer.Option("--eval", help="A finished evaluation's folder, instead of running one."),
    ] = None,
    budget: BudgetOpt = 3,
    ratio: Annotated[
        str | None,
        typer.Option("--ratio", help="Token budgets as fractions of all.", show_default=RATIOS),
    ] = None,
    retain: Annotated[
        str | None, typer.Option("--retain", help="The same as numbers of tokens.")
    ] = None,
    run: WithModel,
) -> None:
    """Which method keeps most of the score at each number of tokens?

    Runs an evaluation over several budgets, or reads one. A method that a budget is impossible for
    is left out there, and said so.
    """
    if ratio is None and retain is None:
        ratio = RATIOS
    at = Pruning(budget, ratio, retain)
    _analyze("pareto", run, load, at, more={"methods": methods, "evaluation": evaluation})


@grouped()
def all_(load: LoadOptions, at: Pruning, run: WithModel) -> None:
    """Run every analysis with its defaults, one after the other.

    Without --samples each analysis takes as many as when it runs alone. What is finished stays: a
    later failure loses nothing.
    """
    output = Output(run.json)
    more: dict[str, dict[str, Any]] = {
        "reading": {"shares": SHARES},
        "stability": {"bootstrap": 1000},
        "alignment": {"merge": "0.05,0.015", "projection": "pca"},
        "overlap": {"methods": PLANNED},
        "pictures": {"methods": PICTURED, "show": 6, "pick": "disagree"},
        "plans": {"sets": "60", "method": "swiftvlm", "reading": run.out / "reading.json"},
        "pareto": {"methods": ALL_METHODS, "evaluation": None},
    }
    documents: list[Document] = []
    loaded = None
    for name in REGISTRY:
        one = at.ratio is None and at.retain is None
        here = replace(at, ratio=RATIOS) if name == "pareto" and one else at
        request = _request(output, name, run, load, here, more.get(name, {}), loaded=loaded)
        documents.append(_make(request))
        loaded = request.loaded
        _show(output, documents[-1], run.out, short=True)
    output.document({"path": str(run.out), "analyses": [d.to_dict() for d in documents]})
    output.print(f"\nWrote {run.out}/. Next: swiftprof report {run.out} --out report.html")
    raise typer.Exit(_warn(output, documents))


EXAMPLES: dict[str, tuple[str, ...]] = {
    "ranks": (
        "swiftprof analyze ranks",
        "swiftprof analyze ranks --model llava-1.5-7b --datasets textvqa --samples 200",
    ),
    "curve": ("swiftprof analyze curve", "swiftprof analyze curve --profile profiles/mine"),
    "reading": (
        "swiftprof analyze reading",
        "swiftprof analyze reading --profile profiles/mine --shares 0.05,0.1 --samples 200",
    ),
    "stability": ("swiftprof analyze stability", "swiftprof analyze stability --budget 4"),
    "alignment": (
        "swiftprof analyze alignment",
        "swiftprof analyze alignment --ratio 2/9 --merge 0.1,0.03 --projection tsne",
    ),
    "overlap": (
        "swiftprof analyze overlap --ratio 2/9",
        "swiftprof analyze overlap --methods fastv,pdrop,drop,swiftvlm --samples 500",
    ),
    "pictures": (
        "swiftprof analyze pictures",
        "swiftprof analyze pictures --methods pdrop,swiftvlm --show 4 --pick first",
    ),
    "plans": ("swiftprof analyze plans", "swiftprof analyze plans --sets all --samples 100"),
    "pareto": (
        "swiftprof analyze pareto",
        "swiftprof analyze pareto --methods fastv,drop,swiftvlm --retain 256,192,128",
        "swiftprof analyze pareto --eval evals/tiny-llava-1a2b3c4d",
    ),
    "all": ("swiftprof analyze all", "swiftprof analyze all --samples 20 --out quick"),
}
_COMMANDS: dict[str, Callable[..., None]] = {
    "ranks": ranks,
    "curve": curve,
    "reading": reading,
    "stability": stability,
    "alignment": alignment,
    "overlap": overlap,
    "pictures": pictures,
    "plans": plans,
    "pareto": pareto,
    "all": all_,
}


def group(add: Callable[..., None]) -> typer.Typer:
    """The sub-commands; `add` registers one with its examples."""
    app = typer.Typer(rich_markup_mode="rich")
    app.callback(invoke_without_command=True)(_start)
    for name, each in _COMMANDS.items():
        add(app, each, EXAMPLES[name], name=name)
    return app


def _analyze(
    name: str,
    options: FromProfile | WithModel,
    load: LoadOptions | None = None,
    at: Pruning | None = None,
    more: Mapping[str, Any] | None = None,
    **further: Any,
) -> None:
    """Measure, write, show."""
    output = Output(options.json)
    request = _request(output, name, options, load, at, more or {}, **further)
    document = _make(request)
    output.document({"path": str(request.out), **document.to_dict()})
    _show(output, document, request.out)
    raise typer.Exit(_warn(output, [document]))


def _request(
    output: Output,
    name: str,
    options: FromProfile | WithModel,
    load: LoadOptions | None,
    at: Pruning | None,
    more: Mapping[str, Any],
    **further: Any,
) -> Request:
    given = {**vars(options), **(vars(at) if at else {}), **further}
    own = ("profile", "budget", "ratio", "retain", "datasets", "data_root", "split", "seed")
    return Request(
        output=output,
        name=name,
        out=options.out,
        load=load or LoadOptions(model=given["model"]),
        samples=given.get("samples") or SAMPLES.get(name, 1),
        batch=batch_size(given.get("size", "auto")),
        more=more,
        loaded=further.get("loaded"),
        **{key: given[key] for key in own if key in given},
    )


def _make(request: Request) -> Document:
    """Measure and write: document, table, figure."""
    document = RUNS[request.name](request)
    document.save(request.out)
    data = document.parsed()
    if data is not None:
        from swiftprof.report.figures import figure_of
        from swiftprof.report.style import save

        save(figure_of(request.name, data), request.out / request.name)
    return document


def _show(output: Output, document: Document, out: Path, short: bool = False) -> None:
    if output.as_json:
        return
    from rich.markup import escape
    from rich.table import Table

    output.print(f"[bold]{document.title}[/bold]")
    for each in document.findings:
        output.print(f"• {escape(each)}")
    if short:
        output.print()
        return
    for found in document.tables:
        output.print()
        table = Table(box=None, pad_edge=False, header_style="dim", title_justify="left")
        for number, column in enumerate(found.columns):
            table.add_column(
                column, justify="left" if number == 0 else "right", no_wrap=number == 0
            )
        for row in found.rows:
            table.add_row(*(escape(cell) for cell in row))
        if found.title:
            output.print(f"[bold]{escape(found.title)}[/bold]")
        output.print(table)
        if found.note:
            output.print(f"[dim]{escape(found.note)}[/dim]")
    output.print(f"\n[dim]{escape(document.measured)}[/dim]")
    name = document.analysis
    output.print(f"\nWrote {out}/{name}.png, .svg, .json and .md. Next: swiftprof report {out}")


def _warn(output: Output, documents: Sequence[Document]) -> int:
    """Name the data sets of which samples could not be used; the exit code."""
    code = DONE
    for document in documents:
        for name, count in document.provenance.skipped.items():
            output.warn(f"{document.analysis}: {count} samples of {name} skipped, they are broken")
            code = SOME_FAILED
    return code
