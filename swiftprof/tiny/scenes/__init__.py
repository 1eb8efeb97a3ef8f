"""Synthetic scenes: one scene graph feeds the picture, the questions and the dense labels."""
