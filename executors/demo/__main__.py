"""Runs the demo: `python -m executors.demo`."""

import sys

from executors.demo.demo import main

if __name__ == "__main__":
    sys.exit(main())
