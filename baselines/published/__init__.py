"""Published methods, run unchanged in an environment of their own: recipes as data; :mod:`baselines.run` runs them."""

from __future__ import annotations

from baselines.published.recipe import Door, Places, Recipe, Row
from baselines.published.table import RECIPES, ROWS

__all__ = ["RECIPES", "ROWS", "Door", "Places", "Recipe", "Row"]
