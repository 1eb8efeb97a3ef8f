"""`swiftprof run`: answer with a pruned model, on one image or on a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swiftprof.cli.options import (
    BatchSizeOpt,
    DataOptions,
    JsonOpt,
    LoadOptions,
    SeedOpt,
    count_or_auto,
    grouped,
)
from swiftprof.cli.output import PICTURES, Output, check_out
from swiftprof.cli.resolve import hinting
from swiftprof.errors import BadParameter

if TYPE_CHECKING:
    from swiftprof.cli.resolve import Chosen
    from swiftprof.models.loading import VLM
    from swiftprof.planning.plan_file import Plan

SAMPLES = 100
MAX_NEW_TOKENS = 128
EXAMPLES = (
    'swiftprof run --image scene-1 --prompt "How many signs are there?" --compare',
    'swiftprof run --image scene-1 --prompt "Is there a red star?" --show-tokens seen.png',
    "swiftprof run --plan plan.json",
    "swiftprof run --plan plan.json --datasets scenes-ref --samples 200",
    "swiftprof run --plan plan.json --datasets pope --data-root /data --samples 500",
    "swiftprof run --plan plan.json --datasets my/questions.jsonl",
)


@grouped()
def run(
    load: LoadOptions,
    data: DataOptions,
    plan: Annotated[
        str | None,
        typer.Option(
            help="A plan.json, hf://owner/name, or a model whose plan is shipped.",
            show_default="plan.json, else the model's shipped plan",
        ),
    ] = None,
    image: Annotated[
        str | None, typer.Option(help="An image file, or scene-1, -2, -3 (bundled).")
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="A question about it.")] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Show the vanilla model's answer too.")
    ] = False,
    show_tokens: Annotated[
        Path | None, typer.Option(help="Draw the patches that survive each stage (PNG).")
    ] = None,
    max_new_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Longest answer to --prompt.", show_default=str(MAX_NEW_TOKENS)),
    ] = None,
    seed: SeedOpt = 0,
    size: BatchSizeOpt = "auto",
    json: JsonOpt = False,
) -> None:
    """Answer with image tokens pruned by a plan: one question, or a data set.

    With --image and --prompt it answers one question. Without them it scores the plan on a data
    set, by default 100 samples of the plan's own sets, the vanilla model beside it.
    """
    output = Output(json)
    single = image is not None or prompt is not None
    if single:
        question, picture = _question(image, prompt, data)
    elif show_tokens is not None or max_new_tokens is not None:
        name = "show_tokens" if show_tokens is not None else "max_new_tokens"
        raise BadParameter(name, None, "goes with `image` FILE and `prompt` TEXT")
    from swiftprof.cli.resolve import read_plan, resolve

    if show_tokens is not None:
        check_out(show_tokens, "show_tokens", suffixes=PICTURES)
    where, loaded = read_plan(plan, load.model)
    chosen = resolve(load, data, plan=(where, loaded))
    if single:
        vlm = chosen.load_model(output)
        limit = max_new_tokens or MAX_NEW_TOKENS
        _answer(output, vlm, loaded, picture, question, compare, show_tokens, limit)
        return
    raise typer.Exit(_score(output, chosen, loaded, seed, count_or_auto("batch_size", size) or 16))


def _question(image: str | None, prompt: str | None, data: DataOptions) -> tuple[str, Any]:
    """The question and the picture. Raises SwiftprofError."""
    for name in ("datasets", "samples", "split"):
        if getattr(data, name) is not None:
            raise BadParameter(name, None, "does not go with `image` and `prompt`; choose")
    if image is None:
        raise BadParameter(
            "prompt", None, "needs an image, else there are no visual tokens; add `image` FILE"
        )
    if not prompt or not prompt.strip():
        raise BadParameter("image", None, 'needs a question; add `prompt` "…"')
    from swiftprof.data.images import open_image
    from swiftprof.tiny import sample_images

    with hinting(image, "picture"):
        return prompt, open_image(sample_images().get(image) or Path(image), f"`image` {image}")


def _score(output: Output, chosen: Chosen, plan: Plan, seed: int, rows: int) -> int:
    """Score a plan and the unpruned model on the data sets; the exit code."""
    data, sets = chosen.data, chosen.datasets()
    for each in sets:
        each.check_split(data.split or each.eval_split)
    vlm = chosen.load_model(output)
    from swiftprof.cli.evaluate import show_done
    from swiftprof.evaluation.api import evaluate

    with output.progress(f"running {vlm.name}") as step:
        done = evaluate(
            vlm,
            [plan],
            sets,
            samples=data.samples or SAMPLES,
            seed=seed,
            split=data.split,
            batch_size=rows,
            progress=step,
            note=output.note,
        )
    return show_done(output, done)


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
    """Answer one question, with a picture of the patches that were left."""
    import torch
    from transformers import TextStreamer

    from swiftprof.data.asking import shown
    from swiftprof.runtime.prune import prune
    from swiftprof.runtime.trace import Trace

    picture = shown(picture, vlm)
    inputs = vlm.inputs([picture], [prompt])
    length, trace = inputs["input_ids"].shape[1], Trace()
    options: dict[str, Any] = {"do_sample": False, "max_new_tokens": max_new_tokens}
    streamer = None
    if not output.as_json:
        tokenizer = vlm.processor.tokenizer
        streamer = TextStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)

    def generate() -> str:
        with torch.inference_mode():
            ids = vlm.model.generate(**inputs, **options, streamer=streamer)  # type: ignore[operator]
        return vlm.decode(ids[:, length:])[0]

    if compare:
        output.print("[dim]plan[/dim]     ")
    with prune(vlm.model, plan, on_stage=trace):
        answer = generate()
    vanilla = None
    if compare:
        output.print("[dim]vanilla[/dim]  ")
        vanilla = generate()
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
            raise BadParameter(
                "show_tokens", None, f"{n_visual} visual tokens form no plain grid; not drawn"
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
