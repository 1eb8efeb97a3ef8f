"""`python -m swiftprof`."""

import sys

from swiftprof.cli.app import program

sys.exit(program())
