"""`python -m riffusion`: the command line."""

import sys

from riffusion.cli import main

if __name__ == "__main__":
    sys.exit(main())
