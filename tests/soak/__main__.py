"""`make soak MINUTES=60 SEED=0`: everything at once, and a report; status 1 if anything failed."""

import argparse
import logging
import sys
import tempfile
from pathlib import Path

from tests.soak.soak import Plan, soak


def main() -> int:
    """Run; 1 if there were faults."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=("light", "torch"), default="light")
    parser.add_argument("--trouble-s", type=float, default=30.0)
    parser.add_argument("--pause", type=float, default=1.0, help="factor of the actors' pauses")
    parser.add_argument("--untimed", action="store_true", help="restarts may take longer than 15 s")
    options = parser.parse_args()
    logging.getLogger("riffusion").setLevel(logging.ERROR)
    plan = Plan(
        options.minutes,
        options.seed,
        options.engine,
        options.trouble_s,
        is_timed=not options.untimed,
        pause=options.pause,
    )
    folder = Path("build/soak").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    book, report = soak(plan, Path(tempfile.mkdtemp(dir=folder)))
    sys.stdout.write(report)
    return min(len(book.faults), 1)


if __name__ == "__main__":
    sys.exit(main())
