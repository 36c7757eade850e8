"""Benchmarks of referring segmentation by others: sentences, and masks of objects."""
