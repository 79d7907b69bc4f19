"""`python -m limner`, which torchrun needs."""

import sys

from limner.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
