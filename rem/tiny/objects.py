"""Training clips: several coloured shapes that move over a backdrop, and a sentence that names one of them.

Only objects: shapes with an outline of their own, at most soft, see-through, wobbling or changing in size.
Nothing here spreads, flows, burns or melts; that is :mod:`rem.tiny.processes`, which is for tests alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rem.tiny import canvas, words
from rem.tiny.canvas import Floats, Layer, Scene

TRAINING_SEEDS = range(0, 1000)
"""Seeds of training data; :func:`scene` refuses pairs held out for these, and only these."""
TEST_SEEDS = range(1000, 2000)

COLOURS = tuple(canvas.PALETTE)
MARGIN = 0.14
"""Distance, in sides of the picture, by which a place or a relation must be clear to be named."""


@dataclass(frozen=True, slots=True)
class Thing:
    """One object. Lengths are in sides of the picture, times in clips, angles in radians."""

    colour: str
    shape: str
    texture: str
    radius: float
    centre: tuple[float, float]
    velocity: tuple[float, float]
    angle: float
    spin: float
    edge: float
    opacity: float
    wobble: float
    growth: float
    fade: float
    phase: float


def held_out(colour: str, shape: str) -> bool:
    """Whether this pair of colour and shape is kept from training, to be tested."""
    return (COLOURS.index(colour) + 3 * words.SHAPES.index(shape)) % 8 == 0


def scene(seed: int, number: int, *, frames: int = 8, side: int = 64) -> Scene:
    """Clip ``number`` of ``seed``: 2 or 3 things and a sentence for one of them.

    The result depends on the arguments alone. For seeds of TRAINING_SEEDS no thing has a held-out pair of
    colour and shape; for all others the target has one. ``frames`` frames show the whole movement; with one frame
    it is a random moment of it, and no sentence speaks of motion.
    """
    rng = np.random.default_rng([seed, number])
    training = seed in TRAINING_SEEDS
    while True:
        things = [_thing(rng) for _ in range(int(rng.integers(2, 4)))]
        target = int(rng.integers(len(things)))
        pairs = [held_out(thing.colour, thing.shape) for thing in things]
        if any(pairs) if training else not pairs[target]:
            continue
        named = _sentence(rng, things, target, still=frames == 1)
        if named is None:
            continue
        times = (np.linspace(0, 1, frames) if frames > 1 else rng.uniform(0, 1, 1)).astype(np.float32)
        order = rng.permutation(len(things))
        layers = [_layer(rng, things[k], times, side) for k in order]
        avoid = np.stack([canvas.PALETTE[thing.colour] for thing in things]).astype(np.float32)
        light = np.ones(frames, np.float32)
        if rng.random() < 0.2:
            light += rng.uniform(-0.2, 0.2, frames).astype(np.float32)
        painted, masks = canvas.compose(canvas.backdrop(rng, side, avoid), layers, light)
        mask = masks[int(np.flatnonzero(order == target)[0])]
        if np.median(mask.sum(axis=(1, 2))) >= 0.01 * side * side:
            return Scene(painted, mask[None], (named[0],), (named[1],))


def _thing(rng: np.random.Generator) -> Thing:
    still = rng.random() < 0.3
    speed = (0.0, 0.0) if still else tuple(rng.uniform(-0.35, 0.35, 2))
    return Thing(
        colour=str(rng.choice(COLOURS)),
        shape=str(rng.choice(words.SHAPES)),
        texture="plain" if rng.random() < 0.65 else str(rng.choice(words.TEXTURES[1:])),
        radius=float(np.exp(rng.uniform(np.log(0.12), np.log(0.34)))),
        centre=(float(rng.uniform(0.12, 0.88)), float(rng.uniform(0.12, 0.88))),
        velocity=(float(speed[0]), float(speed[1])),
        angle=float(rng.uniform(-np.pi, np.pi)) if rng.random() < 0.5 else 0.0,
        spin=float(rng.uniform(-1.5, 1.5)) if rng.random() < 0.3 else 0.0,
        edge=1.0 if rng.random() < 0.65 else float(rng.uniform(2, 8)),
        opacity=1.0 if rng.random() < 0.7 else float(rng.uniform(0.5, 0.95)),
        wobble=0.0 if rng.random() < 0.6 else float(rng.uniform(0.05, 0.25)),
        growth=0.0 if rng.random() < 0.6 else float(rng.uniform(-0.7, 0.7)),
        fade=0.0 if rng.random() < 0.92 else float(rng.choice([-1, 1])),
        phase=float(rng.uniform(0, 2 * np.pi)),
    )


def _layer(rng: np.random.Generator, thing: Thing, times: Floats, side: int) -> Layer:
    """Opacity, colours and extent of a thing at ``times`` in [0, 1]."""
    t = times[:, None, None]
    x = (np.arange(side, dtype=np.float32) + 0.5) / side
    y = x[:, None]
    radius = thing.radius * np.exp(thing.growth * (t - 0.5))
    dy = (y - thing.centre[0] - thing.velocity[0] * (t - 0.5)) / radius
    dx = (x - thing.centre[1] - thing.velocity[1] * (t - 0.5)) / radius
    angle = thing.angle + thing.spin * t
    v, u = dy * np.cos(angle) - dx * np.sin(angle), dy * np.sin(angle) + dx * np.cos(angle)
    distance = _outline(thing, u, v, t)
    shape = np.clip(0.5 - distance * radius * side / thing.edge, 0, 1)
    opacity = thing.opacity * np.ones_like(t)
    if thing.fade:
        opacity = opacity * np.clip(1.6 * (t if thing.fade > 0 else 1 - t) - 0.1, 0, 1)
    pattern = _pattern(thing, u, v)
    shade = 1 - 0.45 * pattern + 0.12 * rng.uniform(-1, 1) * u + 0.12 * rng.uniform(-1, 1) * v
    tone = canvas.colour(rng, thing.colour)
    if thing.texture != "plain" and tone.mean() < 0.3:
        shade = shade + 0.45 * pattern  # dark colours are patterned by lighter paint
        colours = tone * shade[..., None] + 0.3 * pattern[..., None]
    else:
        colours = tone * shade[..., None]
    grain = rng.uniform(0, 0.08) * canvas.smooth_noise(rng, side, 16)
    colours = np.clip(colours + grain[None, ..., None], 0, 1)
    extent = (shape >= 0.5) & (opacity >= 0.2)
    return Layer((shape * opacity).astype(np.float32), colours.astype(np.float32), extent)


def _outline(thing: Thing, u: Floats, v: Floats, t: Floats) -> Floats:
    """Signed distance to the outline, negative inside, in radii; u and v are in radii, too."""
    r, theta = np.hypot(u, v), np.arctan2(v, u)
    match thing.shape:
        case "disc":
            distance = r - 1
        case "square":
            distance = np.maximum(abs(u), abs(v)) - 0.88
        case "triangle":
            distance = np.maximum(0.866 * abs(u) - 0.5 * v, v) - 0.55
        case "bar":
            distance = np.maximum(abs(u) - 1.5, abs(v) - 0.4)
        case "ring":
            distance = abs(r - 0.8) - 0.3
        case "cross":
            distance = np.maximum(np.minimum(abs(u), abs(v)) - 0.35, np.maximum(abs(u), abs(v)) - 1.1)
        case "star":
            distance = r - (0.8 + 0.35 * np.cos(5 * theta))
        case _:
            distance = r - (0.9 + 0.2 * np.sin(2 * theta + thing.phase) + 0.15 * np.sin(3 * theta - 2 * thing.phase))
    bend = np.sin(3 * theta + thing.phase + 5 * t) + 0.6 * np.sin(5 * theta - 2 * thing.phase - 7 * t)
    result: Floats = distance + thing.wobble * bend * np.minimum(r, 1)
    return result


def _pattern(thing: Thing, u: Floats, v: Floats) -> Floats:
    """How much of the second tone, in [0, 1]."""
    step = max(0.45, 0.06 / thing.radius)
    a, b = np.sin(np.pi * u / step), np.sin(np.pi * v / step)
    match thing.texture:
        case "striped":
            value = a
        case "checked":
            value = a * b
        case "dotted":
            value = np.minimum(a, b) - 0.3
        case _:
            return np.zeros_like(u)
    result: Floats = np.clip(0.5 + 3 * value, 0, 1)
    return result


# --- sentences ---------------------------------------------------------------------------------------


def _facts(things: list[Thing], k: int, still: bool) -> dict[str, str]:
    """What can truly be said of thing ``k``: its own attributes, and comparisons that are clear."""
    thing, others = things[k], [other for n, other in enumerate(things) if n != k]
    facts = {"colour": thing.colour, "shape": thing.shape, "texture": thing.texture}
    if all(thing.radius > 1.4 * other.radius for other in others):
        facts["size"] = "large"
    elif all(1.4 * thing.radius < other.radius for other in others):
        facts["size"] = "small"
    places = {
        "left": lambda a, b: a.centre[1] < b.centre[1] - MARGIN,
        "right": lambda a, b: a.centre[1] > b.centre[1] + MARGIN,
        "top": lambda a, b: a.centre[0] < b.centre[0] - MARGIN,
        "bottom": lambda a, b: a.centre[0] > b.centre[0] + MARGIN,
    }
    clear = [name for name, holds in places.items() if all(holds(thing, other) for other in others)]
    if clear:
        facts["place"] = clear[0]
    if not still:
        down, right = thing.velocity
        if down == right == 0:
            facts["motion"] = "still"
        elif max(abs(down), abs(right)) > 0.12:
            vertical = abs(down) > abs(right)
            facts["motion"] = ("down" if down > 0 else "up") if vertical else ("right" if right > 0 else "left")
    return facts


def _sentence(rng: np.random.Generator, things: list[Thing], k: int, *, still: bool) -> tuple[str, str] | None:
    """A sentence that is true of thing ``k`` alone, and the kind of fact that makes it so; None if there is none."""
    facts = [_facts(things, n, still) for n in range(len(things))]
    own, others = facts[k], [fact for n, fact in enumerate(facts) if n != k]
    alone = [key for key in own if all(other.get(key) != own[key] for other in others) and own[key] != "plain"]
    if not alone:
        return None
    weights = np.array([5.0 if key == "colour" else 1.0 for key in alone])
    kind = str(rng.choice(alone, p=weights / weights.sum()))
    said = {key for key in own if key == kind or (own[key] != "plain" and rng.random() < 0.3)}
    return _spoken(rng, own, said, _relation(rng, things, facts, k)), kind


def _relation(rng: np.random.Generator, things: list[Thing], facts: list[dict[str, str]], k: int) -> str:
    """Sometimes a true remark on where the thing is relative to another one, which is named by colour and shape."""
    if rng.random() > 0.2:
        return ""
    other = int(rng.choice([n for n in range(len(things)) if n != k]))
    down = things[k].centre[0] - things[other].centre[0]
    right = things[k].centre[1] - things[other].centre[1]
    if max(abs(down), abs(right)) < MARGIN:
        return ""
    vertical = abs(down) > abs(right)
    relation = ("below" if down > 0 else "above") if vertical else ("right of" if right > 0 else "left of")
    return f"{relation} the {facts[other]['colour']} {facts[other]['shape']}"


def caption(seed: int, number: int) -> tuple[str, dict[str, str]]:
    """A sentence like those of :func:`scene` without a picture, and what it says of its thing (colour, shape, ...)."""
    rng = np.random.default_rng([seed, number, 1])
    while True:
        things = [_thing(rng) for _ in range(2)]
        facts = [_facts(things, n, False) for n in range(2)]
        said = {key for key in facts[0] if facts[0][key] != "plain" and rng.random() < 0.45}
        if said and not any(held_out(thing.colour, thing.shape) for thing in things):
            sentence = _spoken(rng, facts[0], said, _relation(rng, things, facts, 0))
            return sentence, {key: facts[0][key] for key in said}


def _spoken(rng: np.random.Generator, facts: dict[str, str], said: set[str], relation: str) -> str:
    noun = str(rng.choice(words.NOUNS)) if rng.random() < 0.5 else words.invented(rng)
    parts = ["the" if rng.random() < 0.8 else "a"]
    parts += [facts[key] for key in ("size", "texture", "colour") if key in said]
    parts += [facts["shape"] if "shape" in said else noun]
    if "motion" in said:
        parts += ["standing still"] if facts["motion"] == "still" else ["moving", facts["motion"]]
    elif rng.random() < 0.15:
        parts += [words.invented(rng)]
    if "place" in said:
        parts += [
            f"on the {facts['place']} side" if facts["place"] in ("left", "right") else f"at the {facts['place']}"
        ]
    return " ".join([*parts, relation]).strip()
