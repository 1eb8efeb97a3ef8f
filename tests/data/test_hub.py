"""Sets on the Hub: fallbacks, revisions, reading in part, working without a network later."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError
from PIL import Image

from swiftprof.data.drawing import draw
from swiftprof.data.registry import get_dataset
from swiftprof.errors import SwiftprofError

REVISION = "0123456789abcdef0123456789abcdef01234567"


def made(kind):
    """An error of the Hub's library without the HTTP answer that it carries."""
    error = kind.__new__(kind)
    error.args = (kind.__name__,)
    return error


class FakeHub:
    """The Hub as far as it is used, over the local repositories; counts what is read."""

    def __init__(self, root, monkeypatch):
        self.root = root
        self.online = True
        self.absent = set()
        self.opened = []
        self.downloaded = []
        self.bytes = 0
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr(
            "huggingface_hub.HfApi.dataset_info", lambda _, id, timeout: self.info(id)
        )
        monkeypatch.setattr(
            "huggingface_hub.HfFileSystem.open",
            lambda _, address, mode, **__: self.open(address, mode),
        )
        monkeypatch.setattr("huggingface_hub.hf_hub_download", self.download)
        import datasets

        self.real_builder = datasets.load_dataset_builder
        monkeypatch.setattr("datasets.load_dataset_builder", self.builder)

    def info(self, id):
        if not self.online:
            raise OSError("Name or service not known")
        if id in self.absent:
            from huggingface_hub.errors import RepositoryNotFoundError

            raise made(RepositoryNotFoundError)
        return SimpleNamespace(sha=REVISION)

    def builder(self, id, config=None, revision=None):
        if revision is None:
            return self.real_builder(id, config)  # a local copy
        current = f"lmms-lab-encoder/{id.split('/')[1]}" if id.startswith("lmms-lab/") else id
        folder = self.root / current
        builder = self.real_builder(str(folder), config)
        files = {
            split: [f"hf://datasets/{id}@{revision}/" + f.split(f"{folder}/")[1] for f in paths]
            for split, paths in builder.config.data_files.items()
        }
        return SimpleNamespace(config=SimpleNamespace(data_files=files, name=config))

    def local(self, address):
        id, _, path = address.removeprefix("hf://datasets/").partition(f"@{REVISION}/")
        return self.root / id.replace("lmms-lab/", "lmms-lab-encoder/") / path

    def open(self, address, mode):
        if not self.online:
            raise OSError("Name or service not known")
        self.opened.append(address)
        hub = self

        class Counted(io.BytesIO):
            def read(self, n=-1):
                content = super().read(n)
                hub.bytes += len(content)
                return content

        return Counted(self.local(address).read_bytes())

    def download(self, repository, path, repo_type, revision):
        if not self.online:
            raise OSError("Name or service not known")
        self.downloaded.append(path)
        return str(self.local(f"hf://datasets/{repository}@{revision}/{path}"))


@pytest.fixture
def hub(data_root, monkeypatch):
    return FakeHub(data_root, monkeypatch)


def test_small_sets_are_downloaded_whole_and_their_revision_is_recorded(hub):
    dataset = get_dataset("pope")
    assert dataset.size("random") == 4
    assert dataset.source("random") == f"lmms-lab-encoder/POPE@{REVISION}"
    assert hub.downloaded == ["Full/random-00000-of-00001.parquet"]
    assert not hub.opened


def test_an_older_address_is_tried_where_the_new_one_is_gone(hub):
    hub.absent = {"lmms-lab-encoder/POPE"}
    dataset = get_dataset("pope")
    assert dataset.size("random") == 4
    assert dataset.source("random") == f"lmms-lab/POPE@{REVISION}"


def test_large_sets_are_read_in_part_and_kept(hub, repositories, tmp_path):
    """40 row groups of images; ten samples of one block need at most ten of them."""
    noise = Image.effect_noise((96, 96), 90)
    rows = [
        {
            "question_id": i,
            "question": f"q{i}?",
            "image": {"bytes": repositories.encoded(noise.rotate(i)), "path": None},
            "answers": ["yes"] * 10,
        }
        for i in range(200)
    ]
    schema = [
        ("question_id", repositories.INT),
        ("question", repositories.TEXT),
        ("image", repositories.IMAGE),
        ("answers", repositories.TEXTS),
    ]
    hub.root = tmp_path / "hub"
    folder = hub.root / "Multimodal-Fatima" / "VQAv2_train"
    repositories.write(folder, rows, schema, "train", files=2, row_group_size=5)
    repositories.readme(folder, {"default": {"train": "data/train-*"}})
    whole = sum(f.stat().st_size for f in folder.rglob("*.parquet"))
    dataset = get_dataset("vqav2")
    drawn = draw(dataset, "train", 10, 0)
    got = {i: dataset.sample("train", i) for i in drawn}
    assert [got[i].id for i in drawn] == [str(i) for i in drawn]
    kept = list((tmp_path / "cache").rglob("group-*.parquet"))
    assert 2 <= len(kept) <= 10
    assert hub.bytes < 0.5 * whole
    hub.online = False
    again = get_dataset("vqav2")
    assert draw(again, "train", 10, 0) == drawn
    for i in drawn:
        assert again.sample("train", i).image.tobytes() == got[i].image.tobytes()
    assert again.source("train").endswith(REVISION)
    other = next(i for i in range(200) if i // 5 not in {d // 5 for d in drawn})
    with pytest.raises(SwiftprofError, match=r"cannot read.*run the same command again"):
        again.sample("train", other)


def test_a_draw_does_not_depend_on_where_the_files_are(hub, data_root):
    for name, split in (
        ("gqa", "train"),
        ("textvqa", "train"),
        ("refcoco", "testA"),
        ("mme", "test"),
    ):
        local, remote = get_dataset(name, data_root), get_dataset(name)
        drawn = draw(local, split, 4, 5)
        assert draw(remote, split, 4, 5) == drawn
        for i in drawn:
            assert remote.sample(split, i).id == local.sample(split, i).id


def test_no_network_says_what_to_do(hub):
    hub.online = False
    with pytest.raises(SwiftprofError) as caught:
        get_dataset("textvqa").size("train")
    for part in ("textvqa", "not known", "`data_root`", "hf download lmms-lab-encoder/textvqa"):
        assert part in str(caught.value)


def test_a_snapshot_in_the_hubs_cache_serves_without_a_network(hub, data_root, monkeypatch):
    hub.online = False

    def snapshot(id, repo_type, local_files_only):
        if id != "lmms-lab/POPE":
            raise made(LocalEntryNotFoundError)
        return str(data_root / "lmms-lab-encoder" / "POPE")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    dataset = get_dataset("pope")
    assert dataset.size("popular") == 4
    assert dataset.source("popular") == "lmms-lab/POPE@POPE"  # the folder's name is the revision
    with pytest.raises(SwiftprofError, match="not in the cache"):
        get_dataset("mme").size("test")


def test_offline_mode_does_not_ask(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SwiftprofError, match="HF_HUB_OFFLINE is set"):
        get_dataset("pope").size("random")


def test_gated_sets_say_so(hub, monkeypatch):
    from huggingface_hub.errors import GatedRepoError

    def info(*_, **__):
        raise made(GatedRepoError)

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", info)
    with pytest.raises(SwiftprofError, match=r"gated.*hf auth login"):
        get_dataset("pope").size("random")


def test_a_split_that_went_away_is_named(hub, monkeypatch):
    monkeypatch.setattr(
        "datasets.load_dataset_builder",
        lambda *_, **__: SimpleNamespace(config=SimpleNamespace(data_files={"tests": []})),
    )
    with pytest.raises(SwiftprofError, match=r"no split 'test'.*did you mean 'tests'"):
        get_dataset("mme").size("test")
