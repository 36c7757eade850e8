"""The tables that published tools print, from a result by their protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from refvps.report.table import grid


def protocol_table(data: Mapping[str, Any]) -> str:
    """A result by ``--protocol`` as text: everything, by object, by sequence, in the tool's names, unit and digits."""
    block, bench = data["protocol"], data["benchmark"]
    names, digits = block["columns"], block["digits"]

    def cells(scores: Mapping[str, float]) -> list[str]:
        return [f"{scores[name]:.{digits}f}" for name in names]

    counted = f"{len(block['objects'])} objects of {len(block['sequences'])} sequences"
    unit = "percent" if block["scale"] == 100 else "fractions"
    by_object = [["object", "prediction", "frames", *names]]
    for one in block["objects"]:
        place = f"{one['clip']}/{one['object']}"
        given = f"{one['label']}: {one['prediction']}" if "runs" in block else one["prediction"]
        by_object.append([place, given, str(one["frames"]), *cells(one["scores"])])
    by_sequence = [["sequence", "objects", *names]]
    for one in block["sequences"]:
        by_sequence.append([one["clip"], str(one["objects"]), *cells(one["scores"])])
    by_run = [["run", "objects", *names]]
    for one in block.get("runs", ()):
        by_run.append([one["run"], str(one["objects"]), *cells(one["scores"])])
    parts = [
        f"{data['method']['name']} on {bench['name']}@{bench['version']} as {block['tool']} scores it"
        + (" (INCOMPLETE)" if data["incomplete"] else ""),
        grid([names, cells(block["scores"])], left=0) + f"\n{counted}, {unit}",
        *([grid(by_run)] if len(by_run) > 1 else []),
        grid(by_sequence),
        grid(by_object),
        *(f"note: {note}" for note in data["notes"]),
        data["signature"],
    ]
    return "\n\n".join(parts)
