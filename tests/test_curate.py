"""Proposals for videos of known content: cuts, flashes, dissolves, frozen pictures, fast events, cards."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction as F
from pathlib import Path

import numpy as np
import pytest
import scenes

from refvps.curate import Thresholds, proposals, review
from refvps.curate.engine import Cuts
from refvps.errors import InputError, UsageError
from refvps.source.fingerprint import dhash64

pytest.importorskip("av")
pytest.importorskip("scenedetect")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scenes")


@pytest.fixture(scope="module")
def compilation(shelf: Path) -> Path:
    """Three shots, the last with a flash of three frames, and an end card."""
    parts = [(scenes.drifting(1), 48), (scenes.drifting(2), 60), (scenes.flashing(scenes.drifting(3), 30, 3), 60)]
    return scenes.film(shelf / "compilation.mp4", *scenes.join([*parts, (scenes.plain(scenes.card()), 40)]))


def kinds(found) -> list[tuple]:
    return [(each.kind, each.frame, each.stop) for each in found.boundaries]


def spans(parts) -> list[tuple[int, int]]:
    return [(part.first, part.stop) for part in parts]


# --- shots ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["built-in", "pyscenedetect"])
def test_cuts_a_flash_and_an_end_card(compilation: Path, engine) -> None:
    found = review(compilation, engine=engine)
    assert kinds(found) == [("cut", 48, 48), ("cut", 108, 108), ("flash?", 138, 141), ("cut", 168, 168)]
    assert spans(found.shots) == [(0, 48), (48, 108), (108, 168), (168, 208)]
    assert [(card.place, card.part.first, card.part.stop) for card in found.cards] == [("end", 168, 208)]
    assert spans(found.clips) == [(0, 48), (48, 108), (108, 168)]
    assert [(clip.start, clip.end) for clip in found.clips] == [(0, 2), (2, F(9, 2)), (F(9, 2), 7)]
    assert found.engine.startswith({"built-in": "built-in", "pyscenedetect": "scenedetect-headless 0."}[engine])
    assert proposals(found)[0] | {"reason": ""} == {
        "kind": "split",
        "criterion": "compilation",
        "clips": [{"start": None, "end": "2"}, {"start": "2", "end": "9/2"}, {"start": "9/2", "end": "7"}],
        "reason": "",
        "accepted": None,
    }


@pytest.mark.parametrize(
    ("codec", "name", "rate"), [("vp9", "x.webm", 30), ("h265", "x.mp4", 60), ("h264", "x.mkv", 10)]
)
def test_cuts_in_every_codec_and_rate(tmp_path: Path, codec, name, rate) -> None:
    parts = [(scenes.drifting(1, speed=1), 2 * rate), (scenes.drifting(2, speed=1), 2 * rate)]
    found = review(scenes.film(tmp_path / name, *scenes.join(parts), rate=rate, codec=codec), crops=False)
    assert kinds(found) == [("cut", 2 * rate, 2 * rate)]
    assert float(found.clips[1].start) == pytest.approx(2, abs=0.001)


@pytest.mark.parametrize("frames", [1, 6, 11])
def test_a_flash_is_no_cut_as_long_as_the_picture_returns_in_time(tmp_path: Path, frames) -> None:
    film = scenes.film(tmp_path / "x.mp4", scenes.flashing(scenes.drifting(1), 30, frames), 72)
    assert kinds(review(film, crops=False)) == [("flash?", 30, 30 + frames)]
    late = review(film, thresholds=Thresholds(flash_seconds=0.0), crops=False)
    assert [each.kind for each in late.boundaries] == ["cut", "cut"]
    assert spans(review(film, crops=False).clips) == [(0, 72)]


def test_a_white_card_that_stays_is_a_cut(tmp_path: Path) -> None:
    white = scenes.plain(np.full((180, 320, 3), 235, np.uint8))
    film = scenes.film(tmp_path / "x.mp4", *scenes.join([(scenes.drifting(1), 48), (white, 30)]))
    found = review(film, crops=False)
    assert kinds(found) == [("cut", 48, 48)]
    assert "one colour" in found.cards[0].reasons


def test_fast_movement_is_no_cut(tmp_path: Path) -> None:
    """Every frame changes by more than a cut's level; none stands out."""
    film = scenes.film(tmp_path / "x.mp4", lambda index: scenes.clouds(index, 180, 320), 30)
    found = review(film, crops=False)
    assert (found.survey.change[1:] > Thresholds().cut_level).all()
    assert found.boundaries == ()
    below = review(film, thresholds=Thresholds(cut_ratio=0.5), crops=False)
    assert len(below.boundaries) > 10  # the ratio is what keeps them out


def test_frames_shown_twice_do_not_make_cuts(tmp_path: Path) -> None:
    """Half the frames repeat the one before: the surroundings are those that change."""
    film = scenes.film(tmp_path / "x.mp4", lambda index: scenes.clouds(index // 2, 180, 320), 40)
    assert review(film, crops=False).boundaries == ()


def test_a_dissolve(tmp_path: Path) -> None:
    one, other = (scenes.plain(scenes.clouds(seed, 180, 320)) for seed in (4, 5))
    found = review(scenes.film(tmp_path / "x.mp4", scenes.dissolving(one, other, 40, 24), 96), crops=False)
    ((kind, first, stop),) = kinds(found)
    assert kind == "dissolve?"
    assert abs(first - 40) <= 2 and abs(stop - 64) <= 2
    assert spans(found.shots) == [(0, first), (stop, 96)]


def test_a_step_is_no_dissolve(tmp_path: Path) -> None:
    """A change at once that no cut detector accepts is not called a blend, though nothing else lies between."""
    parts = [(scenes.plain(scenes.clouds(seed, 180, 320)), 40) for seed in (4, 5)]
    film = scenes.film(tmp_path / "x.mp4", *scenes.join(parts))
    assert kinds(review(film, crops=False)) == [("cut", 40, 40)]
    assert review(film, thresholds=Thresholds(cut_level=200), crops=False).boundaries == ()


def test_a_pan_and_a_stop_are_no_dissolve(tmp_path: Path) -> None:
    scene = scenes.drifting(11)
    found = review(scenes.film(tmp_path / "x.mp4", lambda i: scene(min(i, 50)), 72), crops=False)
    assert found.boundaries == ()


def test_short_shots_only_are_rejected(tmp_path: Path) -> None:
    parts = [(scenes.drifting(seed), 16) for seed in range(5)]
    found = review(scenes.film(tmp_path / "x.mp4", *scenes.join(parts)), crops=False)
    assert len(found.shots) == 5 and found.clips == ()
    assert [(each["kind"], each["criterion"]) for each in proposals(found)] == [("reject", "shot-changes")]
    kept = review(tmp_path / "x.mp4", thresholds=Thresholds(clip_seconds=0.5), crops=False)
    assert len(kept.clips) == 5


def test_the_other_engine_brings_no_second_opencv() -> None:
    code = (
        "import sys, importlib.metadata as m; from refvps.curate import review; assert 'scenedetect' not in sys.modules"
    )
    code += "; assert 'cv2' not in sys.modules and 'av' not in sys.modules; import scenedetect, cv2"
    code += "; names = {d.name.lower() for d in m.distributions() if 'opencv' in d.name.lower()}"
    code += "; assert names <= {'opencv-python-headless'}, names; assert 'scenedetect' not in "
    code += "{d.name.lower() for d in m.distributions()}"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_the_other_engine(compilation: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scenedetect", None)
    with pytest.raises(UsageError, match="scenedetect-headless"):
        Cuts(review(compilation, crops=False).survey.video)


# --- what does not move ----------------------------------------------------------------------------------


def test_a_frozen_middle(tmp_path: Path) -> None:
    scene = scenes.drifting(11)
    film = scenes.film(tmp_path / "x.mp4", lambda i: scene(min(i, 50) if i < 90 else i - 40), 140)
    found = review(film, crops=False)
    ((first, stop),) = spans(found.frozen)
    assert abs(first - 50) <= 1 and abs(stop - 91) <= 1
    assert not found.motions[0].stationary
    assert [each["kind"] for each in proposals(found, "static")] == ["look"]


@pytest.mark.parametrize("scene", ["nothing moves", "a flame moves", "all moves"])
def test_stationary_means_that_hardly_anything_moves(tmp_path: Path, scene) -> None:
    made = {
        "nothing moves": scenes.plain(scenes.clouds(13, 180, 320)),
        "a flame moves": scenes.flicker(9),
        "all moves": scenes.drifting(9),
    }[scene]
    found = review(scenes.film(tmp_path / "x.mp4", made, 72), crops=False)
    rejected = [each["criterion"] for each in proposals(found, "static") if each["kind"] == "reject"]
    assert rejected == (["static"] if scene == "nothing moves" else [])
    assert found.motions[0].still == (1.0 if scene == "nothing moves" else 0.0)
    assert found.cards == ()


def test_what_was_before_a_clip_does_not_move_it(tmp_path: Path) -> None:
    still = scenes.plain(scenes.clouds(13, 180, 320))
    made = scenes.join([(scenes.drifting(1), 36), (still, 40), (scenes.drifting(2), 36)])
    found = review(scenes.film(tmp_path / "x.mp4", *made), crops=False, thresholds=Thresholds(card_seconds=0.5))
    assert spans(found.clips) == [(0, 36), (36, 76), (76, 112)]
    assert [moved.still for moved in found.motions] == [0.0, 1.0, 0.0]
    assert [moved.stationary for moved in found.motions] == [False, True, False]


@pytest.mark.parametrize(("frames", "fast"), [(3, True), (10, True), (14, False)])
def test_an_event_is_too_fast_below_twelve_frames(tmp_path: Path, frames, fast) -> None:
    scene = scenes.clouds(14, 180, 320) // 3

    def picture(index: int):
        image = scene.copy()
        if 30 <= index < 30 + frames - 1:
            image[40:80, 40:80] = 20 + 60 * (index % 4)
        return image

    found = review(scenes.film(tmp_path / "x.mp4", picture, 72), crops=False)
    (moved,) = found.motions
    assert abs(moved.events - frames) <= 1
    assert moved.fast is fast
    assert ([each["criterion"] for each in proposals(found, "fast")] == ["too-fast"]) is fast
    assert not (moved.fast and moved.stationary)


def test_lightning_is_too_fast_whatever_the_source_rate(tmp_path: Path) -> None:
    for rate in (24, 60):
        scene = scenes.flashing(scenes.plain(scenes.clouds(14, 180, 320) // 3), rate, rate // 8)
        found = review(scenes.film(tmp_path / f"{rate}.mp4", scene, 3 * rate, rate=rate), crops=False)
        assert [each.kind for each in found.boundaries] == ["flash?"]
        assert found.motions[0].fast and found.motions[0].events in (3, 4)


# --- cards -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["black", "frozen", "title", "moving"])
def test_ends_that_do_not_belong(tmp_path: Path, end) -> None:
    pan = scenes.drifting(11)
    made = {
        "black": scenes.join([(scenes.drifting(12), 60), (scenes.plain(scenes.black()), 30)]),
        "frozen": (lambda i: pan(min(i, 59)), 90),
        "title": scenes.join([(scenes.plain(scenes.card(ground=(30, 60, 200))), 30), (scenes.drifting(12), 60)]),
        "moving": scenes.join([(scenes.drifting(12), 60), (scenes.drifting(13), 30)]),
    }[end]
    found = review(scenes.film(tmp_path / "x.mp4", *made), crops=False)
    asked = proposals(found, "outro")
    expected = {
        "black": [("end", 60, 90)],
        "frozen": [("end", 59, 90)],
        "title": [("start", 0, 30)],
        "moving": [],
    }[end]
    assert [(card.place, card.part.first, card.part.stop) for card in found.cards] == expected
    cut = {"black": (None, "5/2"), "frozen": (None, "59/24"), "title": ("5/4", None)}
    assert [(each["start"], each["end"]) for each in asked] == [cut[end] for _ in expected]


def test_a_card_longer_than_four_seconds_is_left_to_the_shots(tmp_path: Path) -> None:
    film = scenes.film(tmp_path / "x.mp4", *scenes.join([(scenes.drifting(1), 48), (scenes.plain(scenes.card()), 120)]))
    assert review(film, crops=False).cards == ()
    assert review(film, thresholds=Thresholds(card_seconds=5), crops=False).cards[0].part.first == 48


def test_a_known_card_is_found_though_it_moves(tmp_path: Path) -> None:
    logo = scenes.clouds(99, 180, 320)
    moving = scenes.padded(scenes.drifting(7, 30, 30), logo, (10, 10, 30, 30))
    film = scenes.film(tmp_path / "x.mp4", *scenes.join([(scenes.drifting(1), 60), (moving, 24)]))
    assert review(film, crops=False).cards == ()
    (found,) = review(film, crops=False, known_cards=[dhash64(logo)]).cards
    assert (found.place, found.part.first, found.reasons) == ("end", 60, ("looks like a known card",))


# --- real files ------------------------------------------------------------------------------------------


def test_the_title_card_of_a_real_video(fixtures: Path) -> None:
    """It dissolves from frame 29 on into water, sharp from about frame 55 on (looked at)."""
    found = review(fixtures / "clips" / "stream_title_card_cc0.webm")
    ((kind, first, stop),) = kinds(found)
    assert kind == "dissolve?" and first in (28, 29, 30) and 52 <= stop <= 56
    assert [(card.place, card.part.first, card.part.stop) for card in found.cards] == [("start", 0, stop)]
    assert [each["kind"] for each in proposals(found)] == ["trim", "look"]


@pytest.mark.parametrize("name", ["stream_of_water_cc0.mp4", "flower_cc0.mp4", "fireplace_10fps_mit.mp4"])
def test_nothing_is_proposed_for_real_clips_of_one_shot(fixtures: Path, name) -> None:
    for engine in ("built-in", "pyscenedetect"):
        assert proposals(review(fixtures / "clips" / name, engine=engine)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["coffee_pour_apache2.mp4", "juggle_24fps_apache2.mp4"])
def test_nothing_is_proposed_for_longer_clips_of_one_shot(fixtures: Path, name) -> None:
    for engine in ("built-in", "pyscenedetect"):
        assert proposals(review(fixtures / "clips" / name, engine=engine)) == []


def test_odd_real_files(fixtures: Path) -> None:
    for name in ("video_0.mov", "video_90.mov", "video_270.mov", "unordered.mov"):
        found = review(fixtures / "oddities" / name)
        assert spans(found.clips) == [(0, len(found.survey))]
    with pytest.raises(InputError, match="damaged"):
        review(fixtures / "oddities" / "corrupted.mp4")
