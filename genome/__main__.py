"""`python -m genome`: the same as the command `genome`."""

import sys

from genome.cli import main

sys.exit(main())
