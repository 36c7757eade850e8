"""The 24 fps rule against brute force, and its ties by hand."""

from __future__ import annotations

from fractions import Fraction as F

import oracle_ticks
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refvps.source.ticks import choose, spans, tick, tick_count

CLOCK = F(24)
RATES = {
    "10": F(10),
    "16": F(16),
    "23.976": F(24000, 1001),
    "24": F(24),
    "25": F(25),
    "29.97": F(30000, 1001),
    "30": F(30),
    "48": F(48),
    "50": F(50),
    "59.94": F(60000, 1001),
    "60": F(60),
    "120": F(120),
}


def constant(rate: F, count: int) -> list[F]:
    return [index / rate for index in range(count)]


# --- by hand -----------------------------------------------------------------------------------------


def test_30_fps_drops_every_fifth_frame() -> None:
    """Tick n ends at (n + 1/2)/24 s = (1.25 n + 0.625)/30 s."""
    assert choose(range(12), F(1, 30), fps=CLOCK, end=F(12, 30)) == [0, 1, 3, 4, 5, 6, 8, 9, 10, 11]


def test_12_fps_shows_every_frame_twice() -> None:
    """Frame k comes at tick 2 k exactly; half a tick before would be the previous one."""
    assert choose(range(4), F(1, 12), fps=CLOCK, end=F(4, 12)) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_10_fps() -> None:
    """Frame k appears 2.4 k ticks in, so at tick floor(2.4 k + 0.5): 0, 2, 5, 7, 10."""
    assert choose(range(5), F(1, 10), fps=CLOCK, end=F(5, 10)) == [0, 0, 1, 1, 1, 2, 2, 3, 3, 3, 4, 4]


@pytest.mark.parametrize(
    ("rate", "frame", "late"),
    [
        # frame k is exactly half way between two ticks where 24 k / rate = m + 1/2
        ("16", 1, 2),  # 24/16 = 1.5: goes to tick 2, never to tick 1
        ("48", 1, 1),  # 24/48 = 0.5
        ("23.976", 500, 501),  # 24 * 500 * 1001 / 24000 = 500.5
        ("29.97", 625, 501),  # 24 * 625 * 1001 / 30000 = 500.5
        ("59.94", 1250, 501),  # 24 * 1250 * 1001 / 60000 = 500.5
    ],
)
def test_an_exact_tie_goes_to_the_next_tick(rate: str, frame: int, late: int) -> None:
    time = frame / RATES[rate]
    assert time * 24 == late - F(1, 2)
    assert tick(time, F(0), CLOCK) == late
    assert tick(time - F(1, 10**12), F(0), CLOCK) == late - 1
    shown = choose(range(frame + 1), 1 / RATES[rate], fps=CLOCK, end=F(late + 1, 24))
    assert shown[late] == frame
    assert shown[late - 1] == frame - 1 if rate != "48" else shown[late - 1] == 0


def test_48_fps_ties_everywhere() -> None:
    """Odd frames lie half way: frame 2 n - 1 and frame 2 n both go to tick n, and the last one wins."""
    assert choose(range(9), F(1, 48), fps=CLOCK, end=F(9, 48)) == [0, 2, 4, 6, 8]


def test_16_fps_ties() -> None:
    """Frame k comes at 1.5 k ticks: 0, 1.5 -> 2, 3, 4.5 -> 5, 6."""
    assert choose(range(5), F(1, 16), fps=CLOCK, end=F(5, 16)) == [0, 0, 1, 2, 2, 3, 4, 4]


@pytest.mark.parametrize("rate", ["24", "25", "30", "50", "60", "120"])
def test_these_rates_have_no_tie(rate: str) -> None:
    assert not any((time * 24 - F(1, 2)).denominator == 1 for time in constant(RATES[rate], 5_000))


def test_24_fps_is_the_identity_even_with_rounded_times() -> None:
    assert choose(range(300), F(1, 24), fps=CLOCK, end=F(300, 24)) == list(range(300))
    milliseconds = [round(F(1000 * index, 24)) for index in range(300)]  # as Matroska stores them
    assert choose(milliseconds, F(1, 1000), fps=CLOCK, end=F(300, 24)) == list(range(300))


def test_variable_rate_repeats_and_drops() -> None:
    """A frame that stays for 5 ticks, three within one tick, and a start that is not zero."""
    pts = [1000, 1200, 1210, 1220, 1250]
    assert choose(pts, F(1, 1000), fps=CLOCK, end=F(1300, 1000)) == [0, 0, 0, 0, 0, 3, 4]


def test_a_cut_begins_with_what_is_on_screen() -> None:
    """At 30 fps, 1.31 s lies in frame 39 (1.3 s); frame 40 comes at 1.3333 s, more than half a tick later."""
    shown = choose(range(90), F(1, 30), fps=CLOCK, t0=F("1.31"), end=F(3))
    assert shown[:5] == [39, 41, 42, 43, 44]
    assert len(shown) == 41  # floor(1.69 * 24 + 1/2)
    assert shown[-1] == 89


def test_a_cut_before_the_first_frame_shows_the_first() -> None:
    shown = choose(range(15, 30), F(1, 30), fps=CLOCK, t0=F(0), end=F(1))
    assert shown[:14] == [0] * 12 + [0, 1]


def test_the_last_frame_lasts_as_long_as_it_says() -> None:
    def count(*frames: tuple[int, str, str]) -> int:
        spanned = [(name, F(time), F(lasts)) for name, time, lasts in frames]
        return sum(len(ticks) for _, ticks in spans(spanned, fps=CLOCK))

    assert count((0, "0", "1")) == 24
    assert count((0, "0", "0")) == 1  # says nothing, nothing before it: one tick
    assert count((0, "0", "1/1000")) == 1  # something is always shown
    assert count((0, "0", "0.5"), (1, "0.5", "0")) == 24  # says nothing: as long as the one before
    assert count((0, "0", "0.5"), (1, "0.5", "0.02")) == 12  # 12.48 ticks
    assert count((0, "0", "0.5"), (1, "0.5", "0.021")) == 13  # 12.504 ticks
    assert count((0, "3", "0"), (1, "3", "0")) == 1
    assert count((0, "0", "0"), (1, "0.5", "0"), (2, "0.5", "0")) == 24


def test_frames_of_one_time_and_frames_that_go_back() -> None:
    assert choose([0, 0, 5, 5], F(1, 24), fps=CLOCK, end=F(6, 24)) == [1, 1, 1, 1, 1, 3]
    with pytest.raises(ValueError, match="follows"):
        choose([0, 5, 4], F(1, 24), fps=CLOCK, end=F(1))
    assert choose([], F(1, 24), fps=CLOCK, end=F(1)) == []
    assert tick_count(F(1), F(0), CLOCK) == 0


# --- against brute force -------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", RATES)
def test_constant_rates_are_those_of_the_oracle(rate: str) -> None:
    count = int(RATES[rate] * 42 / 2) if rate not in ("60", "120", "59.94") else 400
    times = constant(RATES[rate], count)
    end = times[-1] + 1 / RATES[rate]
    ours = choose(range(count), 1 / RATES[rate], fps=CLOCK, end=end)
    assert ours == oracle_ticks.shown(times, CLOCK, end=end)


stamps = st.lists(st.integers(0, 4_000), min_size=1, max_size=40).map(sorted)
clocks = st.sampled_from([F(24), F(30000, 1001), F(10), F(16), F(48), F(6)])
bases = st.sampled_from([F(1, 1000), F(1, 48), F(1, 600), F(1001, 48000), F(1, 90_000), F(1, 24)])


@given(stamps, bases, clocks, st.none() | st.integers(0, 3_000), st.integers(1, 2_000))
def test_any_times_are_those_of_the_oracle(pts: list[int], base: F, fps: F, start: int | None, length: int) -> None:
    t0 = None if start is None else start * base
    end = (pts[0] if start is None else start) * base + min(length * base, F(5))
    assert choose(pts, base, fps=fps, t0=t0, end=end) == oracle_ticks.shown(
        [stamp * base for stamp in pts], fps, t0=t0, end=end
    )


@given(stamps, bases, clocks, st.integers(1, 100))
def test_spans_are_gapless_and_end_with_the_last_frame(pts: list[int], base: F, fps: F, lasts: int) -> None:
    frames = [(index, stamp * base, lasts * base) for index, stamp in enumerate(pts[:20])]
    ranges = [ticks for _, ticks in spans(frames, fps=fps)]
    assert ranges[0].start == 0
    assert all(one.stop == other.start for one, other in zip(ranges, ranges[1:], strict=False))
    assert all(len(ticks) for ticks in ranges)
    first, last = frames[0][1], frames[-1][1] + lasts * base
    assert abs(F(ranges[-1].stop) - (last - first) * fps) <= F(1, 2) or ranges[-1].stop == 1
