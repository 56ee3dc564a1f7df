"""The inspection station of the parts set: fixture, lights and camera (exact arithmetic, as in `scene`)."""

import math
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from qc_lightning.data.parts.scene import (
    FRAME,
    SIZE,
    Field,
    Surface,
    between,
    clip,
    cloud,
    direction,
    grid,
    length,
    look_up_marks,
)

_SPECK = np.array([[0.35, 0.7, 0.35], [0.7, 1.0, 0.7], [0.35, 0.7, 0.35]], np.float32)


@lru_cache(maxsize=4)
def fixture(seed: int) -> Field:
    """The station's fixture plate under the nominal light, RGB [3, 256, 256]: the same for all photos of a station."""
    rng = RandomState([seed, 0, 2])
    x, y = grid(SIZE)
    over_x, over_y = np.abs(x) - 78.0, np.abs(y) - 78.0
    past = length(np.maximum(over_x, 0.0), np.maximum(over_y, 0.0))
    pocket = past + np.minimum(np.maximum(over_x, over_y), 0.0) - 26.0  # signed distance, negative in the pocket
    wear = cloud(rng, SIZE, 6) * 0.5 + cloud(rng, SIZE, 21) * 0.3 + cloud(rng, SIZE, 64) * 0.2
    gray = 0.035 + 0.05 * wear + 0.012 * look_up_marks(x + y * 0.04 + 300, y + 300, rng)
    for _ in range(40):  # scuffs from years of parts moved in and out
        at_x, at_y, reach = between(rng, -128, 128), between(rng, -128, 128), between(rng, 4, 40)
        cos, sin = direction(between(rng, 0, math.pi))
        along, across = (x - at_x) * cos + (y - at_y) * sin, (y - at_y) * cos - (x - at_x) * sin
        gray += between(rng, 0.005, 0.05) * clip(1.1 - np.abs(across)) * clip((reach - np.abs(along)) * 0.1)
    inside = clip(0.5 - pocket)
    gray *= 1 - 0.45 * inside
    gray += clip(1.6 - np.abs(pocket)) * (0.08 * (x + y) / (np.abs(x) + np.abs(y) + 1) + 0.04)
    gray *= 1 - 0.5 * clip(1 + pocket * 0.12) * inside
    for at_x, at_y in ((-112.0, -112.0), (112.0, -112.0), (-112.0, 112.0), (112.0, 112.0)):  # socket head screws
        off_x, off_y = x - at_x, y - at_y
        away = length(off_x, off_y)
        head = clip(9.5 - away)
        gray += head * (0.12 - gray - 0.008 * clip(1.5 - np.abs(away - 8)) * (off_x + off_y))
        socket = np.maximum(np.abs(off_x), np.abs(off_x) * 0.5 + np.abs(off_y) * 0.866)
        gray *= 1 - 0.85 * clip(4.5 - socket)
        gray *= 1 - 0.5 * clip(1.4 - np.abs(away - 10))
    return np.stack([gray * 0.92, gray, gray * 1.12])


def light(surface: Surface, rng: RandomState, seed: int) -> Field:
    """Linear RGB radiance [3, 256, 256], about 0 to 1: a key light, a weaker fill light and the glow of a dome.

    The highlight is a GGX lobe stretched across the machining marks (Walter et al. 2007, anisotropic form), expressed
    in tilts: deviations of the surface from the mirror position between light and camera.
    """
    glow = between(rng, 0.34, 0.42)
    lean = np.minimum(surface.tilt_u * surface.tilt_u + surface.tilt_v * surface.tilt_v, 1.0)
    along = between(rng, 0.12, 0.18) + 0.16 * lean  # a chamfer is rounder than it looks: a weaker highlight
    across = between(rng, 0.34, 0.44)
    toward = surface.tilt_u * surface.light[0] + surface.tilt_v * surface.light[1]
    seen = glow * (1 + 0.8 * toward) / (1 + 0.8 * lean)
    for side, strength, far, height in ((1.0, 1.5, 300.0, 430.0), (-0.6, 0.5, 380.0, 380.0)):
        far, height = far * between(rng, 0.93, 1.07), height * between(rng, 0.93, 1.07)
        to_u = far * side * surface.light[0] - surface.u
        to_v = far * side * surface.light[1] - surface.v
        distance = np.sqrt(to_u * to_u + to_v * to_v + height * height)
        # the mirror tilt is the half vector over its height: (to / distance) / (height / distance + 1)
        reach = distance + height
        need_u, need_v = to_u / reach - surface.tilt_u, to_v / reach - surface.tilt_v
        on_grain = (need_u * surface.grain_u + need_v * surface.grain_v) / along
        off_grain = (need_v * surface.grain_u - need_u * surface.grain_v) / across
        spread = 1 + on_grain * on_grain + off_grain * off_grain
        seen += (strength * 430.0) / (distance * spread * spread)
    bright = surface.tone * np.maximum(seen, 0.02) * surface.access

    shade = clip(1 - np.maximum(surface.edge, 0.0) * 0.11)
    shade = 1 - 0.6 * shade * shade
    tints = (between(rng, 0.98, 1.03), 1.0, between(rng, 0.94, 1.01))
    photo = fixture(seed).copy()
    middle = slice((SIZE - FRAME) // 2, (SIZE + FRAME) // 2)
    for channel, tint, absorbed in zip(photo[:, middle, middle], tints, surface.stain_absorbs, strict=True):
        metal = bright * tint
        if absorbed:
            metal *= 1 - absorbed * surface.stain
        channel *= shade
        channel += (metal - channel) * surface.cover
    return photo


@lru_cache(maxsize=1)
def _sensor() -> tuple[Field, NDArray[np.uint8]]:
    """256 equally likely normal deviates, and the tone curve (sRGB's) from 12-bit counts to 8 bits."""
    deviates = [round(NormalDist().inv_cdf((i + 0.5) / 256), 4) for i in range(256)]
    linear = [i / 4095 for i in range(4096)]
    curve = [12.92 * x if x <= 0.0031308 else 1.055 * x ** (1 / 2.4) - 0.055 for x in linear]
    return np.array(deviates, np.float32), np.array([int(round(255 * y, 6) + 0.5) for y in curve], np.uint8)


def photograph(radiance: Field, rng: RandomState) -> NDArray[np.uint8]:
    """The camera's picture, uint8 [256, 256, 3]: dust, uneven light, defocus, shot and read noise, tone curve.

    `radiance` is float32 [3, 256, 256] and is overwritten.
    """
    for _ in range(rng.randint(4, 16)):  # dust on the part and on the fixture
        column, row = rng.randint(2, SIZE - 2), rng.randint(2, SIZE - 2)
        radiance[:, row - 1 : row + 2, column - 1 : column + 2] *= 1 + between(rng, -0.3, 0.35) * _SPECK
    x, y = grid(SIZE)
    gradient_x, gradient_y = between(rng, -0.18, 0.18) / 128, between(rng, -0.18, 0.18) / 128
    fall = between(rng, 0.12, 0.22) / (128 * 128)
    exposure = between(rng, 0.85, 1.25)
    radiance *= (exposure + exposure * (gradient_x * x + gradient_y * y)) * (1 - fall * (x * x + y * y))

    soft = between(rng, 0.35, 1.0)
    halves = radiance[:, 1:] + radiance[:, :-1]
    halves = halves[:, :, 1:] + halves[:, :, :-1]  # four pixels each; four of these are a 3 x 3 binomial blur
    blurred = halves[:, 1:] + halves[:, :-1]
    blurred = (blurred[:, :, 1:] + blurred[:, :, :-1]) * (soft / 16)
    radiance[:, 1:-1, 1:-1] *= 1 - soft
    radiance[:, 1:-1, 1:-1] += blurred

    deviates, curve = _sensor()
    noise = deviates.take(np.frombuffer(rng.bytes(radiance.size), np.uint8)).reshape(radiance.shape)
    shot, read = between(rng, 0.00004, 0.00014), between(rng, 0.000003, 0.00001)
    noise *= np.sqrt(radiance * shot + read)
    radiance += noise
    counts = (clip(radiance) * 4095 + 0.5).astype(np.int16)
    red, green, blue = curve.take(counts)
    return np.stack((red, green, blue), axis=-1)
