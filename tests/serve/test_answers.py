"""What OpenAI's own client gets: `generate()`'s answers, in batches, streamed, sampled, cut."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import pytest
import torch

from swiftprof.models.loading import load
from swiftprof.runtime.prune import prune
from swiftprof.serve.catalog import catalog
from swiftprof.serve.generation import Done, Job, generate
from swiftprof.serve.sampling import Sampler
from swiftprof.serve.service import Limits, Service


def alone(vlm: Any, plan: Any, image: Any, text: str, tokens: int = 16) -> str:
    """The answer of one plain `generate()`."""
    inputs = vlm.inputs([image], [text])
    with torch.inference_mode(), nullcontext() if plan is None else prune(vlm.model, plan):
        ids = vlm.model.generate(**inputs, do_sample=False, max_new_tokens=tokens)
    return vlm.decode(ids[:, inputs["input_ids"].shape[1] :])[0]


def test_models_are_the_unpruned_one_and_the_plans(client: Any) -> None:
    assert [m.id for m in client.models.list()] == ["vanilla", "tight", "tight@1/2"]
    assert client.models.retrieve("tight@1/2").owned_by == "tiny-llava"


def test_answers_in_batches_are_those_of_one_request_at_a_time(
    bundled: Any, plan: Any, client: Any, questions: Any
) -> None:
    asked = [(model, q) for q in questions[:7] for model in ("vanilla", "tight")]

    def ask(each: Any) -> Any:
        extra = {"swiftprof": {"trace": True}}
        return client.chat.completions.create(
            model=each[0], messages=each[1].messages, extra_body=extra
        )

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, asked))
    said = [answer.choices[0].message.content for answer in answers]
    plans = {"vanilla": None, "tight": plan}
    assert said == [alone(bundled, plans[model], q.image, q.text) for model, q in asked]
    assert said[::2] != said[1::2]  # the plan is tight enough to tell
    assert all(answer.choices[0].finish_reason == "stop" for answer in answers)
    assert max(answer.model_extra["swiftprof"]["batch"] for answer in answers) > 1


def test_usage_counts_the_visual_tokens_that_are_retained(client: Any, questions: Any) -> None:
    def ask(model: str) -> Any:
        return client.chat.completions.create(model=model, messages=questions[0].messages)

    vanilla, tight = ask("vanilla").usage, ask("tight").usage
    assert vanilla.model_extra == {"visual_tokens": 144, "retained_visual_tokens": 144}
    # 3 layers of 144, 5 of 29 + 7, 16 of 7
    assert tight.model_extra["retained_visual_tokens"] == pytest.approx(
        (3 * 144 + 4 * 36 + 17 * 7) / 24, abs=0.5
    )
    assert vanilla.prompt_tokens == tight.prompt_tokens > 144
    assert vanilla.total_tokens == vanilla.prompt_tokens + vanilla.completion_tokens


@pytest.mark.parametrize("model", ["vanilla", "tight"])
def test_a_stream_says_the_same(client: Any, questions: Any, model: str) -> None:
    for question in questions[:3]:
        asked = {"model": model, "messages": question.messages}
        whole = client.chat.completions.create(**asked)
        options = {"include_usage": True}
        chunks = list(client.chat.completions.create(**asked, stream=True, stream_options=options))
        assert chunks[0].choices[0].delta.role == "assistant"
        pieces = [c.choices[0].delta.content or "" for c in chunks[:-1]]
        assert "".join(pieces) == whole.choices[0].message.content
        assert sum(map(bool, pieces)) > 1 or whole.usage.completion_tokens < 4
        assert chunks[-2].choices[0].finish_reason == "stop"
        assert chunks[-1].usage == whole.usage


def test_stops_and_limits(client: Any, questions: Any) -> None:
    def ask(**options: Any) -> Any:
        asked = client.chat.completions.create(
            model="vanilla", messages=questions[0].messages, **options
        )
        return asked.choices[0]

    box = ask().message.content
    second = box.split(", ")[1]
    for stop in (second, [second, "]"], "0 " + second):
        cut = ask(stop=stop)
        wanted = box if stop == "0 " + second else box[: box.index(second)]
        assert (cut.message.content, cut.finish_reason) == (wanted, "stop")
    short = ask(max_tokens=4)
    assert short.finish_reason == "length"
    assert box.startswith(short.message.content)
    assert ask(max_completion_tokens=4) == short


def test_several_turns_and_images_reach_the_model_in_order(
    bundled: Any, client: Any, questions: Any
) -> None:
    first, second = questions[0], questions[1]
    messages = [
        {"role": "user", "content": first.content},
        {"role": "assistant", "content": "[0.1, 0.2, 0.3, 0.4]"},
        {"role": "user", "content": second.content},
    ]
    answer = client.chat.completions.create(model="vanilla", messages=messages)
    prompt = (
        f"USER: <image>\n{first.text} ASSISTANT: [0.1, 0.2, 0.3, 0.4] "
        f"USER: <image>\n{second.text} ASSISTANT:"
    )
    inputs = bundled.encode([prompt], [[first.image, second.image]])
    ids = bundled.model.generate(**inputs, do_sample=False, max_new_tokens=16)
    length = inputs["input_ids"].shape[1]
    assert answer.choices[0].message.content == bundled.decode(ids[:, length:])[0]
    assert (answer.usage.prompt_tokens, answer.usage.visual_tokens) == (length, 288)


def test_text_alone_is_answered_unpruned(client: Any) -> None:
    messages = [{"role": "user", "content": "What color is the star?"}]
    answers = [
        client.chat.completions.create(model=model, messages=messages, max_tokens=3)
        for model in ("vanilla", "tight")
    ]
    assert answers[0].choices == answers[1].choices
    assert answers[1].usage.visual_tokens == 0


def collect(vlm: Any, plan: Any, **jobs: Job) -> dict[str, Any]:
    """Events of jobs that run as one batch."""
    events: dict[str, list[Any]] = {name: [] for name in jobs}
    for name, job in jobs.items():
        job.deliver = events[name].append
    generate(vlm, plan, list(jobs.values()))
    return events


def job(vlm: Any, question: Any, **options: Any) -> Job:
    prompt = vlm.prompt(question.text)
    return Job("x", prompt, [question.image], options.pop("tokens", 12), lambda e: None, **options)


def test_a_seed_draws_the_same_alone_and_in_a_batch(
    bundled: Any, plan: Any, questions: Any
) -> None:
    def drawn(seed: int) -> Job:
        return job(bundled, questions[1], sampler=Sampler(2.0, 0.95, seed))

    one = collect(bundled, plan, a=drawn(5))["a"]
    greedy = job(bundled, questions[2])
    many = collect(bundled, plan, g=greedy, b=drawn(6), a=drawn(5), c=job(bundled, questions[0]))
    assert many["a"][:-1] == one[:-1]
    assert many["b"][:-1] != one[:-1]
    assert "".join(many["g"][:-1]) == alone(bundled, plan, questions[2].image, questions[2].text)


def test_samplers_draw_from_the_top() -> None:
    scores = torch.tensor([2.0, 1.0, 0.0, -8.0])
    chances = torch.softmax(scores / 0.7, -1)
    draws = [Sampler(0.7, seed=s).pick(scores) for s in range(600)]
    for token, chance in enumerate(chances.tolist()):
        assert draws.count(token) / 600 == pytest.approx(chance, abs=0.06)
    assert {Sampler(0.7, top_p=0.9, seed=s).pick(scores) for s in range(200)} == {0, 1}
    assert {Sampler(1e-3, seed=s).pick(scores) for s in range(20)} == {0}


def test_one_bad_request_of_a_batch_spoils_nothing_for_the_others(
    bundled: Any, questions: Any
) -> None:
    bad = job(bundled, questions[0])
    bad.images = []  # an image mark without an image
    long = job(bundled, questions[0])
    long.prompt = bundled.prompt("what " * 600)
    events = collect(bundled, None, a=job(bundled, questions[1]), bad=bad, long=long)
    assert "".join(events["a"][:-1]) == alone(bundled, None, questions[1].image, questions[1].text)
    assert (events["bad"][-1].status, events["long"][-1].code) == (500, "context_length_exceeded")


def test_who_hangs_up_frees_the_row_and_the_others_go_on(
    run_server: Any, questions: Any, plan: Any
) -> None:
    vlm = load("tiny-llava")
    vlm.model.generation_config.eos_token_id = -1  # answers without an end
    runs: list[tuple[int, int]] = []

    class Counted(Service):
        def _answer(self, jobs: Any) -> None:
            for each in jobs:
                each.deliver = counted(each.deliver)
            super()._answer(jobs)

    def counted(deliver: Any) -> Any:
        def take(event: Any) -> None:
            if isinstance(event, Done):
                runs.append((event.completion_tokens, event.trace["batch"]))
            deliver(event)

        return take

    service = Counted(vlm, catalog({"tight": plan}), Limits(batch=4))
    with run_server(service) as server, server.client() as client:
        asked = {"model": "tight", "messages": questions[0].messages, "max_tokens": 60}
        whole = client.chat.completions.create(**asked).choices[0].message.content
        leaves = client.chat.completions.create(
            **{**asked, "max_tokens": 300, "model": "vanilla"}, stream=True
        )
        for _ in range(3):
            next(leaves)
        found: list[str] = []

        def ask() -> None:
            found.append(client.chat.completions.create(**asked).choices[0].message.content)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        leaves.close()
        for thread in threads:
            thread.join(60)
    assert found == [whole] * 3
    left = [count for count, _ in runs if count not in (60, 300)]
    assert len(left) == 1  # it ended early
    assert len(runs) == 5
