"""Masks in PNG files: one label picture a frame, or a folder of binary pictures for each object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from refvps.annotate.sources.drawn import Digest, Drawn, Size, refuse
from refvps.archive import FileSet, shown
from refvps.data.index import Labels, scan
from refvps.data.masktracks import empty_counts
from refvps.data.truth import MAX_MASK_BYTES
from refvps.errors import InputError, UsageError
from refvps.frames import natural_key
from refvps.masks import png, rle

Progress = Callable[[int, int], None]
"""Called with (files done, files in all)."""

IGNORE = 255
MAX_OBJECTS = 100
"""Most labels of one clip; more come from soft or resized masks."""

_LARGEST_ID = 20  # a larger grey value looks like a probability, not like the number of an object

_ROOTS = ("", "masks", "Annotations", "Annotations/480p", "Annotations/Full-Resolution", "Annotations_6fps")
_BESIDE = ("jpegimages", "ignore", "frames")


@dataclass(frozen=True, slots=True)
class Pictures:
    """The PNG files of one clip: file by frame name, by object; ``""`` is the object of label pictures."""

    home: str
    parts: Mapping[str, Mapping[str, str]]

    @property
    def flat(self) -> bool:
        """True when one picture a frame holds all objects."""
        return "" in self.parts

    @property
    def names(self) -> tuple[str, ...]:
        """Frames that have a file in some part, in natural order."""
        return tuple(sorted({frame for files in self.parts.values() for frame in files}, key=natural_key))


def find_pictures(files: FileSet, clip: str, *, beside: bool = True) -> Pictures:
    """The PNG files of a clip in a folder or zip.

    They lie in the folder itself, in one called after the clip, or in one of those that data sets have; below it
    directly, or in one folder per object, which has a number unless the folder above it is called after the clip.
    ``beside``: folders of frames and of Ignore are passed over. Raises InputError where that is not clear.
    """
    folders: dict[tuple[str, ...], dict[str, str]] = {}
    for name in files.names:
        *parts, file = name.split("/")
        stem, _, suffix = file.rpartition(".")
        if suffix.lower() == "png" and not (beside and parts and parts[0].lower().startswith(_BESIDE)):
            if stem in folders.setdefault(tuple(parts), {}):
                raise InputError("Two files are one frame.", where=[shown(name)], fix="keep one of them")
            folders[tuple(parts)][stem] = name
    homes = {parts[: _after(parts, clip)] for parts in folders if clip in parts}
    if not homes:
        homes = {tuple(root.split("/")) if root else () for root in _ROOTS}
        homes = {home for home in homes if _inside(folders, home, numbered=True)}
    places = sorted("/".join(home) or "." for home in homes)
    if len(homes) != 1:
        there = sorted({"/".join(parts) or "." for parts in folders})
        raise InputError(
            "It is not clear which masks are those of the clip." if homes else "There are no masks of this clip here.",
            where=map(shown, places)
            if homes
            else [f"found PNG files in {shown(each)}/" for each in there] or ["no PNG"],
            fix=f"give the folder that holds the frames of {clip}, or one folder of frames for each object",
        )
    (home,) = homes
    home = (*home, "Annotations") if (*home, "Annotations") in folders else home
    found = _inside(folders, home, numbered=False)
    if "" in found and len(found) > 1:
        raise InputError(
            "Pictures lie beside folders of pictures.",
            where=places,
            fix="keep one of the two forms, and remove the other",
        )
    return Pictures("/".join(home), dict(sorted(found.items(), key=lambda item: natural_key(item[0]))))


def _after(parts: tuple[str, ...], clip: str) -> int:
    return len(parts) - parts[::-1].index(clip)


def _inside(
    folders: Mapping[tuple[str, ...], Mapping[str, str]], home: tuple[str, ...], *, numbered: bool
) -> dict[str, Mapping[str, str]]:
    """Files by object below a folder; with ``numbered`` nothing unless all objects are numbers."""
    if home in folders and numbered:
        return {"": folders[home]}
    found = {
        "/".join(parts[len(home) :]): files
        for parts, files in folders.items()
        if parts[: len(home)] == home and len(parts) <= len(home) + 1
    }
    return {} if numbered and not all(part.isascii() and part.isdigit() for part in found) else found


def read_pictures(
    files: FileSet,
    pictures: Pictures,
    *,
    size: Size | None = None,
    ignore: int | str | None = "auto",
    progress: Progress | None = None,
) -> Drawn:
    """Decode every picture of a clip.

    ``size``: (height, width) that all must have, by default the one that most have. ``ignore``: the label of Ignore,
    None for no Ignore, "auto" for 255. Raises InputError naming every picture that cannot be used, UsageError where
    255 is the only label and may be the object or Ignore.
    """
    scanned, digest = _scanned(files, pictures, progress)
    size = size or Counter(labels.size for labels in scanned.values()).most_common(1)[0][0]
    refuse(
        [
            f"{shown(name)}: {labels.size[1]}x{labels.size[0]}, not {size[1]}x{size[0]}"
            for name, labels in scanned.items()
            if labels.size != size
        ],
        "write all masks at the size of the frames",
    )
    present = {label for labels in scanned.values() for label in labels.masks}
    if ignore == "auto":
        if present == {IGNORE}:
            raise UsageError(
                "255 is the only label of these masks: it may mark the object, or Ignore.",
                where=[shown(next(iter(scanned)))],
                fix="give --ignore-value none if 255 is the object, 255 if it is Ignore",
            )
        ignore = IGNORE
    value = ignore if isinstance(ignore, int) else None
    names = pictures.names
    objects = _flat(pictures, scanned, size, value) if pictures.flat else _folders(pictures, scanned, size, value)
    if len(objects) > MAX_OBJECTS:
        raise InputError(
            "These masks have too many labels to be object numbers.",
            where=[f"{shown(pictures.home or '.')}: {len(objects)} labels"],
            fix="write labels, without smoothing or resizing",
        )
    regions = _ignored(pictures, scanned, size, value) if value in present else None
    return Drawn(
        size,
        names,
        {key: tuple(found.get(name) for name in names) for key, found in objects.items()},
        ignore=None if regions is None else tuple(regions.get(name) for name in names),
        files=digest.files,
        sha256=digest.hex(),
    )


def _scanned(files: FileSet, pictures: Pictures, progress: Progress | None) -> tuple[dict[str, Labels], Digest]:
    listed = [name for part in pictures.parts.values() for name in part.values()]
    digest = Digest()
    found: dict[str, Labels] = {}
    wrong: list[str] = []
    for done, name in enumerate(listed):
        if progress is not None:
            progress(done, len(listed))
        try:
            data = digest.add(name, files.read(name, MAX_MASK_BYTES))
            labels = scan(data)
            grey = png.header(data).colour == png.GREY
            if grey and (odd := [label for label in labels.masks if _LARGEST_ID < label < IGNORE]):
                wrong.append(f"{shown(name)}: the grey value {odd[0]} is neither 255 nor the number of an object")
            found[name] = labels
        except png.PngError as error:
            wrong.append(f"{shown(name)}: {error}")
    if progress is not None:
        progress(len(listed), len(listed))
    refuse(wrong, "write 8-bit PNG with one number per pixel: palette, or grey of ids or of 0 and 255")
    return found, digest


def _flat(
    pictures: Pictures, scanned: Mapping[str, Labels], size: Size, ignore: int | None
) -> dict[str, dict[str, bytes]]:
    """Objects by label; one that is not drawn in a picture is empty there."""
    labels = {label for found in scanned.values() for label in found.masks} - {ignore}
    nothing = empty_counts(size)
    return {
        str(label): {frame: scanned[name].masks.get(label, nothing) for frame, name in pictures.parts[""].items()}
        for label in sorted(labels)
    }


def _folders(
    pictures: Pictures, scanned: Mapping[str, Labels], size: Size, ignore: int | None
) -> dict[str, dict[str, bytes]]:
    """Objects by folder; nothing is said about one on a frame without a file."""
    nothing = empty_counts(size)
    wrong: list[str] = []
    found: dict[str, dict[str, bytes]] = {}
    for part, files in pictures.parts.items():
        labels = sorted({label for name in files.values() for label in scanned[name].masks} - {ignore})
        if len(labels) > 1:
            wrong.append(f"{shown(part)}/: labels {', '.join(map(str, labels[:5]))} in the folder of one object")
        else:
            label = labels[0] if labels else None
            found[part] = {
                frame: nothing if label is None else scanned[name].masks.get(label, nothing)
                for frame, name in files.items()
            }
    refuse(wrong, "write one label in the folder of an object")
    return found


def _ignored(pictures: Pictures, scanned: Mapping[str, Labels], size: Size, ignore: int | None) -> dict[str, bytes]:
    """Ignore of all pictures of a frame together."""
    pieces: dict[str, list[bytes]] = {}
    for files in pictures.parts.values():
        for frame, name in files.items():
            if ignore in scanned[name].masks:
                pieces.setdefault(frame, []).append(scanned[name].masks[ignore])
    return {frame: rle.union(regions, size) for frame, regions in pieces.items()}


def read_regions(files: FileSet, clip: str, size: Size, progress: Progress | None = None) -> Drawn:
    """A layer of Ignore from pictures: every pixel that is not 0, of all pictures of a frame together."""
    pictures = find_pictures(files, clip, beside=False)
    scanned, digest = _scanned(files, pictures, progress)
    refuse(
        [
            f"{shown(name)}: {labels.size[1]}x{labels.size[0]}, the masks have {size[1]}x{size[0]}"
            for name, labels in scanned.items()
            if labels.size != size
        ],
        "write Ignore at the size of the frames",
    )
    pieces: dict[str, list[bytes]] = {name: [] for name in pictures.names}
    for part in pictures.parts.values():
        for frame, name in part.items():
            pieces[frame] += scanned[name].masks.values()
    regions = tuple(rle.union(found, size) if found else empty_counts(size) for found in pieces.values())
    return Drawn(size, pictures.names, {}, ignore=regions, files=digest.files, sha256=digest.hex())
