"""Validate, count, score: what ``refvps evaluate`` and ``refvps.evaluate`` do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from refvps.errors import UsageError
from refvps.predictions.problems import MISSING_CODES, Report
from refvps.predictions.submission import Submission, open_submission
from refvps.run.count import Progress, count
from refvps.run.counts import Counts, select
from refvps.run.counts_file import read_counts
from refvps.run.results import read_result
from refvps.run.score import check_metrics, score
from refvps.types import ID, Benchmark, Method, Rules, Scores

RUN_FIELDS = ("schema", "method", "seed", "key", "benchmark")
"""What a result repeats of a run file."""


@dataclass(frozen=True)
class Evaluation:
    """Scores, the integers they come from, the notes of validation, and what was read.

    ``inputs`` says where the masks came from and in which form; it is no part of the result proper, which
    is the same for the same masks in any form.
    """

    scores: Scores
    counts: Counts
    rules: Rules
    report: Report
    inputs: Mapping[str, Any]


def method_of(submission: Submission, name: str | None) -> Method:
    """The method behind a submission: ``name``, else run.json's, else the folder's (or the zip's) name."""
    chosen = name or submission.name or submission.files.root.resolve().name.removesuffix(".zip")
    if not ID.fullmatch(chosen):
        raise UsageError(
            "The method needs a name that can be a file name.",
            where=[repr(chosen)],
            fix="pass --method NAME (letters, digits, '.', '_' and '-')",
        )
    return Method(chosen)


def evaluate_submission(
    benchmark: Benchmark,
    path: Path,
    rules: Rules | None = None,
    *,
    method: str | None = None,
    jobs: int = 1,
    without: Iterable[str] = (),
    progress: Progress | None = None,
) -> Evaluation:
    """Score the predictions at ``path``.

    Structure is validated first, every mask while it is counted; any error stops the evaluation with one
    InputError that lists them all. ``without`` leaves clips out (a withdrawn clip), as if the benchmark
    had never had them.
    """
    rules = rules or benchmark.rules
    check_metrics(rules.metrics)
    submission = open_submission(path, benchmark)
    report = submission.problems
    if rules.missing == "zero":
        report = report.demote(MISSING_CODES)
    report.raise_for_errors()
    maker = method_of(submission, method)
    counts, masks = count(benchmark, submission, rules, jobs=jobs, progress=progress)
    report = Report.merge([report, masks])
    report.raise_for_errors()
    counts = replace(without_clips(counts, without), method={"name": maker.name})
    counts = replace(counts, notes=(*counts.notes, *_renamed(submission, maker.name)))
    scores = score(counts, rules, method=maker)
    inputs = {
        "predictions": _shown(path),
        "layout": submission.layout,
        "run": {key: value for key, value in (submission.run or {}).items() if key in RUN_FIELDS},
        "problems": report.to_dict()["problems"],
    }
    return Evaluation(scores, counts, rules, report, inputs)


def _renamed(submission: Submission, name: str) -> Iterator[str]:
    """Says so when a run that is none of the method's own (other sentences, an oracle) goes by another name."""
    method = (submission.run or {}).get("method")
    options = method.get("options") if isinstance(method, dict) else None
    given = options if isinstance(options, dict) else {}
    marks = [f"{key}: {given[key]}"[:80] for key in ("text_control", "oracle") if given.get(key)]
    if marks and submission.name and submission.name != name:
        yield f"the run calls itself {submission.name} ({', '.join(marks)})"


def evaluate_counts(path: Path, rules: Rules, *, method: str | None = None, without: Iterable[str] = ()) -> Evaluation:
    """Score published counts again, under other rules or without some clips; no masks are needed."""
    counts = without_clips(read_counts(path), without)
    name = method or str(counts.method.get("name") or path.name.removesuffix(".counts.npz"))
    counts = replace(counts, method={"name": name})
    scores = score(counts, rules, method=Method(name))
    return Evaluation(scores, counts, rules, Report(()), {"counts": _shown(path)})


def rules_beside(path: Path) -> tuple[Rules, str]:
    """The rules that counts were scored by, when the result still lies beside them, and a line that says so.

    A table of counts does not hold rules; alone, it is scored by the defaults.
    """
    result = path.with_name(path.name.removesuffix(".counts.npz") + ".json")
    if path.name.endswith(".counts.npz") and result.is_file():
        found = read_result(result)
        if found.data["counts"]["sha256"] == read_counts(path).sha256():
            return found.rules, f"rules not given here are those of {result}"
    return Rules(), ""


def protocol_of(path: Path) -> str:
    """The other tool's protocol that counts were made by, "" for refvps' own rules."""
    return str(read_counts(path).protocol.get("protocol", ""))


def _shown(path: Path) -> str:
    """A path as text that any JSON file can hold."""
    return str(path).encode("utf-8", "replace").decode("utf-8")


def without_clips(counts: Counts, clips: Iterable[str]) -> Counts:
    """Counts as if the benchmark had never had these clips; UsageError for a clip it does not have."""
    gone = set(clips)
    if not gone:
        return counts
    known = {clip.id for clip in counts.clips}
    if unknown := sorted(gone - known):
        raise UsageError("There is no such clip to leave out.", where=unknown, fix="check the clip ids")
    note = "left out: " + ", ".join(sorted(gone))
    return replace(select(counts, known - gone), notes=(*counts.notes, note))


def evaluate(benchmark: Benchmark | str, predictions: str | Path, **options: Any) -> Scores:
    """Score predictions in Python: ``refvps.evaluate(refvps.load("sample"), "preds/").summary["J"]``.

    ``benchmark``: a benchmark or its name. ``options``: ``rules``, ``method``, ``jobs``, ``without``,
    ``progress`` as for :func:`evaluate_submission`. Nothing is written. Ref-DAVIS is scored by its protocol unless
    ``rules`` say otherwise.
    """
    if isinstance(benchmark, str):
        from refvps.data import load

        benchmark = load(benchmark)
    if benchmark.name == "ref-davis" and not options.keys() & {"rules", "without"}:
        from refvps.run.protocols.refdavis import evaluate_refdavis

        return evaluate_refdavis(benchmark, Path(predictions), **options).scores
    return evaluate_submission(benchmark, Path(predictions), **options).scores
