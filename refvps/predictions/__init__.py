"""Predictions on disk: read in every accepted layout, validated, written in the canonical form."""
