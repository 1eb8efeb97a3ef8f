"""Profile, plan and run, as typed, on models whose images differ in their visual tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from swiftprof.cli.app import main
from swiftprof.data.registry import get_dataset
from swiftprof.models.registry import ModelInfo
from swiftprof.planning.plan_file import Plan, Source, Stage

SIZES = [(40, 24), (24, 40), (44, 20)]


@pytest.mark.parametrize("name", ["llava_next", "qwen3_vl"])
def test_profile_and_run(
    build: Any,
    folder_of: Any,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What the model says to questions of our own is right by definition, so vanilla scores 1."""
    monkeypatch.chdir(tmp_path)
    case = build(name)
    folder_of(case, tmp_path / "model")
    vlm, rows, file = case.vlm, [], Path("mine.jsonl")
    for i, size in enumerate(SIZES):
        picture = Image.effect_noise(size, 60 + i).convert("RGB")
        picture.save(f"{i}.png")
        rows.append({"image": f"{i}.png", "question": f"w{i} w{i + 9}", "answers": ["?"]})
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    new = get_dataset(str(file)).max_new_tokens
    counts = set()
    for row in rows:
        with Image.open(row["image"]) as picture:
            inputs = vlm.inputs([picture], [row["question"]])
        counts.add(int(case.visual(inputs).sum()))
        ids = vlm.model.generate(**inputs, do_sample=False, max_new_tokens=new)
        row["answers"] = vlm.decode(ids[:, inputs["input_ids"].shape[1] :])
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert len(counts) > 1

    def command(*arguments: object) -> Any:
        code = main([*(str(a) for a in arguments), "--json"])
        out, err = capsys.readouterr()
        assert code == 0, err
        return json.loads(out)

    profile = command("profile", "--model", "model", "--datasets", file, "--out", "p")
    assert profile["vanilla"] == {"mine": 1.0}
    assert profile["settings"]["model"]["visual_tokens"] is None
    assert profile["curve"].keys() == {str(layer) for layer in range(2, 9)}
    assert min(profile["curve"].values()) < 1  # selections do change answers

    source = command("plan", "p", "--ratio", 0.6, "--layers", "4,6")["source"]
    plan = Plan(
        model=ModelInfo.model_validate(profile["settings"]["model"]),
        stages=(Stage(layer=4, keep=0.5, merge=0.05), Stage(layer=6, keep=0.1)),
        source=Source.model_validate(source),
    )
    plan.save(Path("plan.json"))
    vanilla, pruned = command(  # the plan brings model and data
        "run", "--plan", "plan.json", "--samples", 3
    )["rows"]
    assert vanilla["scores"]["mine"]["score"] == 1.0
    assert pruned["scores"]["mine"]["score"] < 1
    assert min(counts) <= vanilla["retained"]["mean"] <= max(counts)
    share = (4 + 0.55 + 0.1 * 3) / 8  # layers 5 and 6 to 8; the first stage is after its layer
    assert pruned["retained"]["mean"] == pytest.approx(
        vanilla["retained"]["mean"] * share, rel=0.05
    )
    answer = command(
        *("run", "--plan", "plan.json", "--model", "model", "--image", "0.png"),
        *("--prompt", "w1 w2", "--compare", "--max-new-tokens", 3),
    )
    assert answer["visual_tokens"] in counts
