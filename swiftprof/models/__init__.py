"""Names and aliases of models, loading, and what the rest needs to know of a loaded model."""
