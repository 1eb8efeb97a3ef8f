"""The phases of training. Each is resumable and writes ``<out>/<phase>.safetensors``.

tower     the vision tower and projector, on dense labels         ┐ independent,
symbols   a shallow decoder on symbolic visual tokens (4 stages)  ┘ run side by side
join      tower and decoder, deepened, end to end on rendered scenes
look      the decoder learns to look again, and three layers where to look
settle    the same with other weights, the rate falling
polish    the same, layers 3, 6 and 8, more rows that see everything
thin      the same, most rows without much of what they are not about
count     the same, with more questions about how many and whether there is
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration

from swiftprof.tiny.scenes.graph import Scene
from swiftprof.tiny.scenes.labels import CLASSES, PATCHES
from training import batches, checkpoint
from training.architecture import HIDDEN, build_model, image_features
from training.evaluate import evaluate
from training.grow import grow
from training.guidance import Guide, guidance
from training.hiding import blind_layers, late_tokens, thinned
from training.optim import Optimizers
from training.shared_prefix import decoder_layer, shared_prefix_forward
from training.symbols import SymbolEmbedding

LOG_EVERY, SAVE_EVERY, EVALUATE_EVERY = 50, 100, 800

EASY = {"color": 2, "shape": 2, "exists": 1.5, "text-name": 2, "ref-name": 0.6}
MEDIUM = {
    "color": 1,
    "shape": 1,
    "exists": 1.2,
    "count": 1.2,
    "text-name": 1.5,
    "text-extreme": 0.7,
    "ref-name": 2.5,
    "ref-extreme": 0.8,
}
FULL = {
    "color": 0.7,
    "shape": 0.7,
    "exists": 1,
    "count": 1.2,
    "text-name": 0.8,
    "text-extreme": 0.6,
    "text-rel": 1,
    "ref-name": 1.5,
    "ref-extreme": 0.7,
    "ref-rel": 1,
    "color-rel": 1.4,
    "shape-rel": 1.4,
}
HARD = {
    "color": 0.5,
    "shape": 0.5,
    "exists": 0.8,
    "count": 1.5,
    "text-name": 0.5,
    "text-extreme": 0.5,
    "text-rel": 1.5,
    "ref-name": 1,
    "ref-extreme": 0.6,
    "ref-rel": 2.2,
    "color-rel": 1,
    "shape-rel": 1,
}


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a phase trains; ``recipe`` is how its decoder grows, see ``grow``;
    ``guides`` are the layers that are taught where to look, see ``guidance``; ``clear`` and
    ``thin`` are shares of rows that are blind at no layer, and that see less, see ``hiding``."""

    steps: int
    batch: int
    rate: float
    decay: float
    mix: dict[str, float]
    recipe: str = ""
    guides: tuple[Guide, ...] = ()
    clear: float = 0.25
    thin: float = 0.0

    @property
    def layers(self) -> int:
        return len(self.recipe.split())


SHALLOW = "1 2 3 4"
DEEPER = "1 2 - 3 - 4"
SAME = "1 2 3 4 5 6"
DEEP = "- - 1 - 2 - - 2:01+3:13- 3 - 4 2:01+5:13- 5 - 6 2:01+6:12- 3- - 2:01+5:13- 6- - - 5- -"
"""24 layers. The first look-up that counts is at layer 5, after a first pruning at 3. Some silent
layers have heads of two trained ones: those that find the thing that is named, and those that find
the thing beside it."""

LOOKS = {**HARD, "text-rel": 2.5, "ref-rel": 1.5}
FINAL = {**LOOKS, "shape": 1.2, "shape-rel": 1.5, "color": 0.8, "count": 2.2}
COUNTS = {**FINAL, "count": 4.0, "exists": 3.0}
LEARN = (Guide(3, "named", 0.05), Guide(8, "all", 0.015), Guide(12, "all", 0.1))
SETTLE = (Guide(3, "named", 0.05), Guide(8, "target", 0.02), Guide(12, "all", 0.15))
POLISH = (Guide(3, "named", 0.05), Guide(6, "all", 0.05), Guide(8, "all", 0.1))
"""What remains is a staircase that a profile has to find. Layer 3 looks at what is named. Layer 6
is asked for what stands beside it too, before the model itself looks there, and gets some of it.
Layer 8 has both. (Layer 12, taught in the first two phases, is left alone in the last.)"""

SCHEDULES = {
    "tower": Schedule(4000, 32, 2e-3, 0.4, {}),
    "symbols-1": Schedule(2600, 16, 3e-3, 0.4, EASY, SHALLOW),
    "symbols-2": Schedule(2200, 16, 3e-3, 0.4, MEDIUM, SHALLOW),
    "symbols-3": Schedule(2600, 16, 3e-3, 0.5, FULL, DEEPER),
    "symbols-4": Schedule(1200, 16, 3e-3, 0.7, HARD, SAME),
    "join": Schedule(900, 12, 1e-3, 0.6, {**HARD, "text-rel": 2.5, "ref-rel": 1.2}, DEEP),
    "look": Schedule(400, 8, 1e-3, 0.0, LOOKS, DEEP, LEARN),
    "settle": Schedule(600, 8, 1e-3, 0.7, LOOKS, DEEP, SETTLE),
    "polish": Schedule(400, 8, 7e-4, 0.8, FINAL, DEEP, POLISH, clear=0.5),
    "thin": Schedule(300, 8, 5e-4, 0.8, FINAL, DEEP, POLISH, clear=0.7, thin=0.6),
    "count": Schedule(250, 8, 4e-4, 0.8, COUNTS, DEEP, POLISH, clear=0.8, thin=0.7),
}
LOOKING = ("look", "settle", "polish", "thin", "count")
"""Phases that teach the decoder to look again, each from the weights of the one before."""
TOWER_RATE = 0.3
"""The tower's learning rate relative to the decoder's when both train."""


class DenseHeads(nn.Module):
    """Linear heads on every visual token; thrown away after the tower's phase."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.out = nn.Linear(hidden, sum(CLASSES) + 4)

    def loss(self, visual: Tensor, classes: Tensor, boxes: Tensor) -> tuple[Tensor, list[float]]:
        out = self.out(visual.float())
        shown = classes[..., 0] > 0
        weight = torch.where(shown, 1.0, 0.25)
        total, right = torch.zeros(()), []
        for i, logits in enumerate(out[..., :-4].split(CLASSES, -1)):
            ce = F.cross_entropy(logits.flatten(0, 1), classes[..., i].flatten(), reduction="none")
            total = total + (ce.view(shown.shape) * weight).sum() / weight.sum()
            counted = shown if i < 2 else classes[..., 2] > 0
            right.append((logits.argmax(-1) == classes[..., i])[counted].float().mean().item())
        error = (out[..., -4:] - boxes).abs()[shown].mean()
        return total + 8 * error, [*right, error.item()]


def train(
    out: Path,
    name: str,
    modules: dict[str, nn.Module],
    optim: Optimizers,
    loss_of: Callable[[int], tuple[Tensor, list[float]]],
    check: Callable[[], object] | None = None,
) -> None:
    """Run a phase to its last step, from its checkpoint when there is one."""
    path = out / f"{name}.safetensors"
    first = checkpoint.load(path, modules, optim) if path.exists() else 0
    steps, seen, began = optim.steps, None, time.time()
    for step in range(first, steps):
        loss, numbers = loss_of(step)
        optim.step(step, loss)
        now = [loss.item(), *numbers]
        if seen is None:
            seen = now
        seen = [0.97 * a + 0.03 * b for a, b in zip(seen, now, strict=True)]
        done = step + 1
        if done % LOG_EVERY == 0:
            rate = (done - first) / (time.time() - began)
            left = (steps - done) / rate / 60
            text = " ".join(f"{v:.4f}" for v in seen)
            print(f"{name} {done}/{steps} {text} | {rate:.2f} it/s, {left:.0f} min", flush=True)
        if done % SAVE_EVERY == 0 or done == steps:
            checkpoint.save(path, done, modules, optim)
        if check and (done % EVALUATE_EVERY == 0 or done == steps):
            print(name, done, json.dumps(check()), flush=True)


def finished(out: Path, name: str) -> bool:
    path = out / f"{name}.safetensors"
    return path.exists() and checkpoint.load(path, {}) >= SCHEDULES[name].steps


def _answers(
    model: LlavaForConditionalGeneration,
    visual: Tensor,
    asked: batches.Asked,
    hidden: Tensor | None = None,
) -> tuple[Tensor, list[float]]:
    """Cross-entropy of the answers' tokens, and the share of them that is right."""
    with torch.autocast("cpu", torch.bfloat16):
        logits, _ = shared_prefix_forward(model, visual, asked.ids, hidden=hidden)
    return _cross_entropy(logits.float(), asked)


def _cross_entropy(logits: Tensor, asked: batches.Asked) -> tuple[Tensor, list[float]]:
    logits, target, weight = logits[:, :-1], asked.ids[:, 1:], asked.weight[:, 1:]
    on = weight > 0
    logits, target, weight = logits[on], target[on], weight[on]
    ce = F.cross_entropy(logits, target, reduction="none")
    right = (logits.argmax(-1) == target)[weight == 1].float().mean().item()
    return (ce * weight).sum() / weight.sum(), [right]


def _tower(model: LlavaForConditionalGeneration) -> nn.ModuleList:
    return nn.ModuleList([model.model.vision_tower, model.model.multi_modal_projector])


def _decoder(model: LlavaForConditionalGeneration) -> nn.ModuleList:
    return nn.ModuleList([model.model.language_model, model.lm_head])


def _look(model: LlavaForConditionalGeneration, scenes: Iterable[Scene]) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return image_features(model, batches.scene_pixels(list(scenes)))


def train_tower(out: Path, seed: int) -> None:
    s = SCHEDULES["tower"]
    model = build_model(1, seed)
    tower, heads = _tower(model), DenseHeads(HIDDEN)
    optim = Optimizers([(tower, s.rate), (heads, s.rate)], s.steps, s.decay)

    def loss_of(step: int) -> tuple[Tensor, list[float]]:
        _, scenes = batches.scenes(f"train/{seed}/tower", step, s.batch)
        return heads.loss(_look(model, scenes), *batches.labels(scenes))

    train(out, "tower", {"tower": tower, "heads": heads}, optim, loss_of)


def train_symbols(out: Path, seed: int, stage: int) -> None:
    name = f"symbols-{stage}"
    s = SCHEDULES[name]
    model, symbols = build_model(s.layers, seed), SymbolEmbedding(HIDDEN)
    if stage > 1:
        before = out / f"symbols-{stage - 1}.safetensors"
        checkpoint.load(before, {"symbols": symbols})
        grow(model, checkpoint.weights(before, "model"), s.recipe)
    optim = Optimizers([(_decoder(model), s.rate), (symbols, s.rate)], s.steps, s.decay)

    def loss_of(step: int) -> tuple[Tensor, list[float]]:
        rng, scenes = batches.scenes(f"train/{seed}/{name}", step, s.batch)
        asked = batches.ask_all(rng, scenes, s.mix)
        return _answers(model, symbols(*batches.labels(scenes)), asked)

    def check() -> object:
        return evaluate(model, lambda scenes: symbols(*batches.labels(scenes)), s.mix, 320)

    train(out, name, {"model": model, "symbols": symbols}, optim, loss_of, check)


@torch.no_grad()
def _align(model: LlavaForConditionalGeneration, symbols: SymbolEmbedding, seed: int) -> None:
    """Least squares from the tower's tokens to the symbols', folded into the projector."""
    xs, ys = [], []
    for step in range(30):
        _, scenes = batches.scenes(f"train/{seed}/align", step, 50)
        xs.append(_look(model, scenes).float().flatten(0, 1))
        ys.append(symbols(*batches.labels(scenes)).flatten(0, 1))
    x, y = torch.cat(xs).double(), torch.cat(ys).double()
    x = torch.cat([x, torch.ones(len(x), 1).double()], 1)
    w = torch.linalg.solve(x.T @ x + 1e-3 * torch.eye(x.shape[1]).double(), x.T @ y)
    explained = 1 - ((x @ w - y) ** 2).sum() / ((y - y.mean(0)) ** 2).sum()
    print(f"align: {explained:.3f} of the symbols' variance explained", flush=True)
    a, b = w[:-1].T.float(), w[-1].float()
    last = model.model.multi_modal_projector.linear_2
    last.weight.copy_(a @ last.weight)
    last.bias.copy_(a @ last.bias + b)


def train_join(out: Path, seed: int) -> None:
    s = SCHEDULES["join"]
    symbols, model = SymbolEmbedding(HIDDEN), build_model(s.layers, seed)
    checkpoint.load(out / "symbols-4.safetensors", {"symbols": symbols})
    grow(model, checkpoint.weights(out / "symbols-4.safetensors", "model"), s.recipe)
    checkpoint.load(out / "tower.safetensors", {"tower": _tower(model)})
    _align(model, symbols, seed)
    groups = [(_decoder(model), s.rate), (_tower(model), s.rate * TOWER_RATE)]
    optim = Optimizers(groups, s.steps, s.decay)

    def loss_of(step: int) -> tuple[Tensor, list[float]]:
        rng, scenes = batches.scenes(f"train/{seed}/join", step, s.batch)
        asked = batches.ask_all(rng, scenes, s.mix)
        hidden = late_tokens(rng, s.layers, s.batch, len(asked.ids), PATCHES)
        return _answers(model, _look(model, scenes), asked, hidden)

    def check() -> object:
        return evaluate(model, lambda scenes: _look(model, scenes), s.mix, 320)

    train(out, "join", {"model": model}, optim, loss_of, check)


def train_looks(out: Path, seed: int, name: str) -> None:
    """Phase ``look``, ``settle`` or ``polish``: the tower stands still.

    In float32, which is faster on a CPU than bfloat16 once compiled.
    """
    s = SCHEDULES[name]
    model = build_model(s.layers, seed)
    before = ("join", *LOOKING)[LOOKING.index(name)]
    checkpoint.load(out / f"{before}.safetensors", {"model": model})
    optim = Optimizers([(_decoder(model), s.rate)], s.steps, s.decay)
    compiled = torch.compile(decoder_layer)

    def loss_of(step: int) -> tuple[Tensor, list[float]]:
        rng, scenes = batches.scenes(f"train/{seed}/{name}", step, s.batch)
        asked = batches.ask_all(rng, scenes, s.mix, each=12, multiple=6)
        blind = blind_layers(rng, s.layers, len(asked.ids), s.clear)
        with torch.no_grad():
            visual = _look(model, scenes)
        logits, looks = shared_prefix_forward(
            model,
            visual,
            asked.ids,
            hidden=blind[..., None] | thinned(rng, s.layers, asked, s.thin),
            last=asked.last,
            layer_function=compiled,
        )
        loss, right = _cross_entropy(logits, asked)
        taught = guidance(s.guides, looks, asked, blind)
        return loss + taught, [*right, taught.item()]

    def check() -> object:
        return evaluate(model, lambda scenes: _look(model, scenes), s.mix, 320)

    train(out, name, {"model": model}, optim, loss_of, check)
