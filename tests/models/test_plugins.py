"""A family of another package: the example of docs/models.md, really installed and run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from PIL import Image

from swiftprof.cli.app import main
from swiftprof.errors import SwiftprofError
from swiftprof.models.loading import load
from swiftprof.models.registry import bundled_folder, find_model, plugins
from swiftprof.profiling.steps import check_steps
from swiftprof.runtime.prune import prune

GUIDE = Path(__file__).parents[2] / "docs" / "models.md"


def install(folder: Path, module: str, code: str, points: str) -> None:
    """What pip leaves behind: a module, and its package's metadata with entry points."""
    (folder / f"{module}.py").write_text(code)
    metadata = folder / f"{module}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[swiftprof.models]\n{points}\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder of installed packages."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    plugins.cache_clear()
    yield folder
    plugins.cache_clear()


@pytest.fixture
def guide(site: Path) -> None:
    """The guide's example, as it stands there."""
    text = GUIDE.read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    (toml,) = re.findall(r"```toml\n(.*?)```", text, re.S)
    assert toml.splitlines()[0] == '[project.entry-points."swiftprof.models"]'
    install(site, "my_families", code, toml.splitlines()[1].replace('"', ""))
    assert len(code.splitlines()) < 26


def vip_llava(folder: Path) -> Any:
    """A tiny random ViP-LLaVA with the bundled model's processor and vocabulary."""
    own = hf.AutoConfig.from_pretrained(bundled_folder())
    config = hf.VipLlavaConfig(
        vision_config=own.vision_config,
        text_config={**own.text_config.to_dict(), "num_hidden_layers": 6},
        image_token_id=own.image_token_id,
        vision_feature_layers=[-1],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = hf.VipLlavaForConditionalGeneration(config).eval()
    model.save_pretrained(folder)
    for path in bundled_folder().iterdir():
        if path.name not in ("config.json", "model.safetensors", "generation_config.json"):
            (folder / path.name).write_bytes(path.read_bytes())
    return model


@pytest.mark.usefixtures("guide")
def test_the_guides_family_loads_prunes_and_profiles(tmp_path: Path, plan_of: Any) -> None:
    folder = tmp_path / "vip"
    folder.mkdir()
    vip_llava(folder)
    vlm = load(str(folder))
    assert vlm.family.title == "ViP-LLaVA"
    assert vlm.visual_tokens == 144
    assert vlm.conventions.image_fit == "pad"
    check_steps(vlm.model)
    inputs = vlm.inputs([Image.new("RGB", (96, 96), "red")], ["what color"])
    assert int((inputs["input_ids"] == vlm.image_token_id).sum()) == 144
    with torch.no_grad():
        vanilla = vlm.model(**inputs).logits[:, -1]
        with prune(vlm.model, plan_of((3, 1.0), num_layers=6)):
            assert torch.equal(vlm.model(**inputs).logits[:, -1], vanilla)
        with prune(vlm.model, plan_of((3, 0.1), num_layers=6)):
            assert not torch.equal(vlm.model(**inputs).logits[:, -1], vanilla)


@pytest.mark.usefixtures("guide")
def test_the_commands_know_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert find_model("vip-llava-7b").id == "llava-hf/vip-llava-7b-hf"
    assert main(["models", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [f["title"] for f in document["families"] if f["plugin"]] == ["ViP-LLaVA"]
    assert {m["name"]: m["layers"] for m in document["models"]}["vip-llava-7b"] == 32
    assert main(["flops", "--model", "vip-llava-7b", "--visual-tokens", "576", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tflops"] == pytest.approx(4.29, abs=0.01)


def test_without_it_the_model_is_refused(tmp_path: Path, site: Path) -> None:
    folder = tmp_path / "vip"
    folder.mkdir()
    vip_llava(folder)
    with pytest.raises(SwiftprofError, match=r"'vipllava' are not supported.*docs/models.md"):
        load(str(folder))


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("raise RuntimeError('no luck')", "RuntimeError: no luck"),
        ("print('hello')\nraise SystemExit(1)", "SystemExit: 1"),
        ("FAMILY = 7", "is a int"),
        ("from swiftprof.models.families.llava import LLAVA as FAMILY", "llava is taken"),
    ],
)
def test_a_broken_plugin_spoils_only_itself(
    site: Path, capsys: pytest.CaptureFixture[str], code: str, why: str
) -> None:
    module = f"broken_{abs(hash(code))}"
    install(site, module, code, f"odd = {module}:FAMILY")
    assert main(["models"]) == 0
    out, err = capsys.readouterr()
    assert "llava-1.5-7b" in out
    assert "hello" not in out
    assert f"family 'odd' of the package {module} ({module}:FAMILY)" in err
    assert why in err
    assert main(["doctor", "--json"]) == 0
    assert not json.loads(capsys.readouterr().out)["usable"]
    with pytest.raises(SwiftprofError, match=f"family 'odd' of the package {module}"):
        load_llama(site)


def load_llama(folder: Path) -> None:
    where = folder / "llama"
    where.mkdir()
    (where / "config.json").write_text('{"model_type": "llama"}')
    (where / "model.safetensors").write_bytes(b"")
    (where / "processor_config.json").write_text("{}")
    load(str(where))
