"""What goes to the hub of a profile: plan, curve, report and card; no samples, no paths."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from swiftprof.drawing import save
from swiftprof.errors import SwiftprofError
from swiftprof.files import write_text_atomic
from swiftprof.hub import CURVE, PLAN
from swiftprof.planning.drawing import plan_figure
from swiftprof.planning.plan_file import Plan, Source
from swiftprof.profiling.store import Profile
from swiftprof.report.html import render
from swiftprof.report.page import Page
from swiftprof.report.read_profile import plan_section, profile_section
from swiftprof.tables import Table, markdown_text


def prepare(profile: Profile, plan: Plan, to: str, folder: Path) -> list[Path]:
    """Write the files of a shared repository into a folder.

    Args:
        to: owner/name, for the commands on the card.

    Raises:
        SwiftprofError: the plan is for another model, or a file would tell something private.
    """
    if (plan.model.name, plan.model.num_layers) != (profile.model.name, profile.model.num_layers):
        raise SwiftprofError(
            f"the plan is for {plan.model.name}, the profile of {profile.model.name}; "
            "share what belongs together"
        )
    plan = _without_paths(plan)
    plan.save(folder / PLAN)
    x = {str(layer): float(f"{v:.6g}") for layer, v in profile.summary.curve.items()}
    curve = {"num_layers": profile.model.num_layers, "x": x}
    write_text_atomic(folder / CURVE, json.dumps(curve, indent=1) + "\n")
    save(plan_figure(profile.curve, plan), folder / "curve.png")
    write_text_atomic(folder / "README.md", card(profile, plan, to))
    where = f"hf://{to}"
    sections = [profile_section(profile, plan.pruning_layers, where), plan_section(plan, where)]
    page = Page(f"swiftprof: {plan.model.name}", sections)
    write_text_atomic(folder / "report.html", render(page))
    files = sorted(folder.iterdir())
    _check_private(files, [profile.path.absolute(), Path.home(), Path.cwd()])
    return files


def card(profile: Profile, plan: Plan, to: str) -> str:
    """The card of the repository: what was measured, on what, how sure it is, how to use it."""
    summary, model = profile.summary, plan.model
    facts = ["---", "library_name: swiftprof", "tags: [visual-token-pruning, swiftprof]"]
    if model.id and not Path(model.id).exists() and model.id.count("/") == 1:
        facts.append(f"base_model: {model.id}")
    samples = ", ".join(
        f"{markdown_text(name)} ({summary.samples[name]})" for name in profile.datasets
    )
    stages = Table(
        ("pruning layer", "kept", "merged"),
        tuple((str(s.layer), f"{s.keep:.1%}", f"{s.merge:.1%}") for s in plan.stages),
        left=(),
    )
    lines = [
        *facts,
        "---",
        "",
        f"# Where {markdown_text(model.name)} can prune its visual tokens",
        "",
        f"A [swiftprof](https://arxiv.org/abs/2602.03134) plan and the curve it comes from: "
        f"{model.num_layers} decoder layers, method {markdown_text(plan.method)}.",
        "",
        "![Capability of every layer](curve.png)",
        "",
        stages.markdown(),
        "",
        f"Measured on {samples} with the top {profile.keep:.0%} of the visual tokens.",
    ]
    if plan.stability is not None and plan.stability.plan_frequency is not None:
        lines.append(
            f"{plan.stability.plan_frequency:.0%} of {plan.stability.bootstrap} resamples of them "
            "give these layers."
        )
    lines += [
        "",
        "```",
        f"swiftprof run --plan hf://{to}",
        f"swiftprof plan hf://{to} --budget 3 --ratio 1/4    # another budget",
        "```",
        "",
        "Every layer's value, with its interval, is in [report.html](report.html).",
    ]
    return "\n".join(lines) + "\n"


def _without_paths(plan: Plan) -> Plan:
    """A plan whose source names data sets only, and whose model is no folder."""
    source = Source(
        datasets=plan.source.datasets,
        samples=plan.source.samples,
        keep=plan.source.keep,
        sha256=plan.source.sha256,
        published=plan.source.published,
    )
    local = plan.model.id is not None and Path(plan.model.id).exists()
    model = plan.model.model_copy(update={"id": None}) if local else plan.model
    return plan.model_copy(update={"source": source, "model": model})


def _check_private(files: Iterable[Path], private: Iterable[Path]) -> None:
    """Refuse files with a path of this machine or an access token in them."""
    from huggingface_hub import get_token

    secrets = [str(path) for path in private if len(str(path)) > 1]
    token = get_token()
    for file in files:
        content = file.read_bytes()
        if token and token.encode() in content:
            raise SwiftprofError(f"{file.name} would hold your access token; nothing was shared")
        for secret in secrets:
            if secret.encode() in content:
                raise SwiftprofError(
                    f"{file.name} would hold the path {secret}; rename what carries it"
                )
