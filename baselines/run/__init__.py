"""Published methods, run: ``from baselines.run import run``."""

from __future__ import annotations

from baselines.run.published import SHIM, Ran, run

__all__ = ["SHIM", "Ran", "run"]
