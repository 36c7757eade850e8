"""``python -m refvps.data.sample OUT`` writes the annotation of the sample into the folder OUT."""

from __future__ import annotations

import argparse
from pathlib import Path

from refvps.data.sample import build


def main() -> None:
    """Parse the one argument and write."""
    parser = argparse.ArgumentParser(prog="python -m refvps.data.sample", description=__doc__)
    parser.add_argument("out", type=Path, help="folder to write into, e.g. annotations/sample")
    build(parser.parse_args().out)


if __name__ == "__main__":
    main()
