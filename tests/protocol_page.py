"""The tables of docs/protocols.md, from the data set that the page itself makes. ``python tests/protocol_page.py``
writes them into the page; test_protocols_page.py fails when they are not today's."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import sys
import tempfile
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "protocols.md"


def blocks(language=""):
    """The code blocks of a language; fences are taken in pairs, so the end of one is not the start of another."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return [block for name, block in found if name == language]


def commands():
    return [line for block in blocks() for line in block.splitlines() if line.startswith("refvps ")]


def make_data():
    """Run the page's first Python block, in the current folder."""
    exec(compile(blocks("python")[0], "docs/protocols.md", "exec"), {})


def tools(root):
    """J&F, J, F of every tool on the page's files, in percent, without refvps."""
    import oracle_davis
    from protocol_tools import sav_dataset, vos_benchmark

    found = {}
    for name, task in (("davis17-unsupervised", "unsupervised"), ("davis17-semisupervised", "semi-supervised")):
        scores = oracle_davis.evaluate(root / "gt", root / "preds", task)["scores"]
        found[name] = [100 * scores[key] for key in ("J&F-Mean", "J-Mean", "F-Mean")]
    found["vos-benchmark"] = [float(x) for x in vos_benchmark(root, pred="preds")[0].values()]
    found["sav"] = [float(x) for x in sav_dataset(root, gt="gt-sav", pred="preds-sav")[0].values()]
    return found


def ours(args):
    """J&F, J, F that refvps prints for a command, in percent."""
    from refvps import cli

    stream = io.StringIO()
    with contextlib.redirect_stdout(stream), tempfile.TemporaryDirectory() as out:
        code = cli.run([*args, "--json", "-q", "--out", out])
    if code:
        raise RuntimeError(f"{args}: exit code {code}")
    result = json.loads(stream.getvalue())
    if "protocol" in result:
        block = result["protocol"]
        keys = [next(key for key in block["columns"] if key in (k, f"{k}-Mean")) for k in ("J&F", "J", "F")]
        return [100 // block["scale"] * block["scores"][key] for key in keys]
    return [100 * result["summary"][key]["value"] for key in ("J&F", "J", "F")]


def cell(values):
    return f"{values[0]:.2f} ({values[1]:.2f}, {values[2]:.2f})"


REASONS = {
    "davis17-unsupervised": "matching forgives the swap; smoke dropped; mean over objects",
    "davis17-semisupervised": "smoke dropped; void scored as background; ends skipped; mean over objects",
    "vos-benchmark": "frames before first sight omitted; 255 is an object; ends skipped; mean over objects",
    "sav": "frames before first sight omitted; ends skipped; mean over objects",
}


def numbers(root):
    """The table of numbers, and the four triples behind each row."""
    theirs, rows, raw = tools(root), [], {}
    for name in REASONS:
        gt, pred = ("gt-sav/", "preds-sav/") if name == "sav" else ("gt/", "preds/")
        command = ["evaluate", "--gt", gt, "--pred", pred]
        plain = [*command, *(["--ignore-value", "none"] if name == "sav" else []), "--metrics", "J&F,J,F"]
        raw[name] = (theirs[name], ours([*command, "--protocol", name]), ours(plain))
        shown = shlex.join(["refvps", *command[:1], "--protocol", name, *command[1:]])
        rows.append(f"| `{shown}` | {' | '.join(map(cell, raw[name]))} | {REASONS[name]} |")
    head = [
        "| command | the tool | refvps, as the tool | refvps, default | why the default differs |",
        "|---|---|---|---|---|",
    ]
    return "\n".join([*head, *rows]), raw


def rules():
    """The table of rules, from the protocols themselves."""
    from refvps.run.protocols import PROTOCOLS

    words = {
        "first-frame": "1 to the highest id of the first frame",
        "seen": "every label on a scored frame",
        "listed": "every label, or folder",
        "drop": "void, left out",
        "background": "void, scored as background",
        "object": "an object",
        "count": "counted",
        "omit": "left out",
        "id": "by id",
        "error": "an error",
        "free": "cost nothing",
    }
    rows = ["| | objects | 255 | first, last frame | before first sight | pairs | ids without object | mean over |",
            "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for name, p in PROTOCOLS.items():
        pairs = words["id"] if p.matching == "id" else f"best assignment by J&F, at most {p.max_proposals}"
        mean = "objects" if p.average == "frame>object" else "expressions of a clip, clips"
        ends = "skipped" if p.skip_ends else "scored"
        cells = (f"`{name}`", words[p.objects], words[p.void], ends, words[p.before_first_sight], pairs,
                 words[p.unknown_ids], mean)  # fmt: skip
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def filled(text, name, table):
    """The page with a table between its marks."""
    pattern = rf"<!-- {name} -->\n(.*?)<!-- end -->"
    assert len(re.findall(pattern, text, re.DOTALL)) == 1, name
    return re.sub(pattern, lambda _: f"<!-- {name} -->\n{table}\n<!-- end -->", text, flags=re.DOTALL)


def main():
    sys.path[:0] = [str(PAGE.parent.parent), str(Path(__file__).parent)]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["REFVPS_HOME"] = f"{folder}/home"
        os.chdir(folder)
        make_data()
        table, _ = numbers(Path(folder))
        os.chdir("/")
    PAGE.write_text(filled(filled(PAGE.read_text(), "rules", rules()), "numbers", table))


if __name__ == "__main__":
    main()
