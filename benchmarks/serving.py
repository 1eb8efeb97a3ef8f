"""Load test of `swiftprof serve` on loopback: requests a second, and clients that hang up.

    swiftprof serve --plan plan.json --port 8000 &
    python benchmarks/serving.py --url http://127.0.0.1:8000 --models vanilla,plan

The same questions of the bundled sets are asked of every model one after another and by several
clients at once, in turns; then again while every third client hangs up in the middle of its stream.
A model's answers must be the same in all of it.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import io
import json
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from swiftprof.data.registry import BUNDLED, get_dataset


def bodies(model: str, count: int, stream: bool = False) -> list[bytes]:
    """Requests with one picture each."""
    found = []
    for number in range(count):
        sample = get_dataset(BUNDLED[number % len(BUNDLED)]).sample("test", number)
        content = io.BytesIO()
        picture: Any = sample.image
        picture.save(content, "PNG")
        url = "data:image/png;base64," + base64.b64encode(content.getvalue()).decode("ascii")
        parts = [
            {"type": "image_url", "image_url": {"url": url}},
            {"type": "text", "text": sample.question},
        ]
        message = {"role": "user", "content": parts}
        document = {"model": model, "messages": [message], "temperature": 0, "stream": stream}
        found.append(json.dumps(document).encode())
    return found


def ask(url: str, body: bytes, hang_up: bool = False) -> str | None:
    """An answer, or None after hanging up at the stream's second piece."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=300)
    path, kind = "/v1/chat/completions", {"Content-Type": "application/json"}
    try:
        connection.request("POST", path, body, kind)
        answer = connection.getresponse()
        if hang_up:
            answer.readline()
            return None
        content = answer.read()
        assert answer.status == 200, content
        return str(json.loads(content)["choices"][0]["message"]["content"])
    finally:
        connection.close()


def timed(url: str, requests: list[bytes], clients: int) -> tuple[list[str | None], float]:
    """Answers in order, and requests a second."""
    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        answers = list(pool.map(lambda body: ask(url, body), requests))
    return answers, len(requests) / (time.perf_counter() - began)


def hung_up(url: str, model: str, count: int, clients: int) -> tuple[list[bool], list[str | None]]:
    """Who hung up in the middle of a stream, and what the others were answered."""
    leaving = [n % 3 == 2 for n in range(count)]
    whole, streams = bodies(model, count), bodies(model, count, stream=True)
    given = [s if gone else r for s, r, gone in zip(streams, whole, leaving, strict=True)]
    with ThreadPoolExecutor(clients) as pool:
        return leaving, list(pool.map(lambda g: ask(url, *g), zip(given, leaving, strict=True)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--models", default="vanilla")
    parser.add_argument("--requests", type=int, default=96)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    requests = {model: bodies(model, args.requests) for model in args.models.split(",")}
    rates: dict[str, dict[str, list[float]]] = {
        model: {str(n): [] for n in (1, args.clients)} for model in requests
    }
    references: dict[str, list[str | None]] = {}
    same = True
    for turn in range(-1, args.repeats):  # the first warms up
        for clients in (1, args.clients):
            for model, asked in requests.items():
                answers, rate = timed(args.url, asked[:8] if turn < 0 else asked, clients)
                if turn >= 0:
                    same &= answers == references.setdefault(model, answers)
                    rates[model][str(clients)].append(round(rate, 2))
    found: dict[str, Any] = {"requests": args.requests, "answers_are_the_same": same}
    for model, seen in rates.items():
        leaving, answers = hung_up(args.url, model, args.requests, args.clients)
        pairs = zip(answers, references[model], leaving, strict=True)
        stayed = [a == b for a, b, gone in pairs if not gone]
        found[model] = {
            "requests_per_second": seen,
            "median": {n: statistics.median(each) for n, each in seen.items()},
            "hung_up": sum(leaving),
            "others": len(stayed),
            "others_answered_the_same": sum(stayed),
        }
    text = json.dumps(found, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
