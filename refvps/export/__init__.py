"""Benchmarks in the layouts that other people's code reads."""

from refvps.export.benchmark import LAYOUTS, Layout, export_benchmark

__all__ = ["LAYOUTS", "Layout", "export_benchmark"]
