"""Doing things: counting, scoring, comparing, predicting, and the files these leave behind."""
