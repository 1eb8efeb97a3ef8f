"""Whatever is wrong with a model is told in one line, with what to type next."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from swiftprof.cli.app import main
from swiftprof.models.registry import bundled_folder

ANSWERS = {
    "gated": (403, "GatedRepo"),
    "missing": (401, "RepoNotFound"),
    "revision": (404, "RevisionNotFound"),
    "empty": (404, "EntryNotFound"),
}


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    """A server that refuses as the hub does, by the repository's name."""

    class Refuse(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            name = next((n for n in ANSWERS if f"/{n}" in self.path), "missing")
            status, code = ANSWERS[name]
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_HEAD

        def log_message(self, *_: Any) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Refuse)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def complaint(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., str]:
    """Run the command line on bad input; the one line that it says, after code 2."""

    def run(*arguments: object, endpoint: str | None = None) -> str:
        from huggingface_hub import constants

        if endpoint is not None:
            monkeypatch.setattr(constants, "ENDPOINT", endpoint)
            monkeypatch.setattr(
                constants,
                "HUGGINGFACE_CO_URL_TEMPLATE",
                endpoint + "/{repo_id}/resolve/{revision}/{filename}",
            )
        code = main([str(a) for a in ("profile", "--datasets", "scenes-ref", *arguments)])
        out, err = capsys.readouterr()
        assert (code, out) == (2, ""), err
        lines = [line for line in err.splitlines() if not line.startswith("loading")]
        assert len(lines) == 1, err
        return lines[0]

    return run


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("gated", "is gated; accept its terms at https://huggingface.co/acme/gated"),
        ("missing", "the hub has no acme/missing, or it is private; check the spelling"),
        ("empty", "has no config.json with a model_type"),
    ],
)
def test_what_the_hub_refuses(complaint: Any, hub: str, name: str, wanted: str) -> None:
    assert wanted in complaint("--model", f"acme/{name}", endpoint=hub)


def test_a_revision_that_is_not_there(complaint: Any, hub: str) -> None:
    said = complaint("--model", "acme/revision", "--revision", "v9", endpoint=hub)
    assert "--revision v9: acme/revision has no such commit, tag or branch" in said


def test_no_network(complaint: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # the hub's client tries again
    said = complaint("--model", "llava-1.5-7b", endpoint="http://127.0.0.1:9")
    assert "not in the local cache and the hub cannot be reached" in said
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "hf download llava-hf/llava-1.5-7b-hf" in complaint("--model", "llava-1.5-7b")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the bundled model, to be broken."""
    return Path(shutil.copytree(bundled_folder(), tmp_path / "model"))


def write(folder: Path, **fields: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **fields}))


def test_folders_of_the_wrong_shape(complaint: Any, folder: Path, tmp_path: Path) -> None:
    def said() -> str:
        return str(complaint("--model", folder))

    whole = {each: each.read_bytes() for each in folder.iterdir() if each.is_file()}
    (folder / "processor_config.json").unlink()
    assert f"cannot be loaded from {folder}" in said()
    for path, content in whole.items():
        path.write_bytes(content)
    weights = folder / "model.safetensors"
    index = folder / "model.safetensors.index.json"
    weights.rename(folder / "one.safetensors")
    for text in (json.dumps({"weight_map": {"a": "two.safetensors"}}), "["):
        index.write_text(text)
        assert f"cannot be loaded from {folder}" in said()
    index.unlink()
    (folder / "one.safetensors").rename(folder / "pytorch_model.bin")
    assert "model.safetensors" in said()  # pickled weights can run any code and are not opened
    (folder / "config.json").write_text("{}")
    assert "has no config.json with a model_type" in said()
    (folder / "config.json").write_text("{")
    assert f"cannot be loaded from {folder}" in said()
    (folder / "config.json").unlink()
    assert "no config.json" in said()
    (folder / "adapter_config.json").write_text("{}")
    assert "an adapter without its base model" in said()
    assert "unknown model" in complaint("--model", tmp_path / "nowhere")


def test_families_that_are_not_supported(complaint: Any, folder: Path) -> None:
    write(folder, model_type="llama")
    said = complaint("--model", folder)
    assert "models of type 'llama' are not supported: supported are LLaVA-1.5 (llava)" in said
    assert "Qwen3-VL (qwen3_vl, qwen3_vl_moe)" in said
    write(folder, model_type="llava_llama")
    assert "LLaVA's own code; take llava-hf/llava-1.5-7b-hf" in complaint("--model", folder)


def test_weights_that_are_cut_off(complaint: Any, folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    assert f"cannot be loaded from {folder}" in complaint("--model", folder)


def test_not_enough_memory(
    complaint: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """The bundled model in a folder needs about 25 MB in float32."""
    from swiftprof.models import memory

    monkeypatch.setattr(memory, "free_memory", lambda device: 22 * 2**20)
    said = complaint("--model", folder)
    assert "on cpu (weights" in said
    assert "--ignore-memory" in said


def test_a_memory_estimate_is_close_to_what_is_used(folder: Path) -> None:
    from transformers import AutoConfig

    from swiftprof.models.loading import load
    from swiftprof.models.memory import estimate

    vlm = load(str(folder))
    need = estimate(AutoConfig.from_pretrained(folder), vlm.family, "float32")
    real = sum(p.numel() * p.element_size() for p in vlm.model.parameters())
    assert need.weights == real
    half = estimate(AutoConfig.from_pretrained(folder), vlm.family, "bfloat16")
    assert half.total * 2 == pytest.approx(need.total, rel=0.05)
    four = estimate(AutoConfig.from_pretrained(folder), vlm.family, "bfloat16", bits=4)
    assert four.weights < half.weights / 2


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--dtype", "int3"], "--dtype int3: take one of auto, float32, bfloat16, float16"),
        (["--device", "toaster"], "--device toaster: take cpu, cuda"),
        (["--attn", "sdpaa"], "--attn sdpaa: did you mean 'sdpa'"),
        (["--attn", "flash_attention_2", "--device", "cpu"], "FlashAttention needs a GPU"),
        (["--load-in-4bit", "--load-in-8bit"], "give only one of them"),
        (["--model-arg", "novalue"], "--model-arg novalue: must be name=value"),
        (["--model-arg", "a=1", "--model-arg", "a=2"], "--model-arg a: given twice"),
        (["--model-arg", "frobnicate=1"], "frobnicate"),
    ],
)
def test_options(complaint: Any, arguments: list[str], wanted: str) -> None:
    assert wanted in complaint(*arguments)


def test_model_arguments_reach_model_and_processor(folder: Path) -> None:
    from swiftprof.models.loading import load
    from swiftprof.models.settings import parse_model_args

    given = parse_model_args(["processor.num_additional_image_tokens=1", "vision_feature_layer=-2"])
    vlm = load(str(folder), model_args=given)
    assert vlm.model.config.vision_feature_layer == -2
    assert vlm.loading == (
        "processor.num_additional_image_tokens=1",
        "vision_feature_layer=-2",
    )


def test_an_alias_that_does_not_exist(complaint: Any) -> None:
    assert "did you mean 'qwen2.5-vl-7b'" in complaint("--model", "qwen2.5vl-7b")
