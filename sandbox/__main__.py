"""`python -I -m sandbox`: where the native launcher turns for all that needs Python."""

import sys

from sandbox.cli import main

if __name__ == "__main__":
    sys.exit(main())
