"""Counts one clip in this process, as a worker does, and prints its peak RSS in MB."""

import sys
from dataclasses import replace
from pathlib import Path

from refvps.data import load
from refvps.predictions.submission import open_submission
from refvps.run.count import count
from refvps.types import Rules

bench = load("ref-vps")
rules = replace(Rules(), metrics=tuple(sys.argv[2].split(",")))
counts, report = count(bench, open_submission(Path(sys.argv[1]), bench), rules)
assert report.ok
assert len(counts) == 408 * 4
# VmHWM, not ru_maxrss: the latter is never less than that of the process which started this one
status = Path("/proc/self/status").read_text().splitlines()
print(next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM")))
