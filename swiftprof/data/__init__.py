"""Data sets: one file each, one line in the registry, official scorers under ``scoring``."""
