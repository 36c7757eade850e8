"""The speed of extraction: refvps against the ffmpeg command line and against decoding alone, in one run.

    python tests/bench/frames.py [--rounds N] [--seconds N] [--out FILE]

Needs ffmpeg. The films are the coffee of the fixtures at 1920x1080 in H.264 and upright at 1080x1920 in H.265. Every
contender is a whole process; they take turns, and the best of the rounds counts. Bar B7 is the ratio to ffmpeg.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from scoring import HERE, JOBS, PYTHON, ROOT, machine

FILM = Path(os.environ.get("REFVPS_FIXTURES") or ROOT.parent / "shared/fixtures") / "clips/coffee_pour_apache2.mp4"
FILTERS = "setpts=PTS-STARTPTS,fps=24:round=near"
DECODE = """
import sys, av
with av.open(sys.argv[1]) as container:
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    stream.codec_context.thread_count = int(sys.argv[2])
    print(sum(1 for _ in container.decode(stream)))
"""
MANIFEST = """
import sys
from pathlib import Path
from refvps.data.records import read_clips
found = sum(record.source.licence == "CC0-1.0" for record in read_clips(Path(sys.argv[1])))
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(found, int(peak.split()[1]) / 1024)
"""


def run(command: list[str]) -> tuple[float, str]:
    """Wall time and output of a whole process."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    started = time.perf_counter()
    done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=ROOT)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")
    return seconds, done.stdout


def films(root: Path, seconds: int) -> dict[str, Path]:
    """The films, encoded here."""
    made = {"H.264 1920x1080": root / "wide.mp4", "H.265 1080x1920": root / "tall.mp4"}
    source = ["ffmpeg", "-v", "error", "-y", "-stream_loop", "1", "-t", str(seconds), "-i", str(FILM), "-an"]
    wide, tall = made.values()
    run([*source, "-vf", "scale=1920:1080", "-r", "30", "-c:v", "libx264", "-crf", "18", str(wide)])
    settings = ["-c:v", "libx265", "-crf", "20", "-x265-params", "log-level=error"]
    run([*source, "-vf", "scale=1920:1080,transpose=1", "-r", "30", *settings, str(tall)])
    return made


def contenders(film: Path, out: Path) -> dict[str, list[str]]:
    """Commands by name; ``out`` is emptied before each."""
    ours = [PYTHON, "-m", "refvps", "extract", "-q", str(film), "--out", str(out), "-j", str(JOBS)]
    theirs = ["ffmpeg", "-v", "error", "-threads", str(JOBS), "-i", str(film)]
    return {
        "refvps": ours,
        "refvps png": [*ours, "--format", "png"],
        "ffmpeg": [*theirs, "-vf", FILTERS, "-q:v", "2", "-start_number", "0", str(out / "%05d.jpg")],
        "ffmpeg png": [*theirs, "-vf", FILTERS, "-compression_level", "1", "-start_number", "0", str(out / "%05d.png")],
        "decode": [PYTHON, "-c", DECODE, str(film), str(JOBS)],
        "ffmpeg decode": [*theirs, "-f", "null", "-"],
    }


def manifest(root: Path, clips: int) -> tuple[float, float, float]:
    """Seconds and peak MB to read, validate and filter a manifest, and the peak MB of one with 100 clips."""
    peaks, seconds = [], 0.0
    for count in (100, clips):
        path = root / f"{count}.jsonl"
        with open(path, "w") as stream:
            for index in range(count):
                record = {
                    "id": f"clip{index}",
                    "size": [576, 1024],
                    "fps": 24.0,
                    "annotation_fps": 6.0,
                    "split": "test",
                }
                record |= {"frames": {"count": 130, "digits": 5}, "annotated": {"count": 33, "digits": 5, "step": 4}}
                record |= {"group": f"v{index // 3}", "source": {"licence": "CC0-1.0" if index % 2 else "CC-BY-4.0"}}
                stream.write(json.dumps(record) + "\n")
        seconds, text = run([PYTHON, "-c", MANIFEST, str(path)])
        found, peak = text.split()
        assert int(found) == count // 2
        peaks.append(float(peak))
    return seconds, peaks[1], peaks[0]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--clips", type=int, default=100_000)
    parser.add_argument("--out", type=Path, default=HERE / "frames.json")
    options = parser.parse_args()
    if shutil.which("ffmpeg") is None:
        raise SystemExit("this bench needs the ffmpeg command line: apt-get install ffmpeg")
    rows: list[dict] = []
    seconds: dict[str, float] = {}

    def row(bar: str, what: str, value: float, unit: str, limit: float | None) -> None:
        met = None if limit is None else value <= limit
        rows.append({"bar": bar, "what": what, "value": round(value, 3), "unit": unit, "limit": limit, "met": met})
        verdict = "" if limit is None else f"<= {limit}  {'met' if met else 'NOT MET'}"
        print(f"{bar:4} {what:70} {value:8.2f} {unit:3} {verdict}", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, film in films(root, options.seconds).items():
            best: dict[str, float] = {}
            frames: dict[str, int] = {}
            for turn in range(options.rounds):
                for who, command in contenders(film, root / "out").items():
                    if "png" in who and turn >= 2:
                        continue
                    shutil.rmtree(root / "out", ignore_errors=True)
                    (root / "out").mkdir()
                    best[who] = min(best.get(who, float("inf")), run(command)[0])
                    frames[who] = sum(1 for path in (root / "out").rglob("*") if path.suffix in (".jpg", ".png"))
            assert abs(frames["refvps"] - frames["ffmpeg"]) <= 1 < frames["ffmpeg"], frames
            row(
                "B7", f"{name}, JPEG q95: refvps / ffmpeg fps=24 and JPEG q2", best["refvps"] / best["ffmpeg"], "x", 1.0
            )
            row("", f"{name}, JPEG q95: refvps / decoding alone (PyAV)", best["refvps"] / best["decode"], "x", None)
            row("", f"{name}: refvps / ffmpeg decoding alone", best["refvps"] / best["ffmpeg decode"], "x", None)
            row("", f"{name}, PNG: refvps / ffmpeg", best["refvps png"] / best["ffmpeg png"], "x", None)
            seconds |= {f"{name}, {who}": value for who, value in best.items()}
        took, peak, small = manifest(root, options.clips)
        row("", f"a manifest of {options.clips:,} clips read, validated and filtered", took, "s", None)
        row("", f"peak memory over {options.clips:,} clips / over 100", peak / small, "x", None)
    version = run(["ffmpeg", "-version"])[1].split()[2]
    table = {
        "machine": {**machine(), "ffmpeg": version, "load": os.getloadavg()},
        "film_seconds": options.seconds,
        "jobs": JOBS,
        "rounds": options.rounds,
        "rows": rows,
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "manifest_peak_mb": round(peak, 1),
    }
    options.out.write_text(json.dumps(table, indent=1) + "\n")
    print("\nseconds: " + ", ".join(f"{name} {value:.2f}" for name, value in seconds.items()))
    print(f"wrote {options.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
