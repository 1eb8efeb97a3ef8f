"""The model that lmms-eval finds, through lmms-eval's own interface where it is installed.

Its many dependencies are too heavy to install for this alone. Without them a double stands in: the
base class with the members that lmms-eval's evaluator uses, the registry's manifest and a request.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from swiftprof.data.registry import get_dataset
from swiftprof.errors import SwiftprofError
from swiftprof.models.registry import ModelInfo
from swiftprof.planning.plan_file import Plan, Stage
from swiftprof.runtime.prune import prune

REAL = find_spec("lmms_eval") is not None
TASK = "scenes"


class Hook:
    """lmms-eval's cache hook, noting what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def add_partial(self, attr: str, req: Any, res: Any) -> None:
        self.told.append((attr, req, res))


def double() -> dict[str, ModuleType]:
    """`lmms_eval.api.model` and `lmms_eval.models.registry_v2`, as small as the interface."""
    import abc

    class lmms(abc.ABC):
        is_simple = True

        def __init__(self) -> None:
            self._rank, self._world_size = 0, 1
            self.cache_hook, self.task_dict = Hook(), {}

        @abc.abstractmethod
        def loglikelihood(self, requests: Any) -> Any: ...

        @abc.abstractmethod
        def generate_until(self, requests: Any) -> Any: ...

        @abc.abstractmethod
        def generate_until_multi_round(self, requests: Any) -> Any: ...

        @classmethod
        def create_from_arg_string(cls, arg_string: str, additional_config: Any = None) -> Any:
            given = dict(each.split("=", 1) for each in arg_string.split(","))
            more = {k: v for k, v in (additional_config or {}).items() if v is not None}
            return cls(**given, **more)

        @property
        def rank(self) -> int:
            return self._rank

        @property
        def world_size(self) -> int:
            return self._world_size

    modules = {
        name: ModuleType(name)
        for name in (
            *("lmms_eval", "lmms_eval.api", "lmms_eval.api.model"),
            *("lmms_eval.models", "lmms_eval.models.registry_v2"),
        )
    }
    modules["lmms_eval.api.model"].lmms = lmms  # type: ignore[attr-defined]
    modules["lmms_eval.models.registry_v2"].ModelManifest = SimpleNamespace  # type: ignore[attr-defined]
    return modules


@pytest.fixture
def lmms_eval(monkeypatch: pytest.MonkeyPatch) -> None:
    if not REAL:
        for name, module in double().items():
            monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "swiftprof.integrations.lmms_eval", raising=False)


@pytest.fixture(scope="module")
def plan(bundled: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    info = ModelInfo(name="tiny-llava", num_layers=bundled.num_layers, visual_tokens=144)
    stages = (Stage(layer=3, keep=0.3, merge=0.05), Stage(layer=8, keep=0.05))
    return Plan(model=info, stages=stages).save(tmp_path_factory.mktemp("plan") / "plan.json")


def make(arguments: str, **more: Any) -> Any:
    """As lmms-eval makes a model from its command line."""
    found = manifest()
    module, _, name = found.simple_class_path.rpartition(".")
    kind = getattr(__import__(module, fromlist=[name]), name)
    model = kind.create_from_arg_string(arguments, {"batch_size": 2, "device": "cpu", **more})
    samples = [get_dataset("scenes-qa").sample("test", i) for i in range(5)]
    model.task_dict = {TASK: {"test": samples}}
    model.cache_hook = Hook()
    return model


def manifest() -> Any:
    from swiftprof.integrations.lmms_eval import manifest

    return manifest()


def requests(model: Any, visual: Any = lambda sample: [sample.image], **options: Any) -> list[Any]:
    samples = model.task_dict[TASK]["test"]
    settings = {"max_new_tokens": 4, "temperature": 0, "until": ["\n\n"], **options}
    out = []
    for i, sample in enumerate(samples):
        arguments = (sample.question, dict(settings), visual, i, TASK, "test")
        out.append(request(arguments))
    return out


def request(arguments: Any) -> Any:
    if not REAL:
        return SimpleNamespace(args=arguments)
    from lmms_eval.api.instance import Instance

    facts = {"task": TASK, "doc_id": arguments[3], "repeats": 1}
    return Instance("generate_until", arguments, idx=0, metadata=facts)


@torch.inference_mode()
def one_by_one(vlm: Any, model: Any, plan: Path | None) -> list[str]:
    out = []
    for sample in model.task_dict[TASK]["test"]:
        inputs = vlm.inputs([sample.image], [sample.question])
        options = {"do_sample": False, "max_new_tokens": 4}
        if plan is None:
            ids = vlm.model.generate(**inputs, **options)
        else:
            with prune(vlm.model, Plan.load(plan)):
                ids = vlm.model.generate(**inputs, **options)
        out += vlm.decode(ids[:, inputs["input_ids"].shape[1] :])
    return out


@pytest.mark.usefixtures("lmms_eval")
def test_answers_are_those_of_the_pruned_model_in_order(bundled: Any, plan: Path) -> None:
    model = make(f"pretrained=tiny-llava,plan={plan}")
    answers = model.generate_until(requests(model))
    assert answers == one_by_one(bundled, model, plan)
    assert len(model.cache_hook.told) == len(answers)
    assert not any(m._forward_pre_hooks for m in model.model.modules())
    assert (model.rank, model.world_size, model.batch_size) == (0, 1, 2)


@pytest.mark.usefixtures("lmms_eval")
def test_without_a_plan_it_is_the_vanilla_model(bundled: Any, plan: Path) -> None:
    model = make("pretrained=tiny-llava")
    vanilla = model.generate_until(requests(model))
    assert vanilla == one_by_one(bundled, model, None)
    assert vanilla != one_by_one(bundled, model, plan)


@pytest.mark.usefixtures("lmms_eval")
def test_requests_with_other_options_and_texts_alone(bundled: Any) -> None:
    model = make("pretrained=tiny-llava")
    vanilla = model.generate_until(requests(model))
    mixed = requests(model)[:2] + requests(model, until=vanilla[2][0])[2:3]
    assert model.generate_until(mixed) == [*vanilla[:2], ""]
    assert len(model.generate_until(requests(model, visual=lambda sample: []))) == 5


@pytest.mark.usefixtures("lmms_eval")
def test_what_it_cannot_do_is_said(tmp_path: Path) -> None:
    model = make("pretrained=tiny-llava")
    with pytest.raises(SwiftprofError, match="only images are supported"):
        model.generate_until(requests(model, visual=lambda sample: ["film.mp4"]))
    with pytest.raises(NotImplementedError, match="generate_until"):
        model.loglikelihood([])
    other = Plan(
        model=ModelInfo(name="other", num_layers=12), stages=(Stage(layer=3, keep=0.5),)
    ).save(tmp_path / "plan.json")
    with pytest.raises(SwiftprofError, match="12 layers"):
        make(f"pretrained=tiny-llava,plan={other}")


@pytest.mark.usefixtures("lmms_eval")
def test_the_package_names_it_to_lmms_eval() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 and later")
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    target = project["entry-points"]["lmms_eval.models"]["swiftprof"]
    module, _, name = target.partition(":")
    assert getattr(__import__(module, fromlist=[name]), name)().model_id == "swiftprof"


@pytest.mark.skipif(not REAL, reason="lmms-eval is not installed")
def test_lmms_evals_own_registry_finds_it(plan: Path) -> None:
    from lmms_eval.models.registry_v2 import ModelRegistryV2

    registry = ModelRegistryV2()
    registry.load_entrypoint_manifests()
    kind = registry.get_model_class("swiftprof")
    assert kind.__name__ == "Swiftprof"
    assert kind.create_from_arg_string(f"pretrained=tiny-llava,plan={plan}").batch_size == 1
