"""`python -m labelgen`."""

import sys

from labelgen.cli import main

if __name__ == "__main__":
    sys.exit(main())
