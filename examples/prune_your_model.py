"""Prune a model of your own at the layers that suit it: profile, plan, generate. Takes a minute.

python examples/prune_your_model.py
"""

import swiftprof
from swiftprof.data.registry import get_dataset

vlm = swiftprof.load("tiny-llava")  # or "llava-1.5-7b", "Qwen/Qwen2.5-VL-7B-Instruct", a folder, …
profile = swiftprof.profile(vlm, datasets=["scenes-ref"], samples=16)  # more is better: 1,000
plan = swiftprof.plan(profile, budget=3, ratio=1 / 3)  # a third of the visual tokens
sample = get_dataset("scenes-ref").sample("test", 0)  # or any picture and question
inputs = vlm.inputs([sample.image], [sample.question])
with swiftprof.prune(vlm.model, plan):  # any arguments of generate work inside
    answer = vlm.model.generate(**inputs, max_new_tokens=24)
print(f"pruned at layers {plan.pruning_layers}, {plan.expected.retained_tokens:.0f} tokens left")
print(sample.question, vlm.decode(answer[:, inputs["input_ids"].shape[1] :])[0])
