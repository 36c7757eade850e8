"""Why a result says what it says: from five integers of one frame up to the benchmark's mean, step by step.

:mod:`~refvps.report.explain.arithmetic` computes with plain Python numbers and shares no code with
:mod:`refvps.metrics`, so that an explanation that agrees with a result is a second opinion.
"""
