"""An independent scorer in plain loops, for property tests. Imports nothing from refvps."""

from __future__ import annotations

import math
from fractions import Fraction

import cv2
import numpy as np


def areas(p, g, i):
    """|P∩G|, |P|, |G|, |P∩I|, |I| by counting pixels one by one."""
    both = n_p = n_g = on_ignore = n_i = 0
    for pp, gg, ii in zip(p.ravel().tolist(), g.ravel().tolist(), i.ravel().tolist(), strict=True):
        gg = gg and not ii
        n_p += pp
        n_g += gg
        n_i += ii
        both += pp and gg
        on_ignore += pp and ii
    return both, n_p, n_g, on_ignore, n_i


def j(p, g, i):
    """J as an exact fraction, Ignore removed from both masks, 1 for an empty union."""
    keep = ~i
    union = int(((p | g) & keep).sum())
    return Fraction(int((p & g & keep).sum()), union) if union else Fraction(1)


def disk(r):
    y, x = np.mgrid[-r : r + 1, -r : r + 1]
    return (x * x + y * y <= r * r).astype(np.uint8)


def edge(mask):
    """DAVIS's boundary map, written from its definition pixel by pixel."""
    h, w = mask.shape
    out = np.zeros((h, w), bool)
    for y in range(h):
        for x in range(w):
            right = mask[y, x + 1] if x + 1 < w else mask[y, x]
            down = mask[y + 1, x] if y + 1 < h else mask[y, x]
            both = mask[y + 1, x + 1] if x + 1 < w and y + 1 < h else mask[y, x]
            if x == w - 1 and y == h - 1:
                continue
            if y == h - 1:
                out[y, x] = mask[y, x] != right
            elif x == w - 1:
                out[y, x] = mask[y, x] != down
            else:
                out[y, x] = mask[y, x] != right or mask[y, x] != down or mask[y, x] != both
    return out


def f_counts(p, g, i, bound_th=0.008):
    """Boundary pixels of prediction and target, and how many of each lie near the other's."""
    p, g = p & ~i, g & ~i
    r = math.ceil(bound_th * math.hypot(*p.shape))
    ep, eg = edge(p), edge(g)
    near_p = cv2.dilate(ep.astype(np.uint8), disk(r)) > 0
    near_g = cv2.dilate(eg.astype(np.uint8), disk(r)) > 0
    return int(ep.sum()), int(eg.sum()), int((ep & near_g).sum()), int((eg & near_p).sum())


def f(p, g, i, bound_th=0.008):
    n_p, n_g, m_p, m_g = f_counts(p, g, i, bound_th)
    if n_p == 0 and n_g == 0:
        return 1.0
    if n_p == 0 or n_g == 0:
        return 0.0
    precision, recall = m_p / n_p, m_g / n_g
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def score(truth, predictions):
    """Mean J and TC of {clip: {expression: [(p, g, i, missing)]}}, frame > expression > clip."""
    clip_j, clip_tc = [], []
    for clip, expressions in truth.items():
        js, tcs = [], []
        for expression, frames in expressions.items():
            values = []
            for (g, i), p in zip(frames, predictions[clip][expression], strict=True):
                values.append(Fraction(0) if p is None else j(p, g, i))
            js.append(sum(values) / len(values))
            jumps = [abs(b - a) for a, b in zip(values, values[1:], strict=False)]
            if jumps:
                tcs.append(sum(jumps) / len(jumps))
        clip_j.append(sum(js) / len(js))
        if tcs:
            clip_tc.append(sum(tcs) / len(tcs))
    return float(sum(clip_j) / len(clip_j)), (float(sum(clip_tc) / len(clip_tc)) if clip_tc else None)
