"""Run predictors: over a benchmark, over frames of one's own, against the clock."""

from refvps.run.predict.benchmark import Run, clip_seed, predict
from refvps.run.predict.frames import predict_frames
from refvps.run.predict.shares import shards

__all__ = ["Run", "clip_seed", "predict", "predict_frames", "shards"]
