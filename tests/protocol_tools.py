"""The tools themselves, as they are installed: vos-benchmark 0.1.0, and SA-V's rules on its Evaluator."""

from __future__ import annotations

import shutil

import numpy as np
from PIL import Image
from vos_benchmark.benchmark import benchmark
from vos_benchmark.evaluator import Evaluator


def vos_benchmark(root, gt="gt", pred="pred", **options):
    """The tool's own function, on a copy: it writes results.csv into the predictions."""
    copy = root / "copy"
    shutil.copytree(root / pred, copy, dirs_exist_ok=True)
    jf, j, f, by_video = benchmark([str(root / gt)], [str(copy)], num_processes=1, verbose=False, **options)
    return {"J&F": jf[0], "J": j[0], "F": f[0]}, by_video[0]


def sav_dataset(root, keep_ends=False, gt="gt", pred="pred"):
    """sav_benchmark.py: every object folder its own frames, ends and Evaluator; means over objects of all videos."""
    all_j, all_f, by_video = [], [], {}
    for video in sorted((root / gt).iterdir()):
        j_of, f_of = {}, {}
        for folder in sorted(video.iterdir()):
            vos = Evaluator()
            names = sorted(path.name for path in folder.iterdir())
            for name in names if keep_ends else names[1:-1]:
                with Image.open(folder / name) as g, Image.open(root / pred / video.name / folder.name / name) as p:
                    vos.feed_frame(np.array(p) > 0, np.array(g) > 0)
            j, f = vos.conclude()
            assert len(j) == 1  # as the tool asserts
            j_of[folder.name], f_of[folder.name] = j[True], f[True]
        all_j += j_of.values()
        all_f += f_of.values()
        by_video[video.name] = (j_of, f_of)
    j, f = np.array(all_j).mean(), np.array(all_f).mean()
    return {"J&F": (j + f) / 2, "J": j, "F": f}, by_video
