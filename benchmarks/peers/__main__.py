"""`python benchmarks/peers`."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

from peers.cli import main  # noqa: E402 - the line above says where it is

sys.exit(main())
