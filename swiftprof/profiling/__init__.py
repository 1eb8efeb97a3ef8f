"""Profiling: which layers can tell important visual tokens from unimportant ones (paper §3.2)."""
