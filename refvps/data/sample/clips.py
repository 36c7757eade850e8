"""The clips of the sample: what each shows, what is pointed at, and the sentences that do it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from refvps.data.sample import scenes_candle, scenes_impact, scenes_room, scenes_sky, scenes_water
from refvps.data.sample.canvas import Canvas
from refvps.data.sample.integers import Plane
from refvps.data.sample.textures import Size
from refvps.types import CATEGORIES

FPS = 24
"""Frames per second; every frame is annotated."""

LEAST = 10
"""Fewest target pixels of a frame; fewer become Ignore."""

_CHANGE, _MOTION, _ENVIRONMENT, _INTERACTION, _PATTERN = CATEGORIES


@dataclass(frozen=True)
class Scene:
    """One generated clip.

    ``size`` is (height, width), ``length`` the number of frames. ``texts``: two sentences by
    annotator a1, then two by a2. ``backdrop(size)`` paints what never changes and ``draw(canvas,
    frame)`` the rest. Pixels whose target share is at least ``sure`` / 256 are target, the others
    from ``unsure`` / 256 on are Ignore (equal where the outline leaves no doubt). ``group`` is the source video.
    """

    id: str
    size: Size
    length: int
    concept: str
    categories: tuple[str, ...]
    texts: tuple[str, str, str, str]
    backdrop: Callable[[Size], Plane]
    draw: Callable[[Canvas, int], None]
    unsure: int
    sure: int
    seed: int
    group: str


_SCENES = (
    Scene(
        id="candle-wax",
        size=(192, 108),
        length=48,
        concept="wax melting",
        categories=(_CHANGE,),
        texts=(
            "melting wax running down the side of the candle",
            "the trickles of hot wax below the rim",
            "wax dripping down a white candle",
            "the liquid wax that flows over the edge, not the flame",
        ),
        backdrop=partial(scenes_candle.backdrop, candle=scenes_candle.WAX),
        draw=scenes_candle.wax,
        unsure=60,
        sure=180,
        seed=1,
        group="candle-white",
    ),
    Scene(
        id="candle-flame",
        size=(208, 117),
        length=54,
        concept="flame flickering",
        categories=(_MOTION, _PATTERN),
        texts=(
            "the flame flickering on the red candle",
            "fire burning at the wick until it is put out",
            "the dancing candle flame",
            "the small fire that gets snuffed",
        ),
        backdrop=partial(scenes_candle.backdrop, candle=scenes_candle.FLAME),
        draw=scenes_candle.flame,
        unsure=50,
        sure=150,
        seed=2,
        group="candle-red",
    ),
    Scene(
        id="pond-ripples",
        size=(213, 120),
        length=48,
        concept="water rippling",
        categories=(_MOTION,),
        texts=(
            "ripples spreading on the pond",
            "the rings in the water where a drop fell in",
            "circular waves that grow wider and fade",
            "the water being disturbed in front of the ball",
        ),
        backdrop=partial(scenes_water.pond_backdrop, seed=70),
        draw=scenes_water.ripples,
        unsure=40,
        sure=110,
        seed=3,
        group="pond",
    ),
    Scene(
        id="pond-ball",
        size=(213, 120),
        length=52,
        concept="moving ball",
        categories=(_INTERACTION,),
        texts=(
            "the striped ball floating across the pond",
            "a red and yellow beach ball bobbing on the water",
            "the toy that drifts from left to right",
            "the ball, not the rings in the water",
        ),
        backdrop=partial(scenes_water.pond_backdrop, seed=80),
        draw=scenes_water.floating_ball,
        unsure=128,
        sure=128,
        seed=4,
        group="pond",
    ),
    Scene(
        id="beach-wave",
        size=(200, 112),
        length=52,
        concept="wave rising",
        categories=(_ENVIRONMENT, _MOTION),
        texts=(
            "the wave rolling onto the beach",
            "foaming water that runs up the sand and back",
            "a wave rising and breaking in the foreground",
            "the surf below the sail boat",
        ),
        backdrop=scenes_water.beach_backdrop,
        draw=scenes_water.wave,
        unsure=50,
        sure=130,
        seed=5,
        group="beach",
    ),
    Scene(
        id="ink-cloud",
        size=(108, 192),
        length=56,
        concept="ink spreading",
        categories=(_PATTERN, _CHANGE),
        texts=(
            "ink spreading in the water",
            "the dark blue cloud coming out of the pipette",
            "a plume of dye that sinks and dissolves",
            "the violet stain behind the goldfish",
        ),
        backdrop=scenes_water.aquarium_backdrop,
        draw=scenes_water.ink,
        unsure=50,
        sure=120,
        seed=6,
        group="aquarium",
    ),
    Scene(
        id="train-smoke",
        size=(135, 240),
        length=54,
        concept="smoke dispersing",
        categories=(_PATTERN,),
        texts=(
            "smoke rising from the locomotive",
            "the steam trailing behind the chimney",
            "the white plume that thins out above the train",
            "puffs of smoke left behind by the engine",
        ),
        backdrop=scenes_sky.railway_backdrop,
        draw=scenes_sky.smoke,
        unsure=60,
        sure=120,
        seed=7,
        group="railway",
    ),
    Scene(
        id="crane-cloud",
        size=(192, 108),
        length=54,
        concept="cloud moving",
        categories=(_ENVIRONMENT,),
        texts=(
            "the cloud moving across the sky",
            "a white cloud passing behind the crane",
            "the fluffy cumulus drifting to the right",
            "what hides the blue sky for a moment",
        ),
        backdrop=scenes_sky.harbour_backdrop,
        draw=scenes_sky.cloud,
        unsure=60,
        sure=140,
        seed=8,
        group="harbour",
    ),
    Scene(
        id="storm-flash",
        size=(120, 214),
        length=54,
        concept="lightning flashing",
        categories=(_ENVIRONMENT, _PATTERN),
        texts=(
            "the flash of light in the clouds",
            "lightning illuminating the night sky",
            "the part of the sky that lights up twice",
            "sheet lightning above the town",
        ),
        backdrop=scenes_sky.storm_backdrop,
        draw=scenes_sky.flash,
        unsure=65,
        sure=110,
        seed=9,
        group="storm",
    ),
    Scene(
        id="ice-puddle",
        size=(113, 200),
        length=56,
        concept="ice melting",
        categories=(_CHANGE,),
        texts=(
            "the puddle growing around the ice cube",
            "melt water on the wooden table",
            "the pool of water that gets wiped up",
            "spilled water spreading from under the ice",
        ),
        backdrop=scenes_room.table_backdrop,
        draw=scenes_room.puddle,
        unsure=60,
        sure=128,
        seed=10,
        group="kitchen",
    ),
    Scene(
        id="lamp-pool",
        size=(196, 110),
        length=48,
        concept="light fluctuating",
        categories=(_PATTERN,),
        texts=(
            "the pool of light on the floor",
            "lamplight moving over the boards",
            "the bright patch that swings and flickers below",
            "where the lamp shines on the wooden floor",
        ),
        backdrop=scenes_room.attic_backdrop,
        draw=scenes_room.pool,
        unsure=50,
        sure=128,
        seed=11,
        group="attic",
    ),
    Scene(
        id="glass-shards",
        size=(126, 224),
        length=40,
        concept="glass shattering",
        categories=(_INTERACTION, _CHANGE),
        texts=(
            "the shards of the breaking window",
            "pieces of glass flying and falling",
            "window pane shattering when the ball hits it",
            "the broken glass",
        ),
        backdrop=partial(scenes_impact.window_backdrop, plaster=(206, 170, 130), inside=(90, 84, 96)),
        draw=scenes_impact.shards,
        unsure=128,
        sure=128,
        seed=12,
        group="window-brown",
    ),
    Scene(
        id="glass-ball",
        size=(126, 224),
        length=48,
        concept="moving ball",
        categories=(_INTERACTION,),
        texts=(
            "the green ball bouncing off the window",
            "a ball thrown against the glass",
            "the thing that cracks the pane and falls away",
            "the ball, not the cracks it makes",
        ),
        backdrop=partial(scenes_impact.window_backdrop, plaster=(150, 170, 180), inside=(104, 92, 70)),
        draw=scenes_impact.bouncing_ball,
        unsure=128,
        sure=128,
        seed=13,
        group="window-grey",
    ),
    Scene(
        id="block-sparks",
        size=(144, 256),
        length=46,
        concept="sparks flying",
        categories=(_INTERACTION,),
        texts=(
            "sparks flying from the colliding blocks",
            "the glowing particles that shoot up on impact",
            "a shower of sparks between two pieces of steel",
            "the small bright streaks",
        ),
        backdrop=scenes_impact.workshop_backdrop,
        draw=scenes_impact.sparks,
        unsure=80,
        sure=140,
        seed=14,
        group="workshop",
    ),
)

CLIPS: Mapping[str, Scene] = {scene.id: scene for scene in _SCENES}
"""The scenes by clip id, in the order of the benchmark."""


@lru_cache(maxsize=4)
def _backdrop(clip: str) -> Plane:
    return CLIPS[clip].backdrop(CLIPS[clip].size)


@lru_cache(maxsize=80)
def render(clip: str, frame: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """RGB [H, W, 3] and labels [H, W] of one frame; shared by all callers, so read-only."""
    scene = CLIPS[clip]
    canvas = Canvas(_backdrop(clip))
    scene.draw(canvas, frame)
    rgb, labels = canvas.rgb(scene.seed, frame), canvas.labels(scene.unsure, scene.sure, LEAST)
    rgb.flags.writeable = labels.flags.writeable = False
    return rgb, labels


def pixels(clip: str) -> Iterator[bytes]:
    """The RGB bytes of each frame of a clip, in order."""
    for frame in range(CLIPS[clip].length):
        yield render(clip, frame)[0].tobytes()
