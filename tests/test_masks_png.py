"""PNG masks: every kind a writer produces, every kind that is refused, and hostile files."""

from __future__ import annotations

import io
import pickle
import re
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pngwriter import DAVIS, PALETTE, Samples, Size, chunk, container, cv2_png, filtered, make, palette_image, saved

from refvps.masks import bits, png, unfilter


def pillow(data: bytes) -> Samples:
    return np.asarray(Image.open(io.BytesIO(data))).astype(np.uint8)


BINARY: dict[str, Callable[[Samples], bytes]] = {
    "pillow 1": lambda m: saved(Image.fromarray(m.astype(np.bool_))),
    "pillow L 0/255": lambda m: saved(Image.fromarray(m * np.uint8(255))),
    "pillow L 0/1": lambda m: saved(Image.fromarray(m)),
    "pillow P, 1 bit": lambda m: palette_image(m, DAVIS[:6]),
    "pillow P, 2 bits": lambda m: palette_image(m * np.uint8(2), DAVIS),
    "pillow P, 4 bits": lambda m: palette_image(m * np.uint8(9), DAVIS * 4),
    "pillow P, 8 bits": lambda m: palette_image(m, DAVIS * 30),
    "pillow P, index 7": lambda m: palette_image(m * np.uint8(7), DAVIS * 30),
    "pillow P, index 255": lambda m: palette_image(m * np.uint8(255), tuple(PALETTE)),
    "pillow P, black entry": lambda m: palette_image(m, (0,) * 768),
    "pillow P, transparent": lambda m: palette_image(m, DAVIS * 30, transparency=1),
    "pillow L, transparent": lambda m: saved(Image.fromarray(m * np.uint8(255)), transparency=255),
    "cv2 0/255": lambda m: cv2_png(m * np.uint8(255)),
    "cv2 0/1": lambda m: cv2_png(m),
    "cv2 bilevel": lambda m: cv2_png(m * np.uint8(255), cv2.IMWRITE_PNG_BILEVEL, 1),
    "cv2 paeth": lambda m: cv2_png(m * np.uint8(255), cv2.IMWRITE_PNG_STRATEGY, 1),
    "grey, 2 bits": lambda m: make(m * np.uint8(3), depth=2),
    "grey, 4 bits": lambda m: make(m * np.uint8(15), depth=4, filters=(1, 2)),
    "interlaced 1": lambda m: make(m, depth=1, interlaced=True),
    "interlaced P": lambda m: make(m * np.uint8(5), depth=4, colour=png.PALETTE, interlaced=True, filters=(0, 1)),
    "interlaced L": lambda m: make(m * np.uint8(255), interlaced=True, filters=(4, 3, 2)),
    "all filters": lambda m: make(m * np.uint8(255), filters=(0, 1, 2, 3, 4)),
    "all filters, 1 bit": lambda m: make(m, depth=1, filters=(4, 3, 2, 1, 0)),
    "in pieces": lambda m: make(m, pieces=5),
    "own": lambda m: png.write_binary(bits.pack(m.astype(np.bool_)), m.shape),
}


def noise(size: Size, share: float = 0.3, seed: int = 0) -> Samples:
    return (np.random.default_rng(seed).random(size) < share).astype(np.uint8)


@pytest.fixture(params=["zlib-ng", "zlib"])
def _inflater(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "zlib":
        monkeypatch.setattr(png, "_zlib", zlib)
    else:
        pytest.importorskip("zlib_ng")


@pytest.fixture(params=["pillow", "numba"])
def _unfilterer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "numba":
        pytest.importorskip("numba")
        monkeypatch.setattr(unfilter, "WARM_UP", 0)
    else:
        monkeypatch.setattr(unfilter, "WARM_UP", 1 << 60)


# --- binary masks


@pytest.mark.usefixtures("_inflater", "_unfilterer")
@pytest.mark.parametrize("size", [(1, 1), (5, 8), (8, 5), (9, 13), (3, 64), (31, 47)])
@pytest.mark.parametrize("kind", BINARY)
def test_binary_masks_of_every_kind(kind: str, size: Size) -> None:
    for share in (0.0, 0.3, 1.0):
        mask = noise(size, share)
        data = BINARY[kind](mask)
        np.testing.assert_array_equal(pillow(data) > 0, mask > 0)  # the writer is right
        np.testing.assert_array_equal(png.read_binary(data, size), bits.pack(mask > 0))


@settings(max_examples=60)
@given(st.tuples(st.integers(1, 60), st.integers(1, 90)), st.sampled_from(sorted(BINARY)), st.integers(0, 2**32 - 1))
def test_binary_masks_of_every_size(size: Size, kind: str, seed: int) -> None:
    mask = noise(size, 0.5, seed)
    np.testing.assert_array_equal(png.read_binary(BINARY[kind](mask), size), bits.pack(mask > 0))


@pytest.mark.parametrize("kind", ["pillow 1", "pillow L 0/255", "pillow P, 8 bits", "cv2 0/255", "cv2 bilevel", "own"])
def test_binary_masks_of_real_size(kind: str) -> None:
    size = (576, 1024)
    y, x = np.mgrid[: size[0], : size[1]]
    mask = ((np.sin(x / 31) * np.cos(y / 17) > 0.2) ^ (noise(size, 0.001) > 0)).astype(np.uint8)
    np.testing.assert_array_equal(png.read_binary(BINARY[kind](mask), size), bits.pack(mask > 0))


@given(st.tuples(st.integers(1, 40), st.integers(1, 70)), st.integers(0, 2**32 - 1))
def test_what_is_written_every_reader_opens(size: Size, seed: int) -> None:
    mask = noise(size, 0.5, seed).astype(np.bool_)
    data = png.write_binary(bits.pack(mask), size)
    image = Image.open(io.BytesIO(data))
    assert image.mode == "1"
    np.testing.assert_array_equal(np.asarray(image), mask)
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(decoded > 0, mask)
    head = png.header(data)
    assert (head.height, head.width, head.depth, head.colour, head.interlaced) == (*size, 1, png.GREY, False)


@settings(max_examples=60)
@given(
    st.tuples(st.integers(1, 9), st.integers(1, 25)),
    st.lists(st.integers(0, 4), min_size=1, max_size=7),
    st.sampled_from([2, 256]),
    st.integers(0, 2**32 - 1),
)
def test_filters_are_undone(size: Size, kinds: list[int], levels: int, seed: int) -> None:
    """Both implementations, and Pillow reading the same file."""
    rows = np.random.default_rng(seed).integers(0, levels, size, dtype=np.uint8)
    np.testing.assert_array_equal(pillow(make(rows, filters=tuple(kinds))), rows)
    raw = np.frombuffer(filtered(rows, kinds), np.uint8).reshape(size[0], size[1] + 1)
    kernels = [unfilter.with_pillow, unfilter.numba_kernel()]
    for kernel in kernels:
        if kernel is not None:
            out = np.full(size, 77, np.uint8)
            kernel(raw, out)
            np.testing.assert_array_equal(out, rows)


def test_numba_waits_until_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(unfilter, "numba_kernel", lambda: asked.append(1))
    monkeypatch.setattr(unfilter, "WARM_UP", 3)
    monkeypatch.setattr(unfilter, "_met", iter(range(10)))
    mask = noise((4, 9))
    for _ in range(5):
        np.testing.assert_array_equal(png.read_labels(make(mask, filters=(1,)), (4, 9)), mask)
    assert len(asked) == 2


def test_two_threads_do_not_share_a_buffer() -> None:
    size = (64, 96)
    masks = [noise(size, 0.4, seed) for seed in range(8)]
    files = [make(mask * np.uint8(255), filters=(4, 1)) for mask in masks]
    wrong: list[int] = []

    def read(offset: int) -> None:
        for k in range(200):
            which = (k * (offset + 1) + offset) % len(masks)
            if not np.array_equal(png.read_binary(files[which], size), bits.pack(masks[which] > 0)):
                wrong.append(which)

    threads = [threading.Thread(target=read, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# --- masks that are refused


def refused(data: bytes, size: Size, read: Callable[[bytes, Size], object] = png.read_binary) -> png.PngError:
    with pytest.raises(png.PngError) as caught:
        read(data, size)
    return caught.value


SIZE = (12, 20)
GREY29 = np.resize(np.array([0, 3, 17, 18, *range(30, 54), 255], np.uint8), SIZE)
RGB = np.dstack([noise(SIZE) * np.uint8(255)] * 3)
JPEG = cv2.imencode(".jpg", noise(SIZE) * np.uint8(255))[1].tobytes()


def rgb_mode(mode: str) -> bytes:
    return saved(Image.fromarray(RGB).convert(mode))


REFUSED: dict[str, tuple[bytes, str, str]] = {
    "nothing": (b"", "truncated", "the file is empty"),
    "five bytes": (png.SIGNATURE[:5], "truncated", "cut off after 5 bytes"),
    "signature only": (png.SIGNATURE, "truncated", "cut off after 8 bytes"),
    "jpeg": (JPEG, "not-png", "a JPEG file"),
    "text": (b"<html>not found</html>", "not-png", "not a PNG file"),
    "gif": (b"GIF89a" + bytes(30), "not-png", "GIF89a"),
    "line ends changed": (png.SIGNATURE.replace(b"\r\n", b"\n") + bytes(40), "not-png", "not a PNG file"),
    "rgb": (rgb_mode("RGB"), "rgb", "RGB colours"),
    "rgba": (rgb_mode("RGBA"), "rgba", "alpha"),
    "grey and alpha": (rgb_mode("LA"), "grey-alpha", "grey and alpha"),
    "16 bits": (saved(Image.fromarray(noise(SIZE).astype(np.uint16))), "16-bit", "16 bits"),
    "16-bit colour": (cv2_png(RGB.astype(np.uint16)), "16-bit", "16 bits"),
    "soft": (saved(Image.fromarray(GREY29)), "soft", "soft mask: 29 grey values, e.g. 3, 17, 18"),
    "one grey": (saved(Image.fromarray(noise(SIZE) * np.uint8(128))), "non-binary", "0 and 128"),
    "only grey": (saved(Image.fromarray(np.full(SIZE, 7, np.uint8))), "non-binary", "grey values are 7"),
    "1 and 255": (make(np.resize(np.array([0, 1, 255], np.uint8), SIZE)), "non-binary", "0 and 1 and 255"),
    "2-bit grey 1 of 3": (make(noise(SIZE), depth=2), "non-binary", "0 and 85"),
    "ids in grey": (make(np.resize(np.arange(4, dtype=np.uint8), SIZE)), "grey-ids", "4 grey values, e.g. 1, 2, 3"),
    "two objects": (palette_image(noise(SIZE) + noise(SIZE, 0.5, 1)), "non-binary", "2 objects.*such as 1, 2"),
    "off by one": (BINARY["own"](noise((12, 19))), "size", "19x12.*20x12"),
    "swapped": (BINARY["own"](noise((20, 12))), "size", "swapped"),
    "no end": (make(noise(SIZE))[:-12], "truncated", "without an end"),
    "no data": (make(noise(SIZE), pieces=0), "truncated", "no image data"),
    "unknown critical chunk": (make(noise(SIZE), before=chunk(b"ABCD")), "corrupt", "unknown.*ABCD"),
    "second header": (make(noise(SIZE), before=make(noise(SIZE))[8:33]), "corrupt", "IHDR"),
    "data in two places": (
        make(noise(SIZE), after=chunk(b"tEXt") + chunk(b"IDAT", b"more")),
        "corrupt",
        "several places",
    ),
    "filter 5": (container(zlib.compress(b"\5" + bytes(252)[1:]), SIZE), "corrupt", "unknown filter 5"),
    "one row missing": (
        container(zlib.compress(bytes(21 * 11)), SIZE),
        "truncated",
        "ends early, after 231 of 252 bytes",
    ),
    "one byte too many": (container(zlib.compress(bytes(253)), SIZE), "corrupt", "more than the 252 bytes"),
    "stream cut off": (container(zlib.compress(bytes(252))[:-1], SIZE), "truncated", "ends early"),
    "stream damaged": (container(b"\x78\x9c" + bytes(range(40)), SIZE), "corrupt", "damaged"),
    "stream checksum": (container(zlib.compress(bytes(252))[:-1] + b"!", SIZE), "corrupt", "damaged"),
    "no stream": (container(b"", SIZE), "truncated", "after 0 of 252"),
    "no palette": (
        make(noise(SIZE), colour=png.PALETTE).replace(chunk(b"PLTE", PALETTE), b""),
        "corrupt",
        "without a palette",
    ),
    "wrong header checksum": (
        make(noise(SIZE))[:29] + b"abcd" + make(noise(SIZE))[33:],
        "corrupt",
        "header is damaged",
    ),
    "depth 3": (make(noise(SIZE), depth=3), "corrupt", "depth 3"),
    "palette of 16 bits": (container(b"", SIZE, depth=16, colour=png.PALETTE, before=b""), "corrupt", "depth 16"),
    "no pixels": (container(b"", (0, 20)), "corrupt", "20x0"),
    "20000x20000": (container(zlib.compress(bytes(9)), (20000, 20000), depth=1), "too-large", "20000x20000"),
    "huge": (container(b"", (2**31 - 1, 2**31 - 1)), "too-large", "2147483647"),
}


@pytest.mark.usefixtures("_inflater")
@pytest.mark.parametrize("name", REFUSED)
def test_refused_files_say_what_was_found(name: str) -> None:
    data, kind, message = REFUSED[name]
    error = refused(data, SIZE)
    assert error.kind == kind
    assert re.search(message, str(error)), str(error)
    for read in (png.read_labels, png.read_ids, lambda data, size: png.read_target_ignore(data, size, 255)):
        if kind not in ("soft", "non-binary", "grey-ids"):
            assert refused(data, SIZE, read).kind == kind
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.kind, str(copy)) == (kind, str(error))


@pytest.mark.parametrize("kind", ["pillow 1", "pillow P, 8 bits", "cv2 0/255", "interlaced L", "in pieces"])
def test_a_file_cut_anywhere_is_truncated(kind: str) -> None:
    data = BINARY[kind](noise((9, 13)))
    for length in range(len(data)):
        assert refused(data[:length], (9, 13)).kind == "truncated"


@pytest.mark.parametrize("kind", ["pillow 1", "pillow P, 8 bits", "cv2 0/255", "interlaced L", "in pieces"])
def test_a_change_of_any_byte_is_noticed(kind: str) -> None:
    data = BINARY[kind](noise((9, 13)))
    for place in range(len(data)):
        for flip in (1, 32, 255):
            changed = bytearray(data)
            changed[place] ^= flip
            refused(bytes(changed), (9, 13))


@given(st.binary(max_size=60), st.sampled_from([b"", png.SIGNATURE, make(noise(SIZE))[:33], make(noise(SIZE))[:60]]))
def test_garbage_is_refused(garbage: bytes, start: bytes) -> None:
    refused(start + garbage, SIZE)


@settings(max_examples=150)
@given(st.binary(max_size=300), st.booleans(), st.sampled_from([1, 2, 4, 8]), st.sampled_from([png.GREY, png.PALETTE]))
def test_any_samples_give_a_mask_or_a_reason(raw: bytes, interlaced: bool, depth: int, colour: int) -> None:
    """Correct checksums around arbitrary rows: never any other exception, and never a wrong number of pixels."""
    for data in (raw, zlib.compress(raw)):
        file = container(data, (3, 5), depth=depth, colour=colour, interlaced=interlaced)
        for read in (png.read_labels, png.read_ids):
            try:
                assert read(file, (3, 5)).shape == (3, 5)
            except png.PngError:
                continue


@pytest.mark.usefixtures("_inflater")
@pytest.mark.parametrize(("inflated", "limit"), [(10 << 20, 40 << 20), (64 << 20, 2 << 20)])
def test_bombs_do_not_fill_the_memory(inflated: int, limit: int) -> None:
    compressor = zlib.compressobj(9)
    data = b"".join([*(compressor.compress(bytes(1 << 20)) for _ in range(inflated >> 20)), compressor.flush()])
    size = (480, 854)
    file = container(data, size)
    tracemalloc.start()
    try:
        error = refused(file, size)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert error.kind == "corrupt"
    assert "more than" in str(error)
    assert peak < limit


def test_the_size_is_checked_before_anything_is_inflated(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> bytes:
        raise AssertionError("inflated")

    monkeypatch.setattr(png, "_inflate", never)
    assert refused(make(noise((12, 21))), SIZE).kind == "size"
    assert refused(container(b"", (20000, 20000), depth=1), (20000, 20000)).kind == "too-large"
    with pytest.raises(AssertionError, match="inflated"):
        png.read_binary(make(noise(SIZE)), SIZE)


def test_other_chunks_are_passed_over() -> None:
    mask = noise(SIZE)
    frame = chunk(b"fcTL", bytes(26)) + chunk(b"fdAT", bytes(4) + zlib.compress(bytes(252)))
    for data in (
        make(mask, before=chunk(b"tEXt", b"who\0me") + chunk(b"gAMA", bytes(4))),
        make(mask, before=chunk(b"acTL", bytes(8)), after=frame),  # an animation: its default image counts
        make(mask, after=chunk(b"tIME", bytes(7))),
        make(mask) + b"trailing bytes",
    ):
        np.testing.assert_array_equal(png.read_binary(data, SIZE), bits.pack(mask > 0))


# --- ids, labels, target and Ignore


@st.composite
def label_images(draw: st.DrawFn) -> Samples:
    size = draw(st.tuples(st.integers(1, 30), st.integers(1, 60)))
    values = draw(
        st.sampled_from([(0,), (1,), (255,), (0, 1), (0, 255), (0, 1, 255), (1, 255), (0, 1, 2, 7), (3, 254)])
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    coarse = rng.choice(np.array(values, np.uint8), (size[0] // 4 + 1, size[1] // 4 + 1))
    return np.ascontiguousarray(coarse.repeat(4, 0).repeat(4, 1)[: size[0], : size[1]])


def label_files(labels: Samples) -> Iterator[bytes]:
    yield palette_image(labels, tuple(PALETTE))
    yield saved(Image.fromarray(labels))
    yield cv2_png(labels)
    yield make(labels, colour=png.PALETTE, interlaced=True, filters=(0, 4))
    if labels.max() <= 1:
        yield saved(Image.fromarray(labels.astype(np.bool_)))
    if labels.max() <= 15:
        yield make(labels, depth=4, colour=png.PALETTE)


@given(label_images(), st.sampled_from([None, 255, 1, 7, 0]))
def test_labels_target_and_ignore(labels: Samples, ignore_value: int | None) -> None:
    size = labels.shape
    ignore = np.zeros(size, np.bool_) if ignore_value is None else labels == ignore_value
    for data in label_files(labels):
        np.testing.assert_array_equal(png.read_labels(data, size), labels)
        found = png.read_target_ignore(data, size, ignore_value)
        np.testing.assert_array_equal(found[0], bits.pack((labels != 0) & ~ignore))
        np.testing.assert_array_equal(found[1], bits.pack(ignore))
        assert found[2] == set(np.unique(labels).tolist())


@given(label_images())
def test_ids(labels: Samples) -> None:
    size = labels.shape
    np.testing.assert_array_equal(png.read_ids(palette_image(labels, tuple(PALETTE)), size), labels)
    values = set(np.unique(labels).tolist()) - {0}
    data = saved(Image.fromarray(labels))
    if values <= {1} or values <= {255}:
        np.testing.assert_array_equal(png.read_ids(data, size), labels > 0)
    else:
        expected = {(1, 255): "non-binary", (1, 2, 7): "grey-ids"}.get(tuple(sorted(values)), "")
        error = refused(data, size, png.read_ids)
        assert error.kind == expected or (values - {1, 255} and error.kind in ("grey-ids", "non-binary", "soft"))


def test_every_pair_of_values_in_every_place() -> None:
    """The words that are looked at to list values are all that matter, wherever a value stands."""
    for place in range(40):
        for value in (2, 128, 254):
            labels = np.zeros((4, 10), np.uint8)
            labels.reshape(-1)[place] = value
            for data in (palette_image(labels, tuple(PALETTE)), make(labels, filters=(1,))):
                assert png.read_target_ignore(data, (4, 10), 255)[2] == {0, value}


def test_arrays_are_the_callers_own() -> None:
    for filters in ((0,), (1,)):
        data = make(noise(SIZE), colour=png.PALETTE, filters=filters)
        first = png.read_labels(data, SIZE)
        ids = png.read_ids(data, SIZE)
        png.read_labels(make(noise(SIZE, 0.9, 5), filters=filters), SIZE)
        np.testing.assert_array_equal(first, noise(SIZE))
        first[:] = 9
        np.testing.assert_array_equal(ids, noise(SIZE))


# --- real files


def test_real_masks(fixtures: Path) -> None:
    paths = sorted((fixtures / "pumavos").rglob("Annotations/**/*.png")) or sorted(fixtures.rglob("pumavos/**/*.png"))
    read = 0
    for path in paths:
        data = path.read_bytes()
        if "incorrect" in path.parts:
            assert refused(data, (480, 720)).kind == "rgba"
            continue
        expected = pillow(data)
        np.testing.assert_array_equal(png.read_labels(data, expected.shape), expected)
        if expected.max() > 1:
            assert refused(data, expected.shape).kind == "non-binary"
        else:
            np.testing.assert_array_equal(png.read_binary(data, expected.shape), bits.pack(expected > 0))
        read += 1
    assert read >= 60
    data = (fixtures / "cutie" / "masks" / "judo" / "00005.png").read_bytes()
    error = refused(data, (480, 854))
    assert (error.kind, str(error)) == ("size", "it is 853x480, the frame is 854x480 (width x height)")
    np.testing.assert_array_equal(png.read_ids(data, (480, 853)), pillow(data))
