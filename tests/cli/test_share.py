"""Sharing a plan, and reading a shared one: against a hub of our own on this machine."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from swiftprof.errors import SwiftprofError
from swiftprof.planning.plan_file import Plan
from swiftprof.report.sharing import prepare

Run = Callable[..., Any]


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as an upload and a download of small files ask for."""

    store: dict[str, bytes]
    commit = "c" * 40

    def answer(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def send_json(self, document: Any) -> None:
        self.answer(200, json.dumps(document).encode(), Content_Type="application/json")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.endswith("/repos/create"):
            self.send_json({"url": f"{self.server.url}/owner/name", "name": "owner/name"})  # type: ignore[attr-defined]
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            kept = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files
            ]
            self.send_json({"files": kept})
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.store[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            url = f"{self.server.url}/owner/name/commit/{self.commit}"  # type: ignore[attr-defined]
            self.send_json({"commitOid": self.commit, "commitUrl": url, "success": True})
        else:
            self.send_json({})

    def do_GET(self) -> None:
        if "/resolve/" not in self.path:
            self.send_json({"id": "owner/name", "sha": self.commit, "siblings": []})
            return
        _, _, rest = self.path.partition("/resolve/")
        revision, _, name = rest.partition("/")
        if revision not in ("main", "v2", self.commit):
            self.answer(404, X_Error_Code="RevisionNotFound")
        elif "owner/name" not in self.path:
            self.answer(404, X_Error_Code="RepoNotFound")
        elif name not in self.store:
            self.answer(404, X_Error_Code="EntryNotFound")
        else:
            etag = f'"{hash(self.store[name]):x}"'
            self.answer(200, self.store[name], ETag=etag, X_Repo_Commit=self.commit)

    do_HEAD = do_GET

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, bytes]]:
    """What the hub holds, by file name."""
    from huggingface_hub import constants

    store: dict[str, bytes] = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Here", (Hub,), {"store": store}))
    url = f"http://127.0.0.1:{server.server_port}"
    server.url = url  # type: ignore[attr-defined]
    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", "hf_not_a_real_one_but_secret")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield store
    server.shutdown()
    server.server_close()


FILES = {"README.md", "curve.json", "curve.png", "plan.json", "report.html"}


def test_what_was_shared_is_planned_from_and_run_elsewhere(
    swiftprof: Run, hub: dict[str, bytes], made_profile: Any
) -> None:
    sent = swiftprof("share", made_profile.path, "--to", "owner/name", "--json").document
    assert sent["sent"]
    assert set(sent["files"]) == set(hub) & FILES == FILES
    made = Plan.load("hf://owner/name")
    assert Plan.load("hf://owner/name@v2") == made
    assert made.pruning_layers == (3, 7, 11)
    assert made.source.datasets == ("scenes-ref", "scenes-qa")
    planned = swiftprof("plan", "hf://owner/name", "--budget", 2, "--ratio", "1/4", "--json")
    assert planned.document["model"]["name"] == "tiny-llava"
    assert len(planned.document["pruning_layers"]) == 2
    assert planned.document["expected"]["tflops"] is not None
    page = hub["report.html"].decode()
    for text in ("Layer 11 of 24", "Pruning layers 3, 7, 11", "swiftprof plan hf://owner/name"):
        assert text in page
    assert "swiftprof profile" not in page  # its data may be files of this machine
    assert len(page) < 300_000
    ask = ("--image", "scene-1", "--prompt", "Is there a red star?", "--json")
    assert swiftprof("run", "--plan", "hf://owner/name", *ask).code == 0


def test_no_samples_paths_or_tokens_are_shared(
    swiftprof: Run, hub: dict[str, bytes], made_profile: Any, tmp_path: Path
) -> None:
    swiftprof("share", made_profile.path, "--to", "owner/name")
    everything = b"\n".join(hub.values())
    for secret in (str(made_profile.path), str(Path.home()), "secret", "What color"):
        assert secret.encode() not in everything
    named = Plan.load("tiny-llava").model_copy(
        update={"notes": (f"planned in {made_profile.path.absolute()}",)}
    )
    with pytest.raises(SwiftprofError, match=r"plan.json would hold the path"):
        prepare(made_profile, named, "owner/name", tmp_path / "out")


def test_a_dry_run_shows_everything_and_sends_nothing(
    swiftprof: Run, hub: dict[str, bytes], made_profile: Any
) -> None:
    result = swiftprof("share", made_profile.path, "--to", "owner/name", "--dry-run")
    assert result.code == 0
    assert not hub
    for text in (*FILES, "Where tiny-llava can prune", "swiftprof run --plan hf://owner/name"):
        assert text in result.out


@pytest.mark.parametrize(
    ("reference", "wanted"),
    [
        ("hf://owner/name", "holds no plan.json"),
        ("hf://owner/name@v9", "has no such commit, tag or branch"),
        ("hf://owner/other", "the hub has no owner/other"),
        ("hf://owner", "must be hf://owner/name"),
    ],
)
def test_what_is_not_there_is_said(
    swiftprof: Run, hub: dict[str, bytes], reference: str, wanted: str
) -> None:
    said = swiftprof("flops", "--plan", reference).complaint
    assert said.startswith(reference)
    assert wanted in said
