"""``python -m jitgrad``."""

import sys

from jitgrad.cli import main

if __name__ == "__main__":
    sys.exit(main())
