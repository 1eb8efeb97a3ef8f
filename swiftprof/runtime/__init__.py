"""Pruned inference on an unmodified Hugging Face model: hooks, per-layer caches and masks.

The entry point is `swiftprof.runtime.prune.prune`; importing this package changes nothing anywhere.
"""
