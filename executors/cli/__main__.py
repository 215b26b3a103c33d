"""Runs `python -m executors.cli`, which is the same as `visual-search`."""

import sys

from executors.cli import main

if __name__ == "__main__":
    sys.exit(main())
