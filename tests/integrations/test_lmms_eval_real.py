"""lmms-eval itself, on a task of its own in a folder: the scores are those of `swiftprof.evaluate`.

Runs where lmms-eval is installed (`pip install 'swiftprof[lmms]'`).
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from swiftprof.data.registry import get_dataset
from swiftprof.models.registry import ModelInfo
from swiftprof.planning.plan_file import Plan, Stage

pytest.importorskip("lmms_eval.evaluator")

SAMPLES = 12
TASK = """
task: scenes_in_a_file
dataset_path: parquet
dataset_kwargs:
  data_files:
    test: {file}
test_split: test
output_type: generate_until
doc_to_visual: !function utils.picture
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
process_results: !function utils.score
generation_kwargs:
  max_new_tokens: 5
  temperature: 0
  do_sample: false
metric_list:
  - metric: right
    aggregation: mean
    higher_is_better: true
"""
UTILS = """
import io
from PIL import Image

def picture(doc):
    return [Image.open(io.BytesIO(doc["picture"])).convert("RGB")]

def score(doc, results):
    return {"right": float(results[0].strip().lower() == doc["answer"].strip().lower())}
"""


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """The first samples of the bundled questions, as anyone's task of lmms-eval."""
    dataset = get_dataset("scenes-qa")
    rows = []
    for index in range(SAMPLES):
        sample = dataset.sample("test", index)
        out = io.BytesIO()
        sample.image.save(out, "PNG")  # type: ignore[union-attr]
        rows.append(
            {"question": sample.question, "answer": sample.answers[0], "picture": out.getvalue()}
        )
    folder = tmp_path / "tasks"
    folder.mkdir()
    file = folder / "scenes.parquet"
    pq.write_table(pa.Table.from_pylist(rows), file)
    (folder / "scenes.yaml").write_text(TASK.format(file=file))
    (folder / "utils.py").write_text(UTILS)
    return folder


def test_scores_equal_ours_with_and_without_a_plan_batches_included(
    bundled: Any, task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lmms_eval.evaluator import simple_evaluate
    from lmms_eval.tasks import TaskManager

    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    model = ModelInfo(name="tiny-llava", num_layers=bundled.num_layers, visual_tokens=144)
    plan = Plan(model=model, method="random", stages=(Stage(layer=2, keep=0.1),))
    plan.save(tmp_path / "plan.json")

    from swiftprof.evaluation.answer import answer_samples

    variants = {"vanilla": None, "plan": plan}
    ours, _ = answer_samples(bundled, get_dataset("scenes-qa"), "test", range(SAMPLES), variants)
    for name, batch in (("vanilla", 1), ("plan", 5)):
        asked = "pretrained=tiny-llava,device=cpu"
        asked += f",plan={tmp_path / 'plan.json'}" if name == "plan" else ""
        found = simple_evaluate(
            model="swiftprof",
            model_args=asked,
            tasks=["scenes_in_a_file"],
            task_manager=TaskManager(include_path=str(task), include_defaults=False),
            batch_size=batch,
            log_samples=True,
        )
        wanted = [a.score for a in ours if a.variant == name]
        samples = sorted(found["samples"]["scenes_in_a_file"], key=lambda s: s["doc_id"])
        assert [s["right"] for s in samples] == wanted
        assert found["results"]["scenes_in_a_file"]["right,none"] == sum(wanted) / SAMPLES
    assert sum(a.score for a in ours if a.variant == "vanilla") > 8
