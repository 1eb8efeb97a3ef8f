"""Pure functions on tensors and numbers: no Hugging Face, no files, no state."""
