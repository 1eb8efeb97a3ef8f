"""`swiftprof plan`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import swiftprof.profiling.store as store
from swiftprof.costs.flops import DecoderShape
from swiftprof.errors import SwiftprofError
from swiftprof.models.registry import ModelInfo
from swiftprof.planning.curve import SampleScores
from swiftprof.planning.plan_file import Plan


class FakeProfile:
    """A profile in memory, as the store would give it."""

    layers = tuple(range(2, 13))
    keep = 0.2
    text_tokens = 20.0
    path = Path("profiles/tiny-0")
    sha256 = "cd" * 32
    given: ClassVar[dict[str, str]] = {}
    dropped: ClassVar[dict[str, int]] = {}
    model = ModelInfo(name="tiny", num_layers=12, visual_tokens=144)
    decoder = DecoderShape(12, 128, 384, 4, 4, 32)

    def __init__(self) -> None:
        p = np.full(11, 0.3)
        p[[1, 3, 6]] = 0.5, 0.7, 0.9
        random = np.random.default_rng(0)
        self.samples = {
            name: SampleScores(np.ones(80), (random.random((80, 11)) < p).astype(float))
            for name in ("boxes", "words")
        }


@pytest.fixture
def newest(monkeypatch: pytest.MonkeyPatch) -> FakeProfile:
    """The profile that `swiftprof plan` finds."""
    profile = FakeProfile()
    monkeypatch.setattr(store, "find_newest", lambda model=None: profile)
    return profile


Run = Callable[..., Any]


def test_the_newest_profile_gives_a_plan_file_a_curve_and_a_table(
    swiftprof: Run, newest: FakeProfile
) -> None:
    result = swiftprof("plan", "--budget", 3)
    assert result.code == 0
    plan = Plan.load("plan.json")
    assert plan.pruning_layers == (3, 5, 8)
    assert plan.budget is not None
    assert plan.budget.ratio == pytest.approx(1 / 3, abs=1e-5)
    assert plan.stability is not None
    assert plan.stability.bootstrap == 1000
    for text in ("tiny", "layers 3, 5, 8 of 12", "◀ stage 2", "95 % interval", "GFLOPs"):
        assert text in result.out
    assert "swiftprof run --plan plan.json" in result.out
    rows = [line for line in result.out.splitlines() if "█" in line]
    assert len(rows) == 11, "one bar for each candidate layer"
    longest = max(rows, key=lambda row: row.count("█"))
    assert longest.split()[0] == "8"


def test_json_is_the_plan_itself_and_nothing_else(swiftprof: Run, newest: FakeProfile) -> None:
    result = swiftprof("plan", "--retain", 50, "--bootstrap", 0, "--out", "a/b.json", "--json")
    assert result.code == 0
    assert result.document == json.loads(Path("a/b.json").read_text())
    assert result.document["schema"] == "swiftprof.plan/1"
    assert result.document["stability"] is None


def test_a_named_folder_is_loaded(
    swiftprof: Run, monkeypatch: pytest.MonkeyPatch, newest: FakeProfile
) -> None:
    asked: list[Path] = []

    def load(path: Path) -> FakeProfile:
        asked.append(Path(path))
        return newest

    monkeypatch.setattr(store.Profile, "load", load)
    assert swiftprof("plan", "mine/profile", "--bootstrap", 5).code == 0
    assert asked == [Path("mine/profile")]


def test_options_reach_the_planner(swiftprof: Run, newest: FakeProfile) -> None:
    base = ["plan", "--json", "--retain", 50, "--bootstrap", 50]
    first = swiftprof(*base).document
    assert swiftprof(*base).document == first
    assert swiftprof(*base, "--seed", 1).document["stability"] != first["stability"]
    assert swiftprof(*base, "--method", "drop").document["method"] == "drop"
    minmax = swiftprof(*base, "--normalize", "minmax").document
    assert minmax["expected"]["area"] != first["expected"]["area"]
    uniform = swiftprof(*base, "--schedule", "uniform").document
    assert uniform["stages"] != first["stages"]


def test_a_bare_curve_is_planned_for_a_known_model(swiftprof: Run, curve_file: Path) -> None:
    result = swiftprof(
        "plan", "--curve", curve_file, "--model", "llava-1.5-7b", "--retain", 192, "--json"
    )
    plan = result.document
    assert plan["pruning_layers"] == [3, 11, 15]
    assert plan["expected"]["retained_tokens"] == 192
    assert plan["expected"]["tflops"] == pytest.approx(1.75, abs=0.01)
    assert plan["model"]["id"] == "llava-hf/llava-1.5-7b-hf"
    assert plan["stability"] is None


def test_a_bare_curve_alone_is_planned_by_ratio(swiftprof: Run, curve_file: Path) -> None:
    plan = swiftprof("plan", "--curve", curve_file, "--json").document
    assert plan["pruning_layers"] == [3, 11, 15]
    assert plan["expected"]["tflops"] is None
    counted = swiftprof(
        "plan", "--curve", curve_file, "--visual-tokens", 576, "--retain", 192, "--json"
    ).document
    assert counted["expected"]["retained_tokens"] == 192
    assert swiftprof("plan", "--curve", curve_file).code == 0


def test_fewer_layers_are_a_warning_on_stderr_and_still_a_plan(
    swiftprof: Run, curve_file: Path
) -> None:
    result = swiftprof("plan", "--curve", curve_file, "--budget", 9, "--json")
    assert result.code == 0
    assert result.document["pruning_layers"] == [3, 11, 15]
    assert result.err.startswith("swiftprof: warning: only 3 of the 9")
    assert result.err.count("\n") == 1


def test_plot_draws_a_picture(swiftprof: Run, newest: FakeProfile) -> None:
    result = swiftprof("plan", "--bootstrap", 20, "--plot", "pictures/curve.png", "--json")
    assert result.code == 0
    assert Path("pictures/curve.png").read_bytes().startswith(b"\x89PNG")
    assert "pictures/curve.png" in result.err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--budget", "0"], "--budget 0: must be at least 1"),
        (["--budget", "many"], "--budget"),
        (["--budget", "-2"], "--budget -2: must be at least 1"),
        (["--retain", "50", "--ratio", "0.3"], "--retain and --ratio"),
        (["--retain", "1"], "smallest possible is 37"),
        (["--retain", "144"], "--retain 144"),
        (["--ratio", "1.5"], "--ratio 1.5"),
        (["--flops", "1e9"], "--flops"),
        (["--normalize", "max"], "--normalize"),
        (["--method", "swiftvml"], "did you mean 'swiftvlm'"),
        (["--schedule", "cubic"], "--schedule cubic"),
        (["--bootstrap", "-1"], "--bootstrap"),
        (["--visual-tokens", "9"], "--visual-tokens: only goes with --curve"),
        (["--curve", "none.json"], "none.json: no such curve file"),
        (["here", "--curve", "curve.json"], "--curve: here is given too"),
        (["--out", "curve.json/plan.json"], "--out curve.json/plan.json: cannot be written"),
        (["--out", ""], "is a folder"),
        (["--plot", "curve.xyz"], "--plot curve.xyz: must end in .png"),
        (["nowhere"], "nowhere: no such profile folder"),
        (["--bugdet", "3"], "--budget"),
    ],
)
def test_a_bad_input_is_one_line_that_names_it(
    swiftprof: Run, newest: FakeProfile, curve_file: Path, arguments: list[str], named: str
) -> None:
    assert named in swiftprof("plan", *arguments).complaint


def test_without_any_profile_the_bundled_one_is_planned_from(swiftprof: Run) -> None:
    plan = swiftprof("plan", "--bootstrap", 0, "--json").document
    assert plan["model"]["name"] == "tiny-llava"
    assert plan["pruning_layers"] == list(Plan.load("tiny-llava").pruning_layers)


def test_without_a_profile_of_a_model_the_next_command_is_named(swiftprof: Run) -> None:
    assert "swiftprof profile" in swiftprof("plan", "--model", "llava-1.5-7b").complaint


def test_a_ratio_may_be_a_fraction(swiftprof: Run, newest: FakeProfile) -> None:
    by_fraction = swiftprof("plan", "--ratio", "1/3", "--bootstrap", 0, "--json").document
    assert by_fraction["budget"]["ratio"] == pytest.approx(1 / 3, abs=1e-5)


def test_a_refused_plan_writes_no_file(swiftprof: Run, newest: FakeProfile) -> None:
    assert swiftprof("plan", "--retain", 1).code == 2
    assert not Path("plan.json").exists()


def test_debug_shows_where(swiftprof: Run) -> None:
    with pytest.raises(SwiftprofError):
        swiftprof("plan", "nowhere", "--debug")


def test_a_peer_is_planned_at_its_own_layers_and_its_options_are_kept(
    swiftprof: Run, curve_file: Path
) -> None:
    common = ("plan", "--curve", curve_file, "--model", "llava-1.5-7b", "--retain", 192, "--json")
    fastv = swiftprof(*common, "--method", "fastv", "--option", "queries=all").document
    assert (fastv["pruning_layers"], fastv["options"]) == ([2], {"queries": "all"})
    assert fastv["expected"]["retained_tokens"] == pytest.approx(192, abs=0.5)
    assert fastv["expected"]["area"] is None
    early = swiftprof(*common, "--method", "pdrop").document
    late = swiftprof(*common[:-3], "--ratio", 0.5, "--json", "--method", "pdrop").document
    assert (early["pruning_layers"], late["pruning_layers"]) == ([2, 9, 17, 25], [8, 17, 25])
    moved = swiftprof(*common, "--method", "drop", "--layers", "4,9").document
    equal = swiftprof(*common, "--layers", "equal").document
    assert (moved["pruning_layers"], equal["pruning_layers"]) == ([4, 9], [3, 12, 22])
    merged = swiftprof(*common, "--merge", 0.1, "--schedule", "uniform").document
    assert merged["stages"][0]["merge"] == pytest.approx(0.1, abs=0.002)
    assert Plan.load("plan.json").method == "swiftvlm"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--method", "fastv", "--option", "queries=none"], "options.queries"),
        (["--option", "seeds"], "--option seeds: must be name=value"),
        (["--layers", "some"], "--layers some"),
        (["--layers", "4,3"], "stages[1].layer"),
        (["--merge", "2"], "--merge 2"),
        (["--schedule", "late"], "--schedule late"),
        (["--schedule", "published"], "--schedule published"),
        (["--method", "feather", "--layers", "3,9", "--retain", "60"], "smallest possible is 65"),
    ],
)
def test_bad_settings_are_one_line_that_names_them(
    swiftprof: Run, curve_file: Path, arguments: list[str], named: str
) -> None:
    model = ("--model", "llava-1.5-7b")
    assert named in swiftprof("plan", "--curve", curve_file, *model, *arguments).complaint


def test_a_preset_needs_no_profile(swiftprof: Run) -> None:
    made = swiftprof(
        "plan", "--preset", "often", "--model", "llava-1.5-7b", "--retain", 128, "--json"
    ).document
    assert made["options"] == {"first": "before", "spread": 0.35}
    assert made["expected"]["retained_tokens"] == pytest.approx(128, abs=0.5)
    assert made["pruning_layers"][0] == 4
    assert "layers that served other models" in made["notes"][0]
    shown = swiftprof("plan", "--preset", "often", "--model", "llava-1.5-7b").out
    assert "1–3" in shown  # the first stage acts before its layer 4
    refused = swiftprof("plan", "--preset", "oft")
    assert "'--preset': 'oft' is not one of 'often'" in refused.err


def test_a_search_is_asked_for_as_it_stands(
    swiftprof: Run, made_profile: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from swiftprof.search import api

    asked: dict[str, Any] = {}

    def search(vlm: Any, profile: Any, **wanted: Any) -> Plan:
        asked.update(wanted, model=vlm.name)
        return api.make_plan(profile, wanted["budget"], ratio=wanted["ratio"], bootstrap=0)

    monkeypatch.setattr(api, "search_plan", search)
    arguments = (
        "plan",
        made_profile.path,
        "--ratio",
        "2/9",
        "--search",
        "10m",
        "--equal",
        "tokens",
    )
    made = swiftprof(*arguments, "--samples", 40, "--seed", 4, "--json").document
    assert made["pruning_layers"] == [3, 7, 11]
    del asked["progress"]
    assert [each.name for each in asked.pop("datasets")] == ["scenes-ref", "scenes-qa"]
    assert asked == {
        "model": "tiny-llava",
        "limit": "10m",
        "equal": "tokens",
        "samples": 40,
        "folder": None,
        "ratio": pytest.approx(2 / 9),
        "budget": 3,
        "seed": 4,
    }
    for more, named in (
        (("--search", "soon"), "--search soon"),
        (("--layers", "3,5"), "--search"),
        (("--preset", "often"), "does not go with"),
    ):
        assert named in swiftprof(*arguments, *more).err
