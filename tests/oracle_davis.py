"""davis2017-evaluation, written again from its rules, for small videos. Imports nothing from refvps.

Run as a program it writes the goldens: ``python tests/oracle_davis.py``.
"""

from __future__ import annotations

import itertools
import json
import math
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

GOLDEN = Path(__file__).parent / "golden" / "protocols-davis.json"
NAMES = ("J-Mean", "J-Recall", "J-Decay", "F-Mean", "F-Recall", "F-Decay")


def images_of(path):
    with Image.open(path) as picture:
        return np.array(picture)


def images(folder):
    return np.stack([images_of(path) for path in sorted(folder.glob("*.png"), key=lambda path: str(path))])


def edge(mask):
    """Pixels unlike their right, lower or lower right neighbour; outside, the frame repeats its last pixel."""
    q = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    return (mask != q[:-1, 1:]) | (mask != q[1:, :-1]) | (mask != q[1:, 1:])


def near(points, others, radius):
    """How many points lie within a disc around some other point."""
    if not len(points) or not len(others):
        return 0
    distance = ((points[:, None, :] - others[None, :, :]) ** 2).sum(axis=2)
    return int((distance.min(axis=1) <= radius * radius).sum())


def j_of(p, g, keep):
    union = int(((p | g) & keep).sum())
    return int((p & g & keep).sum()) / union if union else 1.0


def f_of(p, g, keep):
    radius = math.ceil(0.008 * math.hypot(*p.shape))
    fg, gt = np.argwhere(edge(p & keep)), np.argwhere(edge(g & keep))
    if not len(fg) or not len(gt):
        return 1.0 if len(fg) == len(gt) else 0.0
    precision, recall = near(fg, gt, radius) / len(fg), near(gt, fg, radius) / len(gt)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def statistics(values, borders=np.int64):
    """Mean, recall and decay; ``borders`` np.uint8 as in the tool, which wraps."""
    ids = (np.round(np.linspace(1, len(values), 5) + 1e-10) - 1).astype(borders)
    with np.errstate(over="ignore"):
        first, last = values[ids[0] : ids[1] + ids.dtype.type(1)], values[ids[3] : ids[4] + ids.dtype.type(1)]
    decay = np.mean(first) - np.mean(last) if len(first) and len(last) else math.nan
    return float(np.mean(values)), float(np.mean(values > 0.5)), float(decay)


def pairs(truth, guess, task):
    """[(object, prediction, J per frame, F per frame)] of one sequence, in the tool's order."""
    void = truth == 255
    objects = int(np.where(void, 0, truth)[0].max())
    if task == "semi-supervised":
        truth, guess, void = truth[1:-1], guess[1:-1], np.zeros_like(void[1:-1])
        proposals = objects
        if guess.max() > objects:
            raise ValueError("an index higher than the number of objects")
    else:
        proposals = max(objects, int(guess.max()))
        if guess.max() > 20:
            raise ValueError("an index higher than the maximum number of proposals")

    def values(p, g, measure):
        masks = zip(guess == p, (truth == g), ~void, strict=True)
        return np.array([measure(*mask) for mask in masks])

    if task == "semi-supervised":
        return [(k, k, values(k, k, j_of), values(k, k, f_of)) for k in range(1, objects + 1)]
    table = {
        (p, g): (values(p, g, j_of), values(p, g, f_of)) for p in range(1, proposals + 1) for g in range(1, objects + 1)
    }
    worth = {key: (np.mean(j) + np.mean(f)) / 2 for key, (j, f) in table.items()}
    best = max(  # every way to give each object a proposal of its own
        itertools.permutations(range(1, proposals + 1), objects),
        key=lambda chosen: math.fsum(worth[p, g] for g, p in enumerate(chosen, 1)),
    )
    return [(g, p, *table[p, g]) for p, g in sorted((p, g) for g, p in enumerate(best, 1))]


def evaluate(gt, pred, task, borders=np.int64):
    """{"scores": ..., "objects": [...]} of two folders."""
    objects = []
    for folder in sorted(gt.iterdir(), key=lambda path: path.name):
        for number, (g, p, j, f) in enumerate(pairs(images(folder), images(pred / folder.name), task), 1):
            numbers = dict(zip(NAMES, (*statistics(j, borders), *statistics(f, borders)), strict=True))
            objects.append(
                {"label": f"{folder.name}_{number}", "object": str(g), "prediction": str(p), "scores": numbers}
            )
    if not objects:
        return {"scores": {}, "objects": []}
    means = {name: float(np.mean([one["scores"][name] for one in objects])) for name in NAMES}
    return {"scores": {"J&F-Mean": (means["J-Mean"] + means["F-Mean"]) / 2.0, **means}, "objects": objects}


def golden():
    """Results of every data set that a task can score."""
    import protocol_data

    found = {}
    for name in protocol_data.SHAPES:
        with tempfile.TemporaryDirectory() as folder:
            truth, guess = protocol_data.data_set(name)
            gt = protocol_data.write(Path(folder) / "gt", truth)
            pred = protocol_data.write(Path(folder) / "pred", guess)
            for task in ("unsupervised", "semi-supervised"):
                try:
                    found[f"{name}/{task}"] = evaluate(gt, pred, task)
                except ValueError as error:
                    found[f"{name}/{task}"] = {"error": str(error)}
    return found


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(json.dumps(golden(), indent=1) + "\n")
