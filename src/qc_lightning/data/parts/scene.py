"""The scene of a photo of the parts set: a machined plate, its surface and its machining marks.

Arrays use only ``+ - * /``, square root, floor, minimum, maximum and table look-ups. IEEE 754 defines each of these to
the last bit, so a photo is the same on every CPU; NumPy's exp, sin or power on arrays differ between instruction sets.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

Field: TypeAlias = NDArray[np.floating[Any]]  # always float32, which NumPy's stubs do not track
Hole: TypeAlias = tuple[float, float, float, float]

SIZE = 256  # pixels per side
FRAME = 220  # side of the central square that contains the part and its shadow
HALF, CORNER = 92.0, 22.0  # the plate: half its side and its corner radius, in pixels like all lengths here
BOSS, BORE = 50.0, 25.0  # radii of the raised, turned ring in the middle and of the bore through it
# u, v, radius and width of the countersink: the bore, four bolt holes, four pin holes
HOLES: tuple[Hole, ...] = (
    (0.0, 0.0, BORE, 0.0),
    *((66.0 * a, 66.0 * b, 9.0, 3.0) for a in (-1, 1) for b in (-1, 1)),
    *((-73.0, 0.0, 4.5, 1.5), (73.0, 0.0, 4.5, 1.5), (0.0, -73.0, 4.5, 1.5), (0.0, 73.0, 4.5, 1.5)),
)

_TILE = 1024  # side of the table of machining marks


def between(rng: RandomState, low: float, high: float) -> float:
    """A uniform number in [low, high). Not ``rng.uniform``: compiled C may fuse its multiply and add on some CPUs."""
    return low + (high - low) * rng.random_sample()


def direction(angle: float) -> tuple[float, float]:
    """(cos, sin) of `angle` in radians, rounded so that differences in the last digit of libm have no effect."""
    return round(math.cos(angle), 6), round(math.sin(angle), 6)


def clip(field: Field) -> Field:
    """`field` clipped to [0, 1]; of ``0.5 - distance`` it is the fraction of a pixel that a shape covers."""
    cut: Field = np.clip(field, 0.0, 1.0)
    return cut


def length(a: Field, b: Field) -> Field:
    """Euclidean length of (a, b), never 0, so that it can be a divisor."""
    return np.sqrt(a * a + b * b + 1e-6)


@lru_cache(maxsize=4)
def grid(side: int) -> tuple[Field, Field]:
    """(x, y) of every pixel, float32 [side, side] each, 0 in the middle."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) - np.float32((side - 1) / 2)
    return x, y


def cloud(rng: RandomState, side: int, cells: int) -> Field:
    """Smooth noise [side, side] in [0, 1]: random values on a grid of `cells` per side, interpolated."""
    place = np.arange(side, dtype=np.float32) * (cells / side)
    at = np.floor(place).astype(np.intp)
    blend = place - at.astype(np.float32)
    blend = blend * blend * (3 - 2 * blend)
    knots = rng.random_sample((cells + 1, cells + 1)).astype(np.float32)
    across = knots[at] * (1 - blend[:, None]) + knots[at + 1] * blend[:, None]
    blended: Field = across[:, at] * (1 - blend) + across[:, at + 1] * blend
    return blended


@lru_cache(maxsize=1)
def _marks() -> Field:
    """Marks of a cutting tool, [1024, 1024] in [-1, 1]: rough from row to row, long and faint along a row."""
    # after this freed block glibc keeps freed arrays: without it each photo takes twice as long
    np.empty(30 << 20, np.uint8)
    rng = RandomState(20)
    table = np.zeros((_TILE, _TILE), np.float32)
    for weight, step in ((0.55, 256), (0.3, 64), (0.15, 16)):
        knots = (2 * rng.random_sample((_TILE, _TILE // step)) - 1).astype(np.float32)
        blend = np.tile(np.arange(step, dtype=np.float32) / step, _TILE // step)
        left, right = np.repeat(knots, step, axis=1), np.repeat(np.roll(knots, -1, axis=1), step, axis=1)
        table += weight * (left * (1 - blend) + right * blend)
    return table.ravel()


def look_up_marks(across: Field, along: Field, rng: RandomState) -> Field:
    """Machining marks in [-1, 1] at a random position of the table; `across` and `along` in pixels, any shape."""
    row = across.astype(np.int32) + rng.randint(_TILE)
    column = along.astype(np.int32) + rng.randint(_TILE)
    return _marks().take(((row & (_TILE - 1)) << 10) | (column & (_TILE - 1)))


@dataclass(slots=True)
class Surface:
    """The lit surface in the part's own frame; each field is float32 [220, 220].

    Attributes:
        u: position on the part in pixels, 0 in the middle of the bore, to the right.
        v: the same, downwards.
        edge: signed distance to the outline in pixels, negative on the part.
        tilt_u: tilt of the surface to the right (tangent of the angle).
        tilt_v: tilt downwards.
        grain_u: unit direction of the machining marks, to the right.
        grain_v: the same, downwards.
        tone: reflectance, about 0.2 to 0.8.
        access: fraction of the light that arrives, 0 deep in a hole to 1 in the open.
        cover: fraction of the pixel that shows the part and not the fixture, in [0, 1].
        solid: as `cover`, without the holes.
        stain: strength of the stain, in [0, 1].
        stain_absorbs: fraction of red, green and blue that a full stain absorbs.
        light: unit direction towards the key light seen from above, (u, v).
        pose: (shift x, shift y, cos, sin, scale) from the part's frame to the camera's.
    """

    u: Field
    v: Field
    edge: Field
    tilt_u: Field
    tilt_v: Field
    grain_u: Field
    grain_v: Field
    tone: Field
    access: Field
    cover: Field
    solid: Field
    stain: Field
    stain_absorbs: tuple[float, float, float]
    light: tuple[float, float]
    pose: tuple[float, float, float, float, float]

    def window(self, u: float, v: float, reach: float) -> tuple[slice, slice]:
        """The rows and columns that hold every pixel within `reach` of (u, v) on the part."""
        shift_x, shift_y, cos, sin, scale = self.pose
        reach = reach * scale + 2
        x = min(max(shift_x + scale * (cos * u - sin * v) + FRAME / 2, 0.0), float(FRAME))
        y = min(max(shift_y + scale * (sin * u + cos * v) + FRAME / 2, 0.0), float(FRAME))
        vertical = slice(max(0, math.floor(y - reach)), math.ceil(y + reach))
        return vertical, slice(max(0, math.floor(x - reach)), math.ceil(x + reach))


def machine(rng: RandomState) -> Surface:
    """A plate with a turned boss, not drilled yet, placed in the fixture's pocket with some play."""
    shift_x, shift_y = between(rng, -4, 4), between(rng, -4, 4)
    cos, sin = direction(between(rng, -0.05, 0.05))
    scale = between(rng, 0.99, 1.01)
    x, y = grid(FRAME)
    x, y = (x - shift_x) / scale, (y - shift_y) / scale
    u, v = cos * x + sin * y, cos * y - sin * x
    light_x, light_y = direction(between(rng, -2.45, -2.10))

    # the outline is a box with round corners; (out_u, out_v) points away from it
    over_u, over_v = np.abs(u) - (HALF - CORNER), np.abs(v) - (HALF - CORNER)
    past_u, past_v = np.maximum(over_u, 0.0), np.maximum(over_v, 0.0)
    past = length(past_u, past_v)
    edge = past + np.minimum(np.maximum(over_u, over_v), 0.0) - CORNER
    chamfer = clip((edge + 5.0) * 0.6) * between(rng, 0.75, 0.95) / past

    # a mill leaves arcs, or straight lines if its centre is far away
    toward_u, toward_v = direction(rng.randint(4) * math.pi / 2 + between(rng, -0.12, 0.12))
    far = 250 + 2500 * between(rng, 0, 1) * between(rng, 0, 1)
    from_u, from_v = u + far * toward_u, v + far * toward_v
    swing = length(from_u, from_v)
    marks = look_up_marks(swing * between(rng, 0.8, 1.6), u * toward_v - v * toward_u + 400, rng)
    grain_u, grain_v = -from_v / swing, from_u / swing
    rough = between(rng, 0.06, 0.15)
    film = 1 + between(rng, 0.06, 0.2) * (cloud(rng, FRAME, 5) - 0.5)
    cover = clip(0.5 - edge)
    surface = Surface(
        u=u,
        v=v,
        edge=edge,
        tilt_u=chamfer * np.copysign(past_u, u) - rough * grain_v * marks,
        tilt_v=chamfer * np.copysign(past_v, v) + rough * grain_u * marks,
        grain_u=grain_u,
        grain_v=grain_v,
        tone=between(rng, 0.52, 0.64) * film * (1 + between(rng, 0.05, 0.12) * marks),
        access=np.ones_like(u),
        cover=cover,
        solid=cover.copy(),
        stain=np.zeros_like(u),
        stain_absorbs=(0.0, 0.0, 0.0),
        light=(cos * light_x + sin * light_y, cos * light_y - sin * light_x),
        pose=(shift_x, shift_y, cos, sin, scale),
    )
    _turn_boss(surface, rng)
    for _ in range(rng.randint(6)):  # nicks from tools and handling, too small to reject a part
        nick_u, nick_v, reach = between(rng, -85, 85), between(rng, -85, 85), between(rng, 0.8, 2.2)
        cos, sin = direction(between(rng, 0, math.pi))
        at = surface.window(nick_u, nick_v, reach + 1)
        off_u, off_v = surface.u[at] - nick_u, surface.v[at] - nick_v
        nick = clip(1 - np.abs(off_v * cos - off_u * sin)) * clip(reach + 0.5 - np.abs(off_u * cos + off_v * sin))
        surface.tone[at] *= 1 + between(rng, -0.2, 0.2) * nick
    return surface


def _turn_boss(surface: Surface, rng: RandomState) -> None:
    """Turn the raised ring in place: rings of the lathe, two chamfers, a groove, a shadow at its foot."""
    at = surface.window(0.0, 0.0, BOSS + 20)
    u, v = surface.u[at], surface.v[at]
    radius = length(u, v)
    ray_u, ray_v = u / radius, v / radius
    ring = clip((BOSS + 1.0 - radius) * 0.5)  # ends in a fillet two pixels wide
    marks = look_up_marks(radius * between(rng, 1.2, 2.2), radius * 0.1, rng)
    rough = between(rng, 0.04, 0.10)
    steps = (
        clip((3.5 - np.abs(radius - (BOSS - 2.0))) * 0.6) * between(rng, 0.6, 0.9)
        - clip((3.0 - np.abs(radius - (BORE + 1.5))) * 0.6) * between(rng, 0.6, 0.9)
        - clip(1.3 - np.abs(radius - 39.5)) * 0.5
        + clip(1.3 - np.abs(radius - 36.5)) * 0.5
        + rough * marks
    )
    for field, turned in (
        (surface.tilt_u, steps * ray_u),
        (surface.tilt_v, steps * ray_v),
        (surface.grain_u, -ray_v),
        (surface.grain_v, ray_u),
    ):
        field[at] += (turned - field[at]) * ring
    surface.tone[at] *= 1 + ring * (rough * marks - 0.25 * clip(2.2 - np.abs(radius - 38.0)))
    foot = np.maximum(radius - BOSS, 0.0)
    shade = length(u + 6 * surface.light[0], v + 6 * surface.light[1])
    surface.access[at] = 1 - (1 - ring) * (
        0.3 * clip(1 - 0.055 * foot) / (1 + 0.08 * foot * foot) + 0.28 * clip((BOSS + 4 - shade) * 0.2)
    )
    surface.access[at] *= 1 - 0.4 * clip(1.6 - np.abs(radius - BOSS - 0.5))  # the dark line at the foot


def drill(surface: Surface, hole: Hole, depth: float = 1.0) -> None:
    """Drill one hole in place; `depth` 1 goes through and shows the dark below, less leaves a bright floor."""
    u, v, radius, sink = hole
    at = surface.window(u, v, radius + sink)
    off_u, off_v = surface.u[at] - u, surface.v[at] - v
    away = length(off_u, off_v)
    ray_u, ray_v = off_u / away, off_v / away
    inside = clip(radius + 0.5 - away)
    cone = (clip((radius + sink + 1 - away) * 0.6) - inside) * 0.7
    surface.tilt_u[at] -= ray_u * cone
    surface.tilt_v[at] -= ray_v * cone
    # the far wall reflects the key light, the near wall is in its own shadow
    facing = ray_u * surface.light[0] + ray_v * surface.light[1]
    wall = clip(1 - (radius - away) * (2.2 / radius)) * np.maximum(-facing, 0.0)
    lit = (0.03 + 0.5 * (1 - depth)) * clip(1.2 - 0.35 * facing) + 0.45 * wall * wall
    surface.access[at] *= 1 + inside * (lit - 1)
    surface.solid[at] *= 1 - inside
