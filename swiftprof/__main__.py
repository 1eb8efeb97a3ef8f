"""`python -m swiftprof`."""

import sys

from swiftprof.cli.app import main

sys.exit(main())
