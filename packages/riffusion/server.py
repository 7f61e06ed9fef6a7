"""Upstream's name for `riffusion.cli.server`; also run as `python -m riffusion.server`."""

import sys

from riffusion.cli.server import main, run_app

__all__ = ["main", "run_app"]

if __name__ == "__main__":
    sys.exit(main())
