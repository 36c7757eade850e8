"""A manifest of 100,000 clips: CPU seconds and memory to open, validate and filter it, in both forms of frame lists.

``python tests/bench/manifest.py [clips]`` prints a table; each row is measured in a process of its own. Memory is
the peak above what the imports take (VmHWM, Linux). "flat" compares it with a manifest a tenth as long.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
FRAMES, STEP = 131, 4


def clip_line(number: int, compact: bool) -> dict[str, object]:
    """One clip with everything a manifest can say."""
    names = [f"{index:05d}" for index in range(FRAMES)]
    return {
        "id": f"clip-{number:06d}",
        "size": [576, 1024],
        "fps": 24,
        "frames": {"count": FRAMES, "digits": 5} if compact else names,
        "annotated": {"count": len(names[::STEP]), "digits": 5, "step": STEP} if compact else names[::STEP],
        "annotation_fps": 6,
        "group": f"video-{number // 2}",
        "split": "test" if number % 10 else "val",
        "concept": f"concept {number % 39}",
        "categories": ["motion patterns"],
        "frame_count": FRAMES,
        "scale": "table",
        "query": "a wax candle melting",
        "quality": ["watermark"],
        "added_in": "v1",
        "source": {
            "platform": "tiktok",
            "url": f"https://example.org/video/{number}",
            "video_id": str(number),
            "uploader_hash": f"{number:064x}",
            "retrieved_at": "2026-01-31",
            "licence": "CC-BY-4.0",
            "redistribution": "frames" if number % 3 else "link_only",
            "sha256": f"{number:064x}",
        },
        "edit": {"start": "12.345", "end": "1001/24", "crop": [0, 0, 1024, 576], "jpeg_quality": 95},
    }


def expression_lines(number: int) -> list[dict[str, object]]:
    """Four expressions, two annotators with two slots."""
    return [
        {
            "clip": f"clip-{number:06d}",
            "id": str(k),
            "text": f"the wax that melts in clip {number}, version {k}",
            "target": "1",
            "annotator": f"a{1 + k // 2}",
            "slot": 1 + k % 2,
        }
        for k in range(4)
    ]


def write(folder: Path, clips: int, compact: bool) -> None:
    """Write both manifests."""
    with open(folder / "clips.jsonl", "w") as stream:
        stream.writelines(json.dumps(clip_line(n, compact), separators=(",", ":")) + "\n" for n in range(clips))
    with open(folder / "expressions.jsonl", "w") as stream:
        stream.writelines(json.dumps(e) + "\n" for n in range(clips) for e in expression_lines(n))


def peak() -> int:
    """Peak memory of this process in KiB."""
    text = Path("/proc/self/status").read_text()
    return int(text.split("VmHWM:")[1].split()[0])


def measure(what: str, folder: Path) -> None:
    """Do one thing and print CPU seconds, KiB and what came out."""
    from refvps.data.manifest import read_manifest, schema_of, violation
    from refvps.data.records import read_clips, read_expressions

    violation({}, "clips")  # what jsonschema takes to import is no part of this
    before, began = peak(), time.process_time()
    if what == "json.loads only":
        with open(folder / "clips.jsonl", "rb") as stream:
            found = sum(json.loads(line)["split"] == "val" for line in stream)
    elif what == "open, validate, filter clips":
        found = sum(1 for record in read_clips(folder / "clips.jsonl") if record.clip.split == "val")
    elif what == "the same, trusted":
        found = sum(1 for record in read_clips(folder / "clips.jsonl", checked=True) if record.clip.split == "val")
    elif what == "open, validate, filter expressions":
        path = folder / "expressions.jsonl"
        found = sum(1 for record in read_expressions(path) if record.expression.annotator == "a1")
    elif what == "load both whole, joined":
        clips, expressions = read_manifest(folder)
        found = len(clips) + len(expressions)
    else:
        from jsonschema import Draft202012Validator

        validator = Draft202012Validator(schema_of("clips"))
        with open(folder / "clips.jsonl", "rb") as stream:
            found = sum(validator.is_valid(json.loads(line)) for line, _ in zip(stream, range(200), strict=False))
    print(json.dumps([time.process_time() - began, peak() - before, found]))


def run(what: str, folder: Path) -> tuple[float, float, int]:
    """CPU seconds, MiB and the count of :func:`measure` in a process of its own."""
    command = [sys.executable, __file__, "--one", what, str(folder)]
    done = subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True)
    seconds, kib, found = json.loads(done.stdout)
    return seconds, kib / 1024, found


def main(clips: int) -> None:
    """Print the table."""
    print(f"{clips:,} clips of {FRAMES} frames, {4 * clips:,} expressions; Python {sys.version.split()[0]}")
    print(f"{'form':8} {'what':36} {'CPU s':>8} {'MiB':>7} {'MiB at a tenth':>15}  found")
    for compact in (False, True):
        form = "compact" if compact else "lists"
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as tenth:
            write(Path(one), clips, compact)
            write(Path(tenth), clips // 10, compact)
            size = (Path(one) / "clips.jsonl").stat().st_size / 1e6
            print(f"{form:8} clips.jsonl has {size:,.0f} MB")
            for what in ROWS:
                seconds, mib, found = run(what, Path(one))
                _, less, _ = run(what, Path(tenth))
                print(f"{form:8} {what:36} {seconds:8.2f} {mib:7.1f} {less:15.1f}  {found:,}")
            seconds, _, _ = run("jsonschema on 200 lines", Path(one))
            print(f"{form:8} {'jsonschema alone, from 200 lines':36} {seconds / 200 * clips:8.0f}")


ROWS = (
    "json.loads only",
    "open, validate, filter clips",
    "the same, trusted",
    "open, validate, filter expressions",
    "load both whole, joined",
)

if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        measure(sys.argv[2], Path(sys.argv[3]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
