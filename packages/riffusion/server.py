"""Upstream's `python -m riffusion.server`: the command in `riffusion.cli.server`."""

import sys

from riffusion.cli.server import main, run_app

__all__ = ["main", "run_app"]

if __name__ == "__main__":
    sys.exit(main())
