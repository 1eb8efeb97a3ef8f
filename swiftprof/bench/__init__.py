"""Latency, memory and phases of pruned models, beside vanilla."""
