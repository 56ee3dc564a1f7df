"""The six defects of the parts set. Each one changes the surface before the light falls on it.

A defect function takes the drilled surface, its own random stream and a severity in [0, 1] (0 barely visible, 1
obvious), edits the surface in place and returns its cover, float32 [220, 220] in [0, 1]: above 0 exactly where the
surface changed.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.random import RandomState

from qc_lightning.data.parts.scene import (
    BORE,
    BOSS,
    CORNER,
    FRAME,
    HALF,
    HOLES,
    Field,
    Surface,
    between,
    clip,
    cloud,
    direction,
    drill,
    length,
)

MISSING_HOLE = "missing hole"
_Point = tuple[float, float]


def drill_all_but_one(surface: Surface, rng: RandomState, severity: float) -> Field:
    """A missing hole: from severity 0.6 on a hole is not drilled at all, below that one is not drilled through."""
    missing = HOLES[rng.randint(5, 9)] if severity < 0.8 else HOLES[rng.randint(1, 5)]
    if severity < 0.6:
        missing = HOLES[rng.randint(1, 9)]
    for hole in HOLES:
        if hole is not missing:
            drill(surface, hole)
        elif severity < 0.6:
            drill(surface, hole, depth=0.96 - 1.1 * severity)
    u, v, radius, sink = missing
    reach = radius if severity < 0.6 else radius + sink
    return clip(reach + 0.5 - length(surface.u - u, surface.v - v))


def _spot(rng: RandomState, room: float) -> _Point:
    """A position on the faces of the part, at least `room` pixels from every hole, chamfer and step."""
    while True:
        u, v = between(rng, -HALF, HALF), between(rng, -HALF, HALF)
        middle = math.sqrt(u * u + v * v)
        border = HALF - 6 - room
        corner = max(abs(u), abs(v)) < border and abs(u) + abs(v) < 2 * border - 0.6 * CORNER
        clear = all((u - x) ** 2 + (v - y) ** 2 > (radius + sink + 1 + room) ** 2 for x, y, radius, sink in HOLES)
        if corner and clear and abs(middle - BOSS) > room + 2 and middle > BORE + 4 + room:
            return u, v


def _walk(rng: RandomState, start: _Point, heading: float, steps: int, stride: float, swerve: float) -> list[_Point]:
    """A path of `steps` steps from `start`, each turned by up to `swerve` radians from the `heading`."""
    points = [start]
    for _ in range(steps):
        cos, sin = direction(heading + between(rng, -swerve, swerve))
        points.append((points[-1][0] + stride * cos, points[-1][1] + stride * sin))
    return points


def _stroke(surface: Surface, points: Sequence[_Point], widths: Sequence[float]) -> tuple[Field, Field, Field]:
    """Cover of a line through `points`, `widths[i]` pixels wide on its i-th piece, and the way (u, v) off its axis."""
    cover, off_u, off_v = (np.zeros((FRAME, FRAME), np.float32) for _ in range(3))
    for (a_u, a_v), (b_u, b_v), width in zip(points, points[1:], widths, strict=False):
        d_u, d_v = b_u - a_u, b_v - a_v
        square = d_u * d_u + d_v * d_v
        at = surface.window((a_u + b_u) / 2, (a_v + b_v) / 2, math.sqrt(square) / 2 + width + 1)
        from_u, from_v = surface.u[at] - a_u, surface.v[at] - a_v
        along = clip((from_u * d_u + from_v * d_v) / square)
        from_u, from_v = from_u - along * d_u, from_v - along * d_v
        piece = clip(width / 2 + 0.5 - length(from_u, from_v)) * min(1.0, width)
        nearer = piece > cover[at]
        off_u[at] = np.where(nearer, from_u, off_u[at])
        off_v[at] = np.where(nearer, from_v, off_v[at])
        cover[at] = np.maximum(cover[at], piece)
    cover *= surface.solid
    return cover, off_u, off_v


def crack(surface: Surface, rng: RandomState, severity: float) -> Field:
    """A dark jagged line from the rim of a hole or from the outline, thinner towards its tip."""
    steps = 4 + int(8 * severity * between(rng, 0.6, 1.0))
    if rng.randint(3):
        u, v, radius, sink = HOLES[rng.randint(0, 5)]
        heading = between(rng, 0.0, 2 * math.pi)
        cos, sin = direction(heading)
        start = u + (radius + sink * 0.5) * cos, v + (radius + sink * 0.5) * sin
    else:
        side = rng.randint(4) * math.pi / 2
        cos, sin = direction(side)
        along = between(rng, -55, 55)
        start = (HALF - 1) * cos - along * sin, (HALF - 1) * sin + along * cos
        heading = side + math.pi + between(rng, -0.6, 0.6)
    points = _walk(rng, start, heading, steps, 3.5, 0.75)
    wide = between(rng, 0.8, 1.0) + 1.0 * severity
    cover, off_u, off_v = _stroke(surface, points, [wide * (1 - 0.65 * i / steps) for i in range(steps)])
    surface.access *= 1 - (0.55 + 0.4 * severity) * cover
    surface.tilt_u += 0.3 * cover * off_u
    surface.tilt_v += 0.3 * cover * off_v
    return cover


def scratch(surface: Surface, rng: RandomState, severity: float) -> Field:
    """A groove across the machining marks: bright metal, one flank towards the light, fading in and out."""
    steps = 5 + int(between(rng, 2, 5) + 8 * severity)
    start = _spot(rng, 2.0)
    heading = math.atan2(-start[1], -start[0]) + between(rng, -1.4, 1.4)
    bend, points = between(rng, -0.04, 0.04), [start]
    for i in range(steps):
        points += _walk(rng, points[-1], heading + i * bend, 1, 5.0, 0.05)[1:]
    wide, fades = between(rng, 0.9, 1.1) + 0.5 * severity, 2.2 / steps
    widths = [wide * min(1.0, (i + 1) * fades, (steps - i) * fades) * between(rng, 0.75, 1.0) for i in range(steps)]
    cover, off_u, off_v = _stroke(surface, points, widths)
    deep = 0.5 + 0.5 * severity
    cos, sin = direction(heading)
    flank = between(rng, -0.5, 0.5)
    surface.tilt_u -= deep * cover * (0.4 * off_u - flank * sin)
    surface.tilt_v -= deep * cover * (0.4 * off_v + flank * cos)
    surface.tone *= 1 + cover * deep * (0.8 if rng.randint(3) else -0.55)
    return cover


def dent(surface: Surface, rng: RandomState, severity: float) -> Field:
    """A round or oval hollow with a bright and a dark flank."""
    reach = 3.5 + between(rng, 0, 2) + 4 * severity
    u, v = _spot(rng, min(reach, 8.0))
    cos, sin = direction(between(rng, 0, math.pi))
    off_u, off_v = (surface.u - u) / reach, (surface.v - v) / reach
    squeeze = between(rng, 1.0, 1.5)
    along, across = off_u * cos + off_v * sin, (off_v * cos - off_u * sin) * squeeze
    square = along * along + across * across
    bowl = clip(1 - square)
    cover = np.where(bowl > 0, surface.solid, 0.0).astype(np.float32)
    # a bowl of depth (1 - r^2)^3 leans inwards by r (1 - r^2)^2 times a constant; 3.5 makes its steepest spot 1
    lean = (0.14 + 0.66 * severity) * 3.5 * bowl * bowl * cover
    surface.tilt_u -= lean * (along * cos - across * squeeze * sin)
    surface.tilt_v -= lean * (along * sin + across * squeeze * cos)
    surface.tone *= 1 - (0.03 + 0.12 * severity) * bowl * cover
    return cover


def stain(surface: Surface, rng: RandomState, severity: float) -> Field:
    """A blot of rust, dried coolant or oil with a ragged outline and a darker rim."""
    reach = 7 + between(rng, 0, 4) + 9 * severity
    u, v = _spot(rng, 4.0)
    away = length(surface.u - u, surface.v - v) / reach
    ragged = cloud(rng, FRAME, 18) * 0.6 + cloud(rng, FRAME, 45) * 0.4
    body = clip((1.25 - away - 0.9 * ragged) * (1.2 + 2 * severity)) * clip((1.6 - away) * 4) * surface.solid
    dried = 0.6 + 0.55 * cloud(rng, FRAME, 30) + body * (1 - body)  # uneven inside and darker at the rim
    surface.stain = np.minimum(body * dried * (0.15 + 0.65 * severity), 1.0)
    rust, coolant, oil = (0.4, 0.7, 0.95), (0.75, 0.72, 0.66), (0.7, 0.8, 0.95)
    surface.stain_absorbs = (rust, coolant, oil)[rng.randint(3)]
    return body


def burr(surface: Surface, rng: RandomState, severity: float) -> Field:
    """Metal left hanging over an edge: a ragged row of bright teeth into a hole or beyond the outline."""
    teeth = 6 + int(14 * severity * between(rng, 0.7, 1.0))
    big = 0.9 + 1.9 * severity
    cover = np.zeros((FRAME, FRAME), np.float32)
    # a rim of radius 0 represents a straight side of the outline
    rim_u, rim_v, radius, _ = HOLES[rng.randint(0, 5)] if rng.randint(3) else (0.0, 0.0, 0.0, 0.0)
    angle, along = rng.randint(4) * math.pi / 2, between(rng, -50, 50)
    turn = between(rng, 0, 2 * math.pi)
    for tooth in range(teeth):
        size = big * between(rng, 0.35, 1.0)
        jut = between(rng, 0.1, 0.9) * (1.2 * big - size)
        if radius:
            cos, sin = direction(turn + tooth * 1.3 / radius)
            u, v = rim_u + (radius - jut) * cos, rim_v + (radius - jut) * sin
        else:
            cos, sin = direction(angle)
            place = along + (tooth - teeth / 2) * 1.4
            u, v = (HALF - 1 + jut) * cos - place * sin, (HALF - 1 + jut) * sin + place * cos
        at = surface.window(u, v, size + 1)
        off_u, off_v = surface.u[at] - u, surface.v[at] - v
        blob = clip(size + 0.5 - length(off_u, off_v))
        bulge = blob * (0.6 / size)
        for field, value in (
            (surface.tilt_u, bulge * off_u),
            (surface.tilt_v, bulge * off_v),
            (surface.access, 0.5 + 0.3 * severity + 0.15 * blob),
            (surface.cover, 1.0),
        ):
            field[at] += (value - field[at]) * blob
        cover[at] = np.maximum(cover[at], blob)
    surface.solid = np.maximum(surface.solid, cover)
    return cover


DEFECTS: dict[str, Callable[[Surface, RandomState, float], Field]] = {
    MISSING_HOLE: drill_all_but_one,
    "crack": crack,
    "dent": dent,
    "scratch": scratch,
    "stain": stain,
    "burr": burr,
}
