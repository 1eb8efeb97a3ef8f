"""`swiftprof run` and `profile`: answers, tables, pictures, and bad input in one line."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from swiftprof.cli.app import main
from swiftprof.data.registry import get_dataset
from swiftprof.models.registry import ModelInfo
from swiftprof.planning.plan_file import Plan, Stage


@pytest.fixture(scope="module")
def plan_path(bundled, tmp_path_factory):
    model = ModelInfo(
        name="tiny-llava", id="tiny-llava", num_layers=bundled.num_layers, visual_tokens=144
    )
    stages = (
        Stage(layer=3, keep=0.5, merge=0.05),
        Stage(layer=8, keep=0.2, merge=0.05),
        Stage(layer=12, keep=0.1),
    )
    return Plan(model=model, stages=stages).save(tmp_path_factory.mktemp("plan") / "plan.json")


@pytest.fixture(scope="module")
def image_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("image") / "scene.png"
    get_dataset("scenes-qa").sample("test", 0).image.save(path)
    return path


def one_error_line(capsys, arguments, *wanted):
    assert main([str(a) for a in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    lines = [line for line in err.splitlines() if not line.startswith("loading")]
    assert len(lines) == 1, err
    for text in wanted:
        assert str(text) in lines[0]


def test_one_image_with_vanilla_beside_it_and_a_picture(capsys, plan_path, image_path, tmp_path):
    sample = get_dataset("scenes-qa").sample("test", 0)
    picture = tmp_path / "tokens.png"
    code = main(
        [
            "run",
            "--plan",
            str(plan_path),
            "--image",
            str(image_path),
            "--prompt",
            sample.question,
            "--compare",
            "--show-tokens",
            str(picture),
            "--json",
        ]
    )
    assert code == 0
    document = json.loads(capsys.readouterr().out)
    assert document["vanilla"] == sample.answers[0]
    assert [len(s["kept"]) for s in document["stages"]] == [72, 29, 14]
    assert [len(s["merged"]) for s in document["stages"]] == [7, 7, 0]
    layers = [144] * 3 + [79] * 4 + [36] * 4 + [14] * 13
    assert document["retained_tokens"] == pytest.approx(sum(layers) / len(layers))
    with Image.open(picture) as drawn:
        assert drawn.width > 3 * drawn.height / 1.5
        assert len(set(drawn.convert("L").tobytes())) > 50


def test_a_wide_image_is_seen_whole(capsys, plan_path, image_path, tmp_path, bundled):
    """As in training and in data sets: padded to a square, not cropped to its middle."""
    wide, padded = tmp_path / "wide.png", tmp_path / "padded.png"
    with Image.open(image_path) as picture:
        half = picture.crop((0, 0, picture.width, picture.height // 2))
    half.save(wide)
    square = Image.new("RGB", (half.width, half.width), bundled.conventions.pad_color)
    square.paste(half, (0, (half.width - half.height) // 2))
    square.save(padded)
    documents = []
    for path in (wide, padded):
        arguments = [
            "run",
            "--plan",
            plan_path,
            "--image",
            path,
            "--prompt",
            "what color",
            "--json",
        ]
        assert main([str(a) for a in arguments]) == 0
        documents.append(json.loads(capsys.readouterr().out))
    assert documents[0] == documents[1]


def test_streamed_answer_is_printed(capsys, plan_path, image_path):
    question = get_dataset("scenes-qa").sample("test", 0).question
    arguments = ["run", "--plan", plan_path, "--image", image_path, "--prompt", question]
    assert main([str(a) for a in arguments]) == 0
    streamed = capsys.readouterr().out
    assert main([*(str(a) for a in arguments), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["answer"] in streamed


def test_dataset_run_scores_plan_beside_vanilla(capsys, plan_path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["run", "--plan", plan_path, "--datasets", "scenes-text", "--samples", 6, "--json"]
    assert main([str(a) for a in arguments]) == 0
    document = json.loads(capsys.readouterr().out)
    vanilla, plan = document["rows"]
    assert (vanilla["label"], plan["label"]) == ("vanilla", "plan")
    assert document["samples"] == {"scenes-text": 6}
    assert vanilla["retained"]["mean"] == 144
    assert plan["retained"]["mean"] < 60
    assert plan["tflops"] < vanilla["tflops"]


def test_bad_input_is_one_line(capsys, plan_path, image_path, tmp_path):
    missing, text = tmp_path / "no.png", tmp_path / "text.png"
    text.write_text("not an image")
    cut = tmp_path / "cut.png"
    cut.write_bytes(image_path.read_bytes()[:200])
    base = ["run", "--plan", plan_path]
    one_error_line(capsys, [*base, "--prompt", "hi"], "--prompt", "--image")
    one_error_line(capsys, [*base, "--image", image_path], "--prompt")
    one_error_line(capsys, [*base, "--image", missing, "--prompt", "x"], missing, "no such file")
    one_error_line(capsys, [*base, "--image", text, "--prompt", "x"], text, "not a PNG")
    one_error_line(capsys, [*base, "--image", cut, "--prompt", "x"], cut, "not a readable image")
    one_error_line(capsys, [*base, "--datasets", "scene-text"], "scenes-text")
    one_error_line(capsys, [*base, "--model", "tiny-lava"], "tiny-llava")
    one_error_line(capsys, ["run", "--plan", missing], missing)
    one_error_line(capsys, ["profile", "--keep", "1.5"], "--keep 1.5", "(0, 1]")
    one_error_line(capsys, ["profile", "--datasets", "refcocoo"], "refcocoo")
    one_error_line(capsys, ["profile", "--datasets", ","], "--datasets")
    one_error_line(capsys, ["profile", "--model", str(tmp_path)], "config.json")


def test_plan_for_another_model_is_refused(capsys, tmp_path):
    model = ModelInfo(name="tiny-llava", num_layers=12, visual_tokens=144)
    path = Plan(model=model, stages=(Stage(layer=3, keep=0.5),)).save(tmp_path / "plan.json")
    arguments = ["run", "--plan", path, "--datasets", "scenes-qa", "--samples", 2]
    one_error_line(capsys, arguments, "12 layers")


def test_profile_then_plan_then_run_by_name(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["profile", "--datasets", "scenes-qa", "--samples", "6", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["samples"] == {"scenes-qa": 6}
    assert (tmp_path / document["path"] / "profile.json").is_file()
    assert main(["plan", "--budget", "3"]) == 0
    assert main(["run", "--plan", "plan.json", "--datasets", "scenes-qa", "--samples", "2"]) == 0
    assert "vanilla" in capsys.readouterr().out


def test_brackets_in_the_names_of_files_are_no_markup(
    capsys, plan_path, image_path, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    (tmp_path / "x[").mkdir()
    plan, data, folder, page = "x[/bold].json", "x[/dim].jsonl", "x[/red]", "x[/bold].html"
    (tmp_path / plan).write_text(plan_path.read_text())
    (tmp_path / "x[" / "i.png").write_bytes(image_path.read_bytes())
    sample = get_dataset("scenes-qa").sample("test", 0)
    line = {"image": "i.png", "question": sample.question, "answers": sample.answers}
    (tmp_path / data).write_text(f"{json.dumps(line)}\n")

    def shown(*arguments):
        assert main(list(arguments)) == 0, capsys.readouterr()
        return capsys.readouterr().out

    said = shown("eval", "--methods", plan, "--datasets", data, "--out", folder)
    assert plan in said
    assert f"Wrote {folder}/results.md" in said
    assert f"Wrote {page}" in shown("report", folder, "--out", page)
    once = ("--repeats", "1", "--max-new-tokens", "1")
    assert plan in shown("bench", "--methods", plan, *once)
    assert f"Wrote {folder}p/" in shown("profile", "--datasets", data, "--out", f"{folder}p")
    assert f"Wrote {plan}" in shown("plan", "--bootstrap", "0", "--out", plan)
    assert f"Wrote {folder}a/curve.png" in shown("analyze", "curve", "--out", f"{folder}a")


def test_lists(capsys):
    assert main(["models", "--json"]) == 0
    assert "tiny-llava" in [m["name"] for m in json.loads(capsys.readouterr().out)["models"]]
    assert main(["datasets", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["datasets"]
    assert all("synthetic" in d["description"] for d in listed if d["name"].startswith("scenes"))


def test_demo_in_small(capsys, tmp_path):
    arguments = ["demo", "--samples", "4", "--out", str(tmp_path), "--model", "tiny-llava-plain"]
    assert main([*arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    rows = {row["label"]: row for row in document["results"]["rows"]}
    assert list(rows) == ["vanilla", "paper's plan", "often (ours)", "drop", "random"]
    for name, label in (("plan", "paper's plan"), ("often", "often (ours)")):
        plan = Plan.load(tmp_path / f"{name}.json")
        assert plan.to_dict() == document[name]
        assert rows[label]["pruning_layers"] == list(plan.pruning_layers)
    paper, often = (rows[label]["tflops"] for label in ("paper's plan", "often (ours)"))
    assert often == pytest.approx(paper, rel=0.01)
    page = (tmp_path / "demo.html").read_text()
    for text in (
        "At the same FLOPs, of the unpruned model",
        "<table",
        "paper&#39;s plan: ",
        "Our plan, often, at the same FLOPs: ",
    ):
        assert text in page
    assert main(arguments) == 0  # everything is measured, so it only shows
    shown = " ".join(capsys.readouterr().out.split())
    assert "That is the paper's plan. Ours, often, costs the same FLOPs" in shown
    assert "At the same FLOPs, of the unpruned model's score: paper's plan keeps" in shown
    assert main(["demo", "--model", "llava-1.5-7b"]) == 2
    assert "--model llava-1.5-7b: is not bundled" in capsys.readouterr().err
    with Image.open(tmp_path / "curve.png") as picture:
        assert picture.width > 600
