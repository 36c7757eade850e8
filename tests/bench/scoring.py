"""The speed table: refvps against the incumbents and the physical limit, as ratios in one run.

    python tests/bench/scoring.py [--full] [--bars B1,B2] [--out FILE]

Writes the load to a temporary folder, runs whole processes, prints one table with the bars B1-B6, B8 and
B9 and stores it as JSON with the machine named. Peers are timed on a part of the load, per mask.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import load

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PYTHON = sys.executable
JOBS = 2


def machine() -> dict:
    """What the figures were measured on."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    packages = {name: version(name) for name in ("numpy", "pillow", "pycocotools", "zlib-ng")}
    return {"cpu": model, "cores": os.cpu_count(), "python": platform.python_version(), **packages}


def timed(command: list[str], env: dict) -> float:
    """Wall time of a whole process, best of three."""
    best = float("inf")
    for _ in range(3):
        started = time.perf_counter()
        done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=ROOT)
        best = min(best, time.perf_counter() - started)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")
    return best


class Bench:
    """Runs the contenders over one load; every figure is microseconds a mask."""

    def __init__(self, root: Path, clips: int, frames: int, part: int) -> None:
        self.root, self.masks, self.part = root, clips * frames * load.EXPRESSIONS, part
        self.clips = clips
        hidden = root / "hidden"
        hidden.mkdir()
        (hidden / "numba.py").write_text("raise ImportError('hidden by the bench')\n")
        self.env = {**os.environ, "REFVPS_HOME": str(root / "home"), "PYTHONPATH": str(ROOT)}
        self.plain = {**self.env, "PYTHONPATH": f"{hidden}{os.pathsep}{ROOT}"}

    def ours(self, form: str, metrics: str = "J,TC", jobs: int = JOBS, fast: bool = False) -> float:
        """``refvps evaluate`` as a whole process."""
        out = self.root / "results"
        command = [PYTHON, "-m", "refvps", "evaluate", "-q", "--force", "--pred", str(self.root / form)]
        command += ["--metrics", metrics, "--jobs", str(jobs), "--out", str(out), "--method", form]
        return 1e6 * timed(command, self.env if fast else self.plain) / self.masks

    def peer(self, kind: str, form: str, jobs: int = JOBS, part: bool = False) -> float:
        """A peer over the whole load, or over the first clips of it."""
        clips = self.part if part else self.clips
        best = float("inf")
        for _ in range(1 if part else 3):
            command = [PYTHON, str(HERE / "peers.py"), kind, str(self.root), form, str(jobs), str(clips)]
            done = subprocess.run(command, env=self.env, capture_output=True, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            best = min(best, 1e6 * found["seconds"] / found["masks"])
        return best


def memory(form: str, metrics: str) -> float:
    """Peak RSS in MB of a process that counts one 408-frame clip, as a worker does."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        load.build(root, 1, 408, () if form == "rle" else (form,), drawn=1)
        env = {**os.environ, "REFVPS_HOME": str(root / "home"), "PYTHONPATH": str(ROOT)}
        subprocess.run(
            [PYTHON, "-m", "refvps", "download", "-q", "ref-vps", "--from", str(root / "source")], env=env, check=True
        )
        done = subprocess.run(
            [PYTHON, str(HERE / "worker.py"), str(root / form), metrics],
            env=env,
            capture_output=True,
            text=True,
            check=True,
        )
    return float(done.stdout)


def small_things() -> dict[str, float]:
    """B6, B8, B9: writing a mask, the statistics, the start."""
    import numpy as np

    from refvps import stats
    from refvps.masks.mask import Mask

    _, predictions = load.track(1, 30)
    _, smooth = load.track(0, 30)
    arrays = [mask for one in (*predictions, *smooth) for mask in one]
    started = time.perf_counter()
    for mask in arrays:
        json.dumps(Mask.from_array(mask).counts().decode())
    write = (time.perf_counter() - started) / len(arrays)
    data = stats.sample(np.linspace(0, 1, 111).tolist(), [f"g{k:03d}" for k in range(111)])
    started = time.perf_counter()
    stats.estimate(data)
    stats.sign_flip(data)
    seconds = time.perf_counter() - started
    starts = {}
    for name, code in (("help", "from refvps.cli import run; run(['--help'])"), ("import", "import refvps")):
        times = []
        for _ in range(5):
            probe = f"import time,sys,io; sys.stdout=io.StringIO(); {code}; sys.stderr.write(str(time.process_time()))"
            done = subprocess.run([PYTHON, "-c", probe], capture_output=True, text=True, cwd=ROOT, check=True)
            times.append(float(done.stderr))
        starts[name] = min(times)
    return {"write_ms": 1e3 * write, "statistics_s": seconds, "help_s": starts["help"], "import_s": starts["import"]}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", action="store_true", help="a whole Ref-VPS submission (57,720 masks)")
    parser.add_argument("--out", type=Path, default=HERE / "scoring.json")
    parser.add_argument("--bars", default="", help="only these, for example B1,B2 (B6 stands for B6, B8 and B9)")
    options = parser.parse_args()

    def wanted(bar: str) -> bool:
        return not options.bars or bar in options.bars.split(",")

    clips, frames, part = (111, 130, 4) if options.full else (40, 60, 4)
    rows: list[dict] = []

    def row(bar: str, what: str, value: float, unit: str, limit: float, *, most: bool) -> None:
        met, sign = (value <= limit, "<=") if most else (value >= limit, ">=")
        rows.append({"bar": bar, "what": what, "value": round(value, 4), "unit": unit, "limit": limit, "met": met})
        print(
            f"{bar:4} {what:66} {value:9.2f} {unit:6} {sign} {limit:<6} {'met' if met else 'NOT MET'}",
            flush=True,
        )

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        sizes = load.build(root, clips, frames, load.FORMS)
        bench = Bench(root, clips, frames, part)
        register = [PYTHON, "-m", "refvps", "download", "-q", "ref-vps", "--from", str(root / "source")]
        subprocess.run(register, env=bench.env, check=True)
        print(f"{bench.masks:,} masks; MB on disk: " + ", ".join(f"{k} {v:.0f}" for k, v in sizes.items()), flush=True)
        us: dict[str, float] = {}
        if wanted("B1"):
            us["rle"] = bench.ours("rle")
            us["dense"] = bench.peer("dense", "rle", part=True)
            row("B1", "RLE, J+TC: decoding to dense and numpy / refvps", us["dense"] / us["rle"], "x", 10, most=False)
        if wanted("B2") or wanted("B3"):
            us["davis J, 1 process"] = bench.peer("davis-j", "P8", jobs=1, part=True)
        for form in ("own", "1bit", "P8") if wanted("B2") else ():
            fast = form == "1bit"  # Pillow filters the rows of mode 1, which numba undoes
            name = f"{form}, numba" if fast else form
            us[name], us[f"limit {form}"] = bench.ours(form, fast=fast), bench.peer("inflate", form)
            row("B2", f"{name}, J+TC: refvps / read and inflate", us[name] / us[f"limit {form}"], "x", 2.0, most=True)
            us[f"{name}, 1 process"] = bench.ours(form, jobs=1, fast=fast)
            ratio = us["davis J, 1 process"] / us[f"{name}, 1 process"]
            row("B2", f"{name}, J+TC, 1 process: davis-style J / refvps", ratio, "x", 60, most=False)
        for form in ("cv", "L") if wanted("B3") else ():
            us[form], us[f"pillow {form}"] = bench.ours(form), bench.peer("pillow", form)
            ratio = us[form] / us[f"pillow {form}"]
            row("B3", f"{form}, J+TC: refvps / decoding with Pillow", ratio, "x", 1.15, most=True)
            us[f"{form}, numba, 1 process"] = bench.ours(form, jobs=1, fast=True)
            ratio = us["davis J, 1 process"] / us[f"{form}, numba, 1 process"]
            row("B3", f"{form}, J+TC, numba, 1 process: davis-style J / refvps", ratio, "x", 25, most=False)
        if wanted("B4"):
            us["vos-benchmark J+F"] = bench.peer("vos", "P8", part=True)
            us["davis J+F, 1 process"] = bench.peer("davis-jf", "P8", jobs=1, part=True)
            for form in ("P8", "rle"):
                us[f"{form} J+TC+F"] = bench.ours(form, "J,TC,F")
                ratio = us["vos-benchmark J+F"] / us[f"{form} J+TC+F"]
                row("B4", f"{form}, J+TC+F: vos-benchmark J+F / refvps", ratio, "x", 20, most=False)
    if wanted("B5"):
        for form in ("P8", "rle"):
            for metrics in ("J,TC", "J,F,TC"):
                what = f"peak memory of a worker, 408 frames, {form} {metrics}"
                row("B5", what, memory(form, metrics), "MB", 120, most=True)
    if wanted("B6"):
        small = small_things()
        row("B6", "writing a prediction in the canonical form", small["write_ms"], "ms", 0.5, most=True)
        row("B8", "10,000-draw bootstrap and sign flips, 111 clips", small["statistics_s"], "s", 0.15, most=True)
        row("B9", "refvps --help, CPU", small["help_s"], "s", 0.2, most=True)
        row("B9", "import refvps, CPU", small["import_s"], "s", 0.2, most=True)
    table = {
        "machine": machine(),
        "masks": bench.masks,
        "jobs": JOBS,
        "rows": rows,
        "us_per_mask": {k: round(v, 1) for k, v in us.items()},
    }
    options.out.write_text(json.dumps(table, indent=1) + "\n")
    print(f"\nmicroseconds a mask, {JOBS} processes unless said: " + ", ".join(f"{k} {v:.0f}" for k, v in us.items()))
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
