"""Training of the bundled model: ``python -m training --help``."""
