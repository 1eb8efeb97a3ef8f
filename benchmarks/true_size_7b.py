"""LLaVA-1.5-7B at its true size, with random weights: time and memory of every phase on a CPU.

    python benchmarks/true_size_7b.py --threads 2 --out benchmarks/true_size_7b.json

The model has the published sizes (Vicuna-7B, CLIP-L/14 at 336 pixels) in bfloat16, the prompt the
published counts (35 tokens of the system prompt, 576 visual tokens, 35 of the question). Weights
are random, so answers mean nothing; shapes, selections, caches and costs are those of the real
model. Weights are made module by module in bfloat16: no float32 copy exists at any time.

Phases: build; check (conformance); vanilla (an answer); pruned (an answer with the published
plan); record (the vanilla run of profiling, with every layer's T-V
scores); rerun (layers 2 to 32, each on its own top 20 %).
The file is written after each phase.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

import swiftprof
from swiftprof.planning.plan_file import Plan
from swiftprof.profiling.record import record
from swiftprof.profiling.rerun import rerun
from swiftprof.profiling.steps import check_steps
from swiftprof.runtime.prune import prune
from swiftprof.runtime.trace import Trace

IMAGE, VOCABULARY = 32000, 32064
BEFORE, VISUAL, AFTER = 35, 576, 35
KEEP = 0.2


def configuration() -> LlavaConfig:
    """The sizes of llava-hf/llava-1.5-7b-hf."""
    text = LlamaConfig(
        hidden_size=4096,
        intermediate_size=11008,
        num_hidden_layers=32,
        num_attention_heads=32,
        vocab_size=VOCABULARY,
        max_position_embeddings=4096,
        rms_norm_eps=1e-5,
        pad_token_id=32001,
        eos_token_id=None,
    )
    vision = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=336,
        patch_size=14,
        projection_dim=768,
    )
    return LlavaConfig(vision_config=vision, text_config=text, image_token_id=IMAGE)


def build(seed: int) -> Any:
    """The model, first without storage, then module by module with random bfloat16 weights."""
    config = configuration()
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(config)
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            made = torch.empty(parameter.shape, dtype=torch.bfloat16)
            if "norm" in type(module).__name__.lower() and name == "weight":
                made.fill_(1)
            elif name == "bias":
                made.zero_()
            else:
                made.normal_(0, 0.02, generator=generator)
            setattr(module, name, torch.nn.Parameter(made, requires_grad=False))
        for name, buffer in list(module.named_buffers(recurse=False)):
            if name == "position_ids":
                setattr(module, name, torch.arange(buffer.shape[-1])[None])
    text = model.get_decoder()
    text.rotary_emb = type(text.rotary_emb)(config=config.text_config)
    left = [name for name, each in model.named_buffers() if each.is_meta]
    assert not left, left
    model.generation_config.eos_token_id = None
    return model.eval()


def prompt(seed: int) -> dict[str, torch.Tensor]:
    """One prompt with the counts of the real one, and one image of noise."""
    generator = torch.Generator().manual_seed(seed)

    def text(n: int) -> torch.Tensor:
        return torch.randint(3, 31000, (n,), generator=generator)

    ids = torch.cat([text(BEFORE), torch.full((VISUAL,), IMAGE), text(AFTER)])[None]
    pixels = torch.randn(1, 3, 336, 336, generator=generator).to(torch.bfloat16)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels}


class Phases:
    """Time and peak memory of each phase, written down as they come."""

    def __init__(self, out: Path, facts: dict[str, Any]) -> None:
        self._out = out
        self.document = {**facts, "phases": {}}

    def run(self, name: str, work: Callable[[], Any], **facts: Any) -> Any:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        began, cpu = time.perf_counter(), time.process_time()
        result = work()
        status = Path("/proc/self/status").read_text()
        peak = int(status.split("VmHWM:")[1].split()[0])
        self.document["phases"][name] = {
            "seconds": round(time.perf_counter() - began, 1),
            "cpu_seconds": round(time.process_time() - cpu, 1),
            "peak_rss_gib": round(peak / 2**20, 2),
            **facts,
        }
        self.save()
        print(name, self.document["phases"][name], flush=True)
        return result

    def save(self) -> None:
        self._out.write_text(json.dumps(self.document, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--new", type=int, default=4, help="tokens of each answer")
    parser.add_argument("--rows", type=int, default=8, help="re-runs that go as one batch")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    plan, inputs = Plan.load("llava-1.5-7b"), prompt(options.seed)
    phases = Phases(
        options.out,
        {
            "model": "LLaVA-1.5-7B's sizes, random weights, bfloat16",
            "prompt": {"before": BEFORE, "visual": VISUAL, "after": AFTER},
            "threads": options.threads,
            "new_tokens": options.new,
            "rows_per_batch": options.rows,
            "cpu": _cpu(),
            "versions": {
                "swiftprof": swiftprof.__version__,
                "torch": torch.__version__,
                "transformers": transformers.__version__,
                "python": platform.python_version(),
            },
        },
    )
    answer: dict[str, Any] = {"do_sample": False, "max_new_tokens": options.new}
    model = phases.run("build", lambda: build(options.seed))
    phases.document["parameters"] = sum(p.numel() for p in model.parameters())
    steps = phases.run("check", lambda: check_steps(model))
    with torch.inference_mode():
        vanilla = phases.run("vanilla", lambda: model.generate(**inputs, **answer))
        trace = Trace()
        with prune(model, plan, on_stage=trace):
            pruned = phases.run("pruned", lambda: model.generate(**inputs, **answer))
    run = trace.prefills[0]
    phases.document["pruned"] = {
        "plan": "llava-1.5-7b",
        "kept": [len(run.kept(j, 0)) for j in range(len(plan.stages))],
        "merged": [len(run.merged(j, 0)) for j in range(len(plan.stages))],
        "visual_tokens_per_layer": run.visual_per_layer(0, 32),
        "retained_tokens": run.retained(0, 32),
    }
    phases.save()
    recording = phases.run("record", lambda: record(steps, inputs, IMAGE, options.new))
    assert recording.generated == vanilla[:, -options.new :].tolist()
    selections = [s[1:] for s in recording.select(KEEP)]
    answers = phases.run(
        "rerun",
        lambda: rerun(recording, selections, options.new, (), max_rows=options.rows),
        layers="2..32",
        different_selections=len(torch.unique(selections[0], dim=0)),
    )
    phases.document["profile"] = {
        "selected": selections[0].shape[1],
        "answers": len(answers[0]),
        "answers_unlike_vanilla": sum(a != recording.generated[0] for a in answers[0]),
        "pruned_answer_is_vanilla": bool(torch.equal(pruned, vanilla)),
    }
    phases.save()


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
