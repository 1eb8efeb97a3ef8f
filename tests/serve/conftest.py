"""A server of the bundled model, in this process, on a free port."""

from __future__ import annotations

import base64
import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import openai
import pytest
import uvicorn

from swiftprof.data.registry import get_dataset
from swiftprof.models.registry import ModelInfo
from swiftprof.planning.plan_file import Plan, Stage
from swiftprof.serve.app import create_app
from swiftprof.serve.catalog import catalog
from swiftprof.serve.server import allowed_hosts, listen
from swiftprof.serve.service import Limits, Service


@dataclass(frozen=True)
class Running:
    """A server that runs."""

    url: str
    service: Service

    def client(self, key: str = "none") -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=60)


@contextmanager
def running(service: Service, **options: Any) -> Iterator[Running]:
    listening = listen("127.0.0.1", 0)
    app = create_app(service, hosts=allowed_hosts("127.0.0.1"), **options)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="on"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    end = time.monotonic() + 60
    while not server.started:
        assert time.monotonic() < end, "the server did not start"
        time.sleep(0.01)
    try:
        yield Running(f"http://127.0.0.1:{listening.getsockname()[1]}", service)
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def run_server() -> Callable[..., Any]:
    """A context manager that serves a `Service`."""
    return running


@pytest.fixture(scope="session")
def plan(bundled: Any) -> Plan:
    """Two stages; few tokens, so that answers differ from the unpruned model's."""
    return Plan(
        model=ModelInfo(name="tiny-llava", num_layers=bundled.num_layers, visual_tokens=144),
        stages=(Stage(layer=3, keep=0.2, merge=0.05), Stage(layer=8, keep=0.05)),
    )


@pytest.fixture(scope="session")
def server(bundled: Any, plan: Plan) -> Iterator[Running]:
    """The bundled model, unpruned and by a plan at two budgets."""
    variants = catalog({"tight": plan}, ["1/2"])
    with running(Service(bundled, variants, Limits(batch=4, images=3))) as found:
        yield found


@pytest.fixture(scope="session")
def client(server: Running) -> openai.OpenAI:
    return server.client()


def data_uri(image: Any) -> str:
    content = io.BytesIO()
    image.save(content, "PNG")
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()


@dataclass(frozen=True)
class Question:
    """A picture and a question, with the messages that ask it."""

    image: Any
    text: str

    @property
    def content(self) -> list[dict[str, Any]]:
        picture = {"type": "image_url", "image_url": {"url": data_uri(self.image)}}
        return [picture, {"type": "text", "text": self.text}]

    @property
    def messages(self) -> Any:
        return [{"role": "user", "content": self.content}]


@pytest.fixture(scope="session")
def questions() -> list[Question]:
    """Questions of all three bundled sets."""
    names = ("scenes-ref", "scenes-text", "scenes-qa")
    samples = [get_dataset(names[i % 3]).sample("test", i) for i in range(12)]
    return [Question(s.image, s.question) for s in samples]
