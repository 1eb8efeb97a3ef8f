"""A pruning method of your own beside one of swiftprof's. See docs/own_method.md.

python examples/new_method.py
"""

from dataclasses import dataclass
from typing import ClassVar

import swiftprof
from swiftprof.data.registry import get_dataset


@dataclass(frozen=True)  # its fields are the options that a plan stores
class Outstanding(swiftprof.Method):
    """Prefer tokens that are attended to and unlike the picture's mean token."""

    strength: float = 0.5

    planned: ClassVar[bool] = True  # prunes at the layers that a profile chooses

    def scores(self, view: swiftprof.StageView):
        """`(B, n)`: the candidates with the highest scores stay."""
        import torch  # here, so that planning stays light

        visual = view.candidates[..., None].float()
        hidden = view.hidden.float()
        mean = (hidden * visual).sum(1, keepdim=True) / visual.sum(1, keepdim=True).clamp_min(1)
        unlike = 1 - torch.cosine_similarity(hidden, mean, dim=-1)
        return view.attention() * unlike.clamp_min(0) ** self.strength


if __name__ == "__main__":
    vlm = swiftprof.load("tiny-llava")
    profile = swiftprof.profile(vlm, datasets=["scenes-qa"], samples=16)
    data = get_dataset("scenes-qa")
    samples = [data.sample("test", number) for number in range(24)]
    inputs = vlm.inputs([each.image for each in samples], [each.question for each in samples])
    for method in ("drop", Outstanding(), Outstanding(strength=2.0)):
        plan = swiftprof.plan(profile, ratio=1 / 6, method=method, bootstrap=0)
        with swiftprof.prune(vlm.model, plan):
            ids = vlm.model.generate(**inputs, max_new_tokens=data.max_new_tokens)
        said = vlm.decode(ids[:, inputs["input_ids"].shape[1] :])
        right = sum(data.score(*pair) for pair in zip(said, samples, strict=True))
        print(f"{plan.method} {plan.options or ''}: {right:.0f} of {len(samples)} right")
