"""``python -m jitgrad``."""

import sys

if __name__ == "__main__":
    try:
        from jitgrad.cli import main
    except KeyboardInterrupt:  # while it is being imported
        sys.exit(130)
    sys.exit(main())
