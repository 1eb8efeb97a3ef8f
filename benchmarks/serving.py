"""Load test of `swiftprof serve` on loopback: requests a second, and clients that hang up.

    swiftprof serve --plan plan.json --port 8000 &
    python benchmarks/serving.py --url http://127.0.0.1:8000 --model plan --out serving.json

The same questions of the bundled sets are asked one after another and by several clients at once,
in turns; then again while every third client hangs up in the middle of its stream. Answers must be
the same in all of it.
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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--model", default="vanilla")
    parser.add_argument("--requests", type=int, default=96)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    requests = bodies(args.model, args.requests)
    timed(args.url, requests[:8], 4)  # warm up
    rates: dict[int, list[float]] = {1: [], args.clients: []}
    reference: list[str | None] | None = None
    same = True
    for _ in range(args.repeats):
        for clients, seen in rates.items():
            answers, rate = timed(args.url, requests, clients)
            reference = reference or answers
            same &= answers == reference
            seen.append(rate)
    streams = bodies(args.model, args.requests, stream=True)
    with ThreadPoolExecutor(args.clients) as pool:
        leaving = [n % 3 == 2 for n in range(args.requests)]
        given = [s if gone else r for s, r, gone in zip(streams, requests, leaving, strict=True)]
        answers = list(pool.map(lambda g: ask(args.url, *g), zip(given, leaving, strict=True)))
    assert reference is not None
    stayed = [(a, b) for a, b, gone in zip(answers, reference, leaving, strict=True) if not gone]
    found = {
        "model": args.model,
        "requests": args.requests,
        "requests_per_second": {str(n): [round(r, 2) for r in seen] for n, seen in rates.items()},
        "median": {str(n): round(statistics.median(seen), 2) for n, seen in rates.items()},
        "answers_are_the_same": same,
        "hung_up": sum(leaving),
        "others_answered_the_same": sum(a == b for a, b in stayed),
        "others": len(stayed),
    }
    text = json.dumps(found, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
