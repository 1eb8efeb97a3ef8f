"""`swiftprof serve`: a server for OpenAI's clients, and a page that shows what pruning does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swiftprof.cli.options import JsonOpt, LoadOptions, grouped, split_list
from swiftprof.cli.output import Output
from swiftprof.errors import BadParameter, SwiftprofError

if TYPE_CHECKING:
    from swiftprof.planning.plan_file import Plan

EXAMPLES = (
    "swiftprof serve --plan plan.json",
    "swiftprof serve --plan plan.json --ratio 1/2,2/9",
    "swiftprof serve --plan paper=a.json --plan searched=b.json --port 9000",
    "SWIFTPROF_API_KEY=… swiftprof serve --plan plan.json --host 0.0.0.0",
)


@grouped()
def serve(
    load: LoadOptions,
    plan: Annotated[
        list[str] | None,
        typer.Option(
            help="A plan.json, or NAME=FILE; may be repeated. Requests choose by this name.",
            show_default="plan.json, else the model's shipped plan",
        ),
    ] = None,
    ratio: Annotated[
        str | None,
        typer.Option(help="Further budgets of every plan, as 1/2,2/9: models NAME@1/2 …"),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    api_key: Annotated[
        str | None,
        typer.Option(
            envvar="SWIFTPROF_API_KEY", help="Ask clients for this key.", show_default="none"
        ),
    ] = None,
    allow_urls: Annotated[
        bool,
        typer.Option(
            "--allow-urls", help="Fetch images from public http(s) addresses in requests."
        ),
    ] = False,
    batch_size: Annotated[
        int, typer.Option(min=1, help="The most requests that run together.")
    ] = 8,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="The longest answer.")] = 1024,
    json: JsonOpt = False,
) -> None:
    """Serve the model, unpruned and pruned by plans, to OpenAI's clients and to a browser.

    `model` in a request is `vanilla` or a plan's name. At / there is a page that asks both and
    shows the patches that survive each stage. Ctrl-C answers what runs and stops.
    """  # fmt: skip
    output = Output(json)
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError:
        raise SwiftprofError(
            "the server needs FastAPI and uvicorn: pip install 'swiftprof[serve]'"
        ) from None
    from swiftprof.serve.catalog import catalog
    from swiftprof.serve.server import allowed_hosts, listen
    from swiftprof.serve.server import serve as run

    plans = _plans(plan, load.model)
    variants = catalog(plans, split_list(ratio or ""))
    listening = listen(host, port)
    from swiftprof.cli.resolve import resolve
    from swiftprof.runtime.prune import prune
    from swiftprof.serve.app import create_app
    from swiftprof.serve.fetch import fetch
    from swiftprof.serve.service import Limits, Service

    first = next(iter(plans.items()), None)
    vlm = resolve(load, plan=first).load_model(output)
    for each in variants.values():
        if each.plan is not None:
            each.plan.check_model(vlm.num_layers, vlm.name)
            prune(vlm.model, each.plan)  # refuses what does not fit
    limits = Limits(batch=batch_size, tokens=max_new_tokens)
    service = Service(vlm, variants, limits, fetch if allow_urls else None)
    app = create_app(service, api_key=api_key or None, hosts=allowed_hosts(host))
    address, number = listening.getsockname()[:2]
    url = f"http://{f'[{address}]' if ':' in address else address}:{number}"
    output.document({"url": url, "models": list(variants)})
    output.print(
        "{model} at {url}/v1 as {names}", model=vlm.name, url=url, names=", ".join(variants)
    )
    output.print("The page: {url}/   (Ctrl-C stops)", url=url)
    run(app, listening)


def _plans(given: list[str] | None, model: str | None) -> dict[str, Plan]:
    """Plans by name, all of one model. Raises SwiftprofError."""
    from swiftprof.cli.resolve import PLAN, read_plan
    from swiftprof.models.registry import BUNDLED_MODEL
    from swiftprof.planning.plan_file import shipped_plans

    if given is None:
        shipped = model or BUNDLED_MODEL
        given = [PLAN] if Path(PLAN).is_file() else []
        if not given and shipped in shipped_plans():
            given = [f"shipped={shipped}"]
    found: dict[str, Plan] = {}
    for text in given:
        name, sign, file = text.partition("=")
        if not sign or Path(text).is_file():
            name, file = text.removesuffix(".json").rpartition("/")[2] or text, text
        if name in found:
            raise BadParameter("plan", text, f"the name {name} is taken; type another as NAME=FILE")
        found[name] = read_plan(file)[1]
    models = {plan.model.name: name for name, plan in found.items()}
    if len(models) > 1:
        told = ", ".join(f"{name} for {model}" for model, name in models.items())
        raise SwiftprofError(f"the plans are for different models ({told}); serve one model")
    return found
