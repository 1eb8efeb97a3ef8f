"""Scorers: pure functions of texts."""
