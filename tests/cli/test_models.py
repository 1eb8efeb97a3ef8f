"""`swiftprof models` and `swiftprof doctor`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[..., Any]


def test_models_lists_families_aliases_layers_and_licences(swiftprof: Run) -> None:
    found = swiftprof("models", "--json").document
    families = {f["name"]: f for f in found["families"]}
    assert {"llava", "llava-next", "llava-onevision", "qwen2.5-vl", "qwen3-vl"} <= families.keys()
    assert {"internvl", "smolvlm"} <= families.keys()
    assert families["smolvlm"]["model_types"] == ["smolvlm", "idefics3"]
    models = {m["name"]: m for m in found["models"]}
    assert models["llava-1.5-7b"] == {
        "name": "llava-1.5-7b",
        "id": "llava-hf/llava-1.5-7b-hf",
        "family": "LLaVA-1.5",
        "layers": 32,
        "nominal_tokens": 576,
        "licence": "llama2",
        "revision": None,
        "bundled": False,
    }
    assert models["qwen2.5-vl-7b"]["layers"] == 28
    assert models["qwen2.5-vl-7b"]["nominal_tokens"] is None
    for bundled in ("tiny-llava", "tiny-llava-plain"):
        assert models[bundled]["bundled"]
        assert (models[bundled]["layers"], models[bundled]["nominal_tokens"]) == (24, 144)
    assert all(m["layers"] and m["licence"] for m in models.values())
    assert found["broken_plugins"] == {}


def test_models_for_people(swiftprof: Run) -> None:
    out = swiftprof("models").out
    for text in ("LLaVA-NeXT", "llava-next-7b-mistral", "32, llama2", "bundled, works offline"):
        assert text in out


def test_doctor_says_what_is_usable_and_what_to_do(swiftprof: Run) -> None:
    result = swiftprof("doctor", "--json")
    assert result.code == 0
    findings = {f["what"]: f for f in result.document["findings"]}
    assert result.document["usable"]
    assert findings["transformers"]["state"] == "ok"
    assert "GiB free" in findings["cpu"]["found"]
    assert "GiB free" in findings["disk"]["found"]
    assert "bundled: tiny-llava, tiny-llava-plain" in findings["weights"]["found"]
    for finding in findings.values():
        assert finding["state"] in ("ok", "note", "problem")
        assert finding["do"] or finding["state"] == "ok"
    assert "swiftprof[flash]" in swiftprof("doctor").out or findings["flash-attn"]["state"] == "ok"


def test_doctor_finds_what_is_broken(swiftprof: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from swiftprof.models import doctor

    monkeypatch.setattr(doctor, "requires", lambda name: ["numpy<1", "no-such-package>=2"])
    monkeypatch.setattr(doctor, "_ROOM", 2**60)
    document = swiftprof("doctor", "--json").document
    assert not document["usable"]
    findings = {f["what"]: f for f in document["findings"]}
    assert "is outside <1" in findings["numpy"]["found"]
    assert findings["no-such-package"]["do"] == 'pip install "no-such-package>=2"'
    assert "HF_HOME" in findings["disk"]["do"]


@pytest.mark.parametrize(
    ("alias", "visual"), [("qwen2.5-vl-7b", 391), ("smolvlm", 1377), ("qwen3-vl-8b", 300)]
)
def test_costs_of_every_alias_need_no_download(swiftprof: Run, alias: str, visual: int) -> None:
    found = swiftprof("flops", "--model", alias, "--visual-tokens", visual, "--json").document
    assert found["tflops"] > 0
    complaint = swiftprof("flops", "--model", alias).complaint
    assert "--visual-tokens: needed" in complaint
