"""Predictions in forms that only an import reads: what published methods make of their own questions."""
