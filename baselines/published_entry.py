"""Entry points of the methods that run as their authors published them: they say how."""

from __future__ import annotations

from typing import NoReturn

from refvps.errors import DataMissingError


def _by_recipe(name: str) -> NoReturn:
    raise DataMissingError(
        "This method runs in an environment of its own, not inside refvps.",
        where=[name],
        fix=f"baselines run {name} --repo DIR --weights FILE -b ref-vps --out preds/ "
        "(baselines run --help; it exports, runs, checks and imports)",
    )


def referformer(**options: object) -> NoReturn:
    """Raises DataMissingError with the command that runs ReferFormer."""
    _by_recipe("referformer")


def mutr(**options: object) -> NoReturn:
    """Raises DataMissingError with the command that runs MUTR."""
    _by_recipe("mutr")


def uninext(**options: object) -> NoReturn:
    """Raises DataMissingError with the command that runs UNINEXT."""
    _by_recipe("uninext")


def sgmg(**options: object) -> NoReturn:
    """Raises DataMissingError with the command that runs SgMg."""
    _by_recipe("sgmg")
