"""Scoring as published tools do: ``refvps evaluate --protocol NAME --gt DIR --pred DIR``.

:data:`~refvps.run.protocols.rules.PROTOCOLS` declares the rules as data; :mod:`~refvps.run.protocols.layout` pairs
files, :mod:`~refvps.run.protocols.sequence` counts a video, :mod:`~refvps.run.protocols.objects` turns counts into
the tool's numbers. A result by a protocol carries it in its signature and is compared only with its own kind.
:mod:`~refvps.run.protocols.matching` holds the assignment of predictions to objects, for Ref-DAVIS17 as well.
"""

from refvps.run.protocols.evaluate import ProtocolEvaluation, evaluate_protocol, read_sequences, rescore
from refvps.run.protocols.matching import AllPairs, RunScores, all_pairs, count_pairs, masks_of_ids, score_run
from refvps.run.protocols.refdavis import evaluate_refdavis, rescore_refdavis
from refvps.run.protocols.rules import PROTOCOLS, TOOLS, Protocol, choose

__all__ = [
    "PROTOCOLS",
    "TOOLS",
    "AllPairs",
    "Protocol",
    "ProtocolEvaluation",
    "RunScores",
    "all_pairs",
    "choose",
    "count_pairs",
    "evaluate_protocol",
    "evaluate_refdavis",
    "masks_of_ids",
    "read_sequences",
    "rescore",
    "rescore_refdavis",
    "score_run",
]
