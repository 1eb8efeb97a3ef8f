"""Training of the bundled model: ``python -m swiftprof.tiny.train --help``."""
