"""Readers of other people's layouts: one row per benchmark that ``refvps download NAME --from DIR`` can import.

A loader is ``load_<name>(root: Path, *, jobs: int = 1, progress: Progress | None = None, **options: str) ->
Benchmark``. It reads the foreign layout below ``root`` and nothing else; its truth is lazy and pickles to paths and
hashes; where target and Ignore meet, Ignore wins and a note gives the pixels. Ids come from
:func:`refvps.data.ids.map_ids`, the originals stay in ``source_id``; ``clip_digests`` and ``digest`` are those of
:mod:`refvps.data.digest`. The benchmark carries the rules it is scored by. A missing piece is an InputError that
names it and the layout. :func:`refvps.data.store.store` then keeps it under the home folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Importer:
    """A benchmark that refvps can read but not hand out.

    ``loader``: "module:attribute", imported when asked for. ``licence``: what the user must agree to, one
    paragraph. ``instructions``: the steps to get the files, as lines of text without numbers. ``layout``: the
    folder the loader expects, one path per line. ``options``: name to one line of help of what
    ``--option NAME=VALUE`` may set; values reach the loader as text, which raises UsageError for a bad one.
    """

    name: str
    loader: str
    summary: str
    licence: str
    instructions: tuple[str, ...]
    layout: str
    options: Mapping[str, str] = field(default_factory=dict)


_STYLE = "sentences: raw (default), the data set's own names, as REM used them; or clean, readable and unique"

_ROWS: tuple[Importer, ...] = (
    Importer(
        name="burst",
        loader="refvps.data.importers.burst:load_burst",
        summary='BURST val and test by class: "the <class>" (paper, C.1)',
        licence=(
            "BURST's annotations are published with github.com/Ali2500/BURST-benchmark. The videos belong to ArgoVerse,"
            " AVA, BDD, Charades, HACS, LaSOT and YFCC100M, each with terms of its own. refvps hands out none of them."
        ),
        instructions=(
            "download annotations.zip, linked from github.com/Ali2500/BURST-benchmark, and unpack it",
            "to predict, put the frames of TAO beside it (motchallenge.net/tao_download.php; AVA and HACS on request)",
        ),
        layout=(
            "val/all_classes.json\ntest/all_classes.json\n"
            "frames/val/<data set>/<sequence>/<file>.jpg (only to predict; likewise frames/test)"
        ),
        options={"split": "val+test (default), val, or test", "style": _STYLE},
    ),
    Importer(
        name="vspw-stuff",
        loader="refvps.data.importers.vspw:load_vspw",
        summary='VSPW val, its 66 stuff classes: "the <class>" (paper, C.1)',
        licence=(
            "VSPW is released by its authors for research (github.com/VSPW-dataset/VSPW-dataset-download); agree to "
            "their terms. refvps hands out none of it."
        ),
        instructions=("download VSPW, as github.com/VSPW-dataset/VSPW-dataset-download says, and unpack it",),
        layout=(
            "val.txt\nlabel_num_dic_final.json\ndata/<video>/mask/<frame>.png\n"
            "data/<video>/origin/<frame>.jpg (only to predict)"
        ),
        options={"split": "val (default) or train", "style": _STYLE},
    ),
    Importer(
        name="ref-davis",
        loader="refvps.data.importers.referring.davis:load_refdavis",
        summary="Ref-DAVIS17 val: four annotator runs, official Hungarian matching",
        licence="DAVIS-2017 and Ref-DAVIS are published for research (davischallenge.org, mpi-inf.mpg.de); agree to "
        "their terms. refvps hands out neither.",
        instructions=(
            "download DAVIS-2017 (TrainVal and Unsupervised-trainval, 480p) from davischallenge.org and the Ref-DAVIS "
            "text annotations from mpi-inf.mpg.de",
            "make ReferFormer's copy (docs/Ref-DAVIS17.md and tools/data/convert_davis_to_ytvos.py of "
            "github.com/wjn922/ReferFormer)",
        ),
        layout=(
            "meta_expressions/valid/meta_expressions.json\n"
            "DAVIS/Annotations_unsupervised/480p/<video>/<frame>.png (or valid/Annotations/<video>/<frame>.png)\n"
            "valid/JPEGImages/<video>/<frame>.jpg (only to predict)"
        ),
        options={"masks": "unsupervised (official, with void) or copy (valid/Annotations); default: what is there"},
    ),
    Importer(
        name="ref-ytvos",
        loader="refvps.data.importers.referring.youtube:load_refytvos",
        summary="Ref-YouTube-VOS: train with masks, valid as questions for its server",
        licence="YouTube-VOS and its expressions are published for research (youtube-vos.org); agree to their terms. "
        "refvps hands out none of them.",
        instructions=("download Ref-YouTube-VOS, as youtube-vos.org/dataset/rvos says, and unpack it",),
        layout=(
            "meta_expressions/<split>/meta_expressions.json\n"
            "train/Annotations/<video>/<frame>.png\n"
            "<split>/JPEGImages/<video>/<frame>.jpg (to predict; of valid always, for the sizes)"
        ),
        options={
            "split": "train (default), or valid, whose masks are not public",
            "videos": "a file with the videos wanted, one a line: a split of your own",
        },
    ),
    Importer(
        name="mevis",
        loader="refvps.data.importers.referring.mevis:load_mevis",
        summary="MeViS: sentences about motion; valid_u has public masks",
        licence="MeViS is published for non-commercial research (github.com/henghuiding/MeViS); agree to its terms. "
        "refvps hands out none of it.",
        instructions=("download MeViS, as github.com/henghuiding/MeViS says, and unpack it",),
        layout=(
            "<split>/meta_expressions.json (or meta_expressions_v2.json)\n<split>/mask_dict.json\n"
            "<split>/JPEGImages/<video>/<frame>.jpg (only to predict)"
        ),
        options={"split": "valid_u (default), train, or valid, whose masks are not public"},
    ),
    Importer(
        name="davis16",
        loader="refvps.data.importers.referring.davis:load_davis16",
        summary="DAVIS-2016 val: one object a video, no sentences",
        licence="DAVIS-2016 is published for research (davischallenge.org); agree to its terms. refvps does not "
        "hand it out.",
        instructions=("download DAVIS-2016 (or DAVIS-2017 TrainVal, 480p) from davischallenge.org and unpack it",),
        layout=(
            "ImageSets/480p/val.txt (or ImageSets/2016/val.txt)\nAnnotations/480p/<video>/<frame>.png\n"
            "JPEGImages/480p/<video>/<frame>.jpg (only to predict)"
        ),
        options={"split": "val (default) or train"},
    ),
    Importer(
        name="ytvis",
        loader="refvps.data.importers.referring.ytvis:load_ytvis",
        summary="a JSON file in the style of YouTube-VIS or SA-Co: noun phrases, masklets",
        licence="The file and its videos have the terms of whoever published them; agree to these. refvps has none.",
        instructions=("get the file from whoever publishes it, for example the gold sets of SA-Co",),
        layout="instances.json (or another name, but the only .json)\nJPEGImages/<file names in it> (only to predict)",
    ),
)

IMPORTERS: dict[str, Importer] = {row.name: row for row in _ROWS}
"""By benchmark name; importing this table imports no loader."""
