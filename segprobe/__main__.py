"""`python -m segprobe`."""

import sys

from segprobe.cli import main

if __name__ == "__main__":
    sys.exit(main())
