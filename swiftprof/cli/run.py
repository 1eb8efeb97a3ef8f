"""`swiftprof run`: answer with a pruned model, on one image or on a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swiftprof.cli.options import (
    BatchSizeOpt,
    DataRootOpt,
    JsonOpt,
    LoadOptions,
    PromptStyleOpt,
    SeedOpt,
    batch_size,
    grouped,
    split_list,
)
from swiftprof.cli.output import Output
from swiftprof.errors import SwiftprofError

if TYPE_CHECKING:
    from swiftprof.models.loading import VLM
    from swiftprof.planning.plan_file import Plan

SAMPLES = 100
EXAMPLES = (
    "swiftprof run --plan plan.json",
    'swiftprof run --plan plan.json --image scene.png --prompt "What color is the star?" --compare',
    "swiftprof run --plan plan.json --image scene.png --prompt … --show-tokens tokens.png",
    "swiftprof run --plan plan.json --dataset scenes-ref --samples 200",
    "swiftprof run --plan plan.json --dataset pope --data-root /data --samples 500",
    "swiftprof run --plan plan.json --dataset my/questions.jsonl",
)


@grouped()
def run(
    load: LoadOptions,
    plan: Annotated[Path, typer.Option("--plan", help="A plan.json.")] = Path("plan.json"),
    image: Annotated[Path | None, typer.Option("--image", help="An image file.")] = None,
    prompt: Annotated[str | None, typer.Option("--prompt", help="A question about it.")] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Show the vanilla model's answer too.")
    ] = False,
    show_tokens: Annotated[
        Path | None,
        typer.Option("--show-tokens", help="Draw the patches that survive each stage (PNG)."),
    ] = None,
    max_new_tokens: Annotated[
        int, typer.Option("--max-new-tokens", min=1, help="Longest answer to --prompt.")
    ] = 128,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            help="Score on a data set, or a .jsonl or .parquet file, instead.",
            show_default="bundled",
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            "--samples",
            "--limit",
            min=1,
            help="Samples of --dataset.",
            show_default=f"{SAMPLES}, or all of a smaller set",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option("--split", help="Split of --dataset.", show_default="the usual one to report"),
    ] = None,
    data_root: DataRootOpt = None,
    prompt_style: PromptStyleOpt = None,
    seed: SeedOpt = 0,
    size: BatchSizeOpt = "auto",
    json: JsonOpt = False,
) -> None:
    """Run a model with its visual tokens pruned by a plan.

    With --image and --prompt it answers one question. Without them it scores the plan on a data
    set, the vanilla model beside it in the same run.
    """
    output = Output(json)
    from swiftprof.planning.plan_file import Plan

    loaded = Plan.load(plan)
    single = image is not None or prompt is not None
    if single and dataset is not None:
        raise SwiftprofError("--dataset: goes without --image and --prompt; choose one of them")
    if not single and (compare or show_tokens):
        name = "--show-tokens" if show_tokens else "--compare"
        if show_tokens or dataset is None:
            raise SwiftprofError(f"{name}: needs --image FILE and --prompt TEXT")
    if single:
        if image is None:
            raise SwiftprofError(
                "--prompt: a prompt without an image has no visual tokens to prune; "
                "add --image FILE"
            )
        if not prompt or not prompt.strip():
            raise SwiftprofError('--image: needs a question; add --prompt "…"')
        from swiftprof.data.asking import shown
        from swiftprof.data.images import open_image

        picture = open_image(image, f"--image {image}")
        from swiftprof.cli.loading import load_for_plan

        vlm = load_for_plan(output, loaded, load)
        picture = shown(picture, vlm)
        _answer(output, vlm, loaded, picture, prompt, compare, show_tokens, max_new_tokens)
        return
    from swiftprof.data.drawing import draw
    from swiftprof.data.registry import BUNDLED, get_datasets

    names = BUNDLED if dataset is None else split_list(dataset)
    if not names:
        raise SwiftprofError("--dataset: no name given; see swiftprof datasets")
    sets = get_datasets(names, data_root)
    splits = [split or d.eval_split for d in sets]
    drawn = [
        draw(d, s, samples or SAMPLES, seed, at_most=samples is None)
        for d, s in zip(sets, splits, strict=True)
    ]
    rows = batch_size(size) or 16
    from swiftprof.cli.loading import load_for_plan

    vlm = load_for_plan(output, loaded, load, prompt_style)
    from swiftprof.cli.show_outcomes import show_outcomes
    from swiftprof.cli.show_skipped import show_skipped
    from swiftprof.evaluation.answer import VANILLA
    from swiftprof.evaluation.compare import compare as measure

    outcomes = []
    for each, part, indices in zip(sets, splits, drawn, strict=True):
        with output.progress(each.name) as step:
            variants = {VANILLA: None, "plan": loaded}
            result = measure(
                vlm, each, indices, variants, split=part, batch_size=rows, progress=step
            )
        outcomes.append(result)
    output.document(
        {
            "plan": str(plan),
            "splits": {d.name: s for d, s in zip(sets, splits, strict=True)},
            "draw": {d.name: list(i) for d, i in zip(sets, drawn, strict=True)},
            "seed": seed,
            "results": [o.summary() for result in outcomes for o in result.values()],
        }
    )
    if not json:
        show_outcomes(output, vlm, outcomes)
    plain = {r[VANILLA].dataset: r[VANILLA] for r in outcomes}
    code = show_skipped(
        output,
        {name: o.skipped for name, o in plain.items()},
        {name: len(o.scores) for name, o in plain.items()},
        "the output of --json",
    )
    raise typer.Exit(code)


def _answer(
    output: Output,
    vlm: VLM,
    plan: Plan,
    picture: Any,
    prompt: str,
    compare: bool,
    show_tokens: Path | None,
    max_new_tokens: int,
) -> None:
    import torch
    from transformers import TextStreamer

    from swiftprof.runtime.prune import prune
    from swiftprof.runtime.trace import Trace

    inputs = vlm.inputs([picture], [prompt])
    length, trace = inputs["input_ids"].shape[1], Trace()
    options: dict[str, Any] = {"do_sample": False, "max_new_tokens": max_new_tokens}

    def generate(streamer: Any) -> str:
        with torch.inference_mode():
            ids = vlm.model.generate(**inputs, **options, streamer=streamer)  # type: ignore[operator]
        return vlm.decode(ids[:, length:])[0]

    streamer = None
    if not output.as_json:
        tokenizer = vlm.processor.tokenizer
        streamer = TextStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    if compare:
        output.print("[dim]plan[/dim]     ")
    with prune(vlm.model, plan, on_stage=trace):
        answer = generate(streamer)
    vanilla = None
    if compare:
        output.print("[dim]vanilla[/dim]  ")
        vanilla = generate(streamer)
    run = trace.prefills[0]
    retained = run.retained(0, vlm.num_layers)
    n_visual = run.events[0].schedule.visual[0]
    output.print(
        f"[dim]retained {retained:.1f} of {n_visual} visual tokens, averaged over "
        f"{vlm.num_layers} layers; layers {', '.join(map(str, plan.pruning_layers))}[/dim]"
    )
    if show_tokens is not None:
        from swiftprof.analysis.patches import draw_tokens, patch_grid, stage_patches

        grid = patch_grid(vlm, inputs, n_visual)
        if grid is None:
            raise SwiftprofError(
                f"--show-tokens: {n_visual} visual tokens form no plain grid; not drawn"
            )
        draw_tokens(picture, grid, stage_patches(run), show_tokens, f"{prompt}  →  {answer}")
        output.note(f"wrote {show_tokens}")
    document = {
        "prompt": prompt,
        "answer": answer,
        "visual_tokens": n_visual,
        "retained_tokens": retained,
        "stages": [
            {"layer": event.layer, "kept": run.kept(j, 0), "merged": run.merged(j, 0)}
            for j, event in enumerate(run.events)
        ],
    }
    output.document(document if vanilla is None else {**document, "vanilla": vanilla})
