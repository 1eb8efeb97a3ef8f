"""Scoring models and plans on data sets, side by side."""
