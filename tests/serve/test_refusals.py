"""What is refused, in OpenAI's shape, with the field that is wrong."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest

from swiftprof.errors import BadParameter
from swiftprof.serve.catalog import catalog
from swiftprof.serve.errors import ApiError
from swiftprof.serve.request import parse
from swiftprof.serve.service import Limits, Service

HELLO = [{"role": "user", "content": "hello"}]


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        ([], None, "must be a JSON object"),
        ({"messages": HELLO}, "model", "required"),
        ({"model": "a", "messages": []}, "messages", "at least 1 item"),
        ({"model": "a", "messages": [{"role": "tool", "content": ""}]}, "messages[0].role", "user"),
        (
            {"model": "a", "messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            "messages[0].content[0]",
            "'image_url'",
        ),
        (
            {
                "model": "a",
                "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}],
            },
            "messages[0].content[0].image_url.url",
            "required",
        ),
        ({"model": "a", "messages": HELLO, "temperature": 3}, "temperature", "less than or equal"),
        ({"model": "a", "messages": HELLO, "top_p": 0}, "top_p", "greater than 0"),
        ({"model": "a", "messages": HELLO, "stop": ["a"] * 5}, "stop", "at most 4"),
        ({"model": "a", "messages": HELLO, "n": 2}, "n", "not supported"),
        ({"model": "a", "messages": HELLO, "tools": [{}]}, "tools", "not supported"),
        ({"model": "a", "messages": HELLO, "max_token": 2}, "max_token", "'max_tokens'"),
    ],
)
def test_a_request_is_checked_field_by_field(body: Any, param: str | None, says: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse(body)
    assert (caught.value.status, caught.value.param) == (400, param)
    assert says in caught.value.message


def test_what_asks_for_nothing_is_taken() -> None:
    asked = parse({"model": "a", "messages": HELLO, "n": 1, "tools": None, "user": "me"})
    assert asked.messages[0].content[0].type == "text"


def refused(client: Any, kind: Any, **changes: Any) -> Any:
    with pytest.raises(kind) as caught:
        client.chat.completions.create(**{"model": "vanilla", "messages": HELLO, **changes})
    return caught.value.body


def image(url: str) -> Any:
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]


def test_clients_raise_their_own_exceptions(client: Any, questions: Any) -> None:
    found = refused(client, openai.NotFoundError, model="gpt-4")
    assert found["code"] == "model_not_found"
    assert "tight@1/2" in found["message"]
    bad = openai.BadRequestError
    assert refused(client, bad, logprobs=True)["param"] == "logprobs"
    where = "messages[0].content[0].image_url.url"
    for url, says in (
        ("https://example.org/a.png", "--allow-urls"),
        ("data:image/png,abc", "not base64"),
        ("data:image/png;base64,a!", "not base64"),
        ("data:image/png;base64,aGVsbG8=", "not a PNG"),
    ):
        found = refused(client, bad, messages=image(url))
        assert (found["code"], found["param"]) == ("invalid_image", where)
        assert says in found["message"]
    four = [{"role": "user", "content": questions[0].content[:1] * 4}]
    assert refused(client, bad, messages=four)["code"] == "too_many_images"
    mark = [{"role": "user", "content": "what is an <image> ?"}]
    assert "leave it out" in refused(client, bad, messages=mark)["message"]
    for words in (600, 100_000):
        long = [{"role": "user", "content": "what " * words}]
        assert refused(client, bad, messages=long)["code"] == "context_length_exceeded"


def ask(url: str, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, json.loads(content) if content[:1] == b"{" else content


def test_what_no_client_sends(server: Any) -> None:
    def post(body: Any, **headers: str) -> tuple[int, Any]:
        kind = {"Content_Type": "application/json", **headers}
        return ask(server.url, "POST", "/v1/chat/completions", body, **kind)

    assert post("{")[0] == 400
    assert post("[" * 100_000)[0] == 400
    assert post("{}", Content_Type="text/plain")[0] == 415  # a form on a page elsewhere
    assert post("{}", Host="evil.example")[0] == 400  # a name that leads here from elsewhere
    assert ask(server.url, "GET", "/v1/nowhere")[1]["error"]["type"] == "invalid_request_error"
    assert ask(server.url, "GET", "/health")[1] == {"status": "ok", "waiting": 0}


def test_keys_and_sizes(run_server: Any, bundled: Any, plan: Any) -> None:
    service = Service(bundled, catalog({"tight": plan}), Limits(body=1000))
    with run_server(service, api_key="secret") as server:
        assert len(list(server.client("secret").models.list())) == 2
        for key in ("wrong", "secret1", "ſecret"):
            path = "/v1/models"
            status, body = ask(server.url, "GET", path, Authorization=f"Bearer {key!a}")
            assert (status, body["error"]["code"]) == (401, "invalid_api_key")
        assert ask(server.url, "GET", "/")[0] == 200
        with pytest.raises(openai.APIStatusError) as caught:
            server.client("secret").chat.completions.create(
                model="vanilla", messages=[{"role": "user", "content": "a" * 2000}]
            )
        assert caught.value.status_code == 413


def test_huge_pictures_are_refused(
    client: Any, questions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from swiftprof.data import images

    monkeypatch.setattr(images, "MAX_PIXELS", 99)
    found = refused(client, openai.BadRequestError, messages=questions[0].messages)
    assert "shrink it" in found["message"]


@pytest.mark.parametrize("ratio", ["2", "x", "1/0", "0.01"])
def test_budgets_that_cannot_be(plan: Any, ratio: str) -> None:
    with pytest.raises(BadParameter, match=ratio if ratio != "0.01" else "smallest"):
        catalog({"tight": plan}, [ratio])
