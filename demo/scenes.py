# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, no-check-untyped-defs, allow-any-generics
"""Four drawn demo cameras and seeded little stories that play in front of them.

    clip = story("front_door", seed=7)              # or story("front_door", 7, plot="courier", light="night")
    for frame in clip.frames():                     # one frame per second
        frame.image, frame.when, frame.boxes        # PIL image, datetime, [(label, x0, y0, x1, y1), ...] in pixels
        frame.jpeg()                                # what the camera would upload

Everything is drawn from a small 3-D world with PIL and numpy: the still background of a camera is painted once for
each light and kept; only the actors are drawn for each frame. Units are metres; a camera stands at x = y = 0 and
looks along +y, z is up. The same seed always gives the same pictures, bit for bit: the packaged detector was trained
on them, so a change that moves a pixel is a change of its training data. (The shapes below are hand-drawn numbers;
type checking covers what the rest of the product calls: `story`, `Clip` and `DrawnFrame`.)
"""

import colorsys
import copy
import io
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 640, 360
LABELS: list[str] = ["person", "car", "dog", "cat", "package"]
LIGHTS = ["day", "dusk", "rain", "night"]  # night is infra-red: grey, bright only near the camera
FAR = 1e6


# ---------------------------------------------------------------- the camera and its still world


class DrawnCamera:
    """A pin-hole camera, the painting of its background, and the places where stories happen."""

    def __init__(self, name, height, pitch, fov, paint, **places):
        self.name, self.z, self.places, self.paint = name, height, places, paint
        self.f = WIDTH / 2 / math.tan(math.radians(fov) / 2)
        self.c, self.s = math.cos(math.radians(pitch)), math.sin(math.radians(pitch))

    def project(self, x, y, z):
        """World point -> pixel x, pixel y, depth."""
        z -= self.z
        d = max(y * self.c - z * self.s, 0.2)
        return WIDTH / 2 + self.f * x / d, HEIGHT / 2 - self.f * (y * self.s + z * self.c) / d, d

    def __getattr__(self, name):  # camera.door, camera.ways, ...
        try:
            return self.__dict__["places"][name]
        except KeyError:
            raise AttributeError(name) from None


class Canvas:
    """Paints the still background at twice the size, with the depth of whatever stands up from the ground."""

    def __init__(self, camera):
        self.camera, self.r = camera, random.Random(camera.name)
        self.image = Image.new("RGB", (WIDTH * 2, HEIGHT * 2), (172, 200, 228))
        self.depth = Image.new("F", (WIDTH, HEIGHT), FAR)
        self.pen, self.deep = ImageDraw.Draw(self.image), ImageDraw.Draw(self.depth)

    def poly(self, points, colour, depth=None):
        pts = [self.camera.project(*p)[:2] for p in points]
        self.pen.polygon([(x * 2, y * 2) for x, y in pts], fill=tint(colour))
        if depth:
            self.deep.polygon(pts, fill=depth)

    def ground(self, x0, x1, y0, y1, colour):
        self.poly([(x0, y0, 0), (x1, y0, 0), (x1, y1, 0), (x0, y1, 0)], colour)

    def wall(self, x0, x1, y, z0, z1, colour, solid=True):
        self.poly([(x0, y, z0), (x1, y, z0), (x1, y, z1), (x0, y, z1)], colour, y if solid else None)

    def stick(self, x, y, z0, z1, width, colour):
        self.wall(x - width / 2, x + width / 2, y, z0, z1, colour)

    def leaves(self, x, y, z, spread, colour, n=40):
        for _ in range(n):
            a, b = self.r.gauss(0, spread * 0.45), self.r.gauss(0, spread * 0.35)
            px, py, d = self.camera.project(x + a, y, max(z + b, 0.1))
            r = spread * self.r.uniform(0.16, 0.34) * self.camera.f / d
            self.pen.ellipse(
                [2 * px - 2 * r, 2 * py - 2 * r, 2 * px + 2 * r, 2 * py + 2 * r],
                fill=tint(colour, self.r.uniform(0.65, 1.25)),
            )
            self.deep.ellipse([px - r, py - r, px + r, py + r], fill=y)

    def sky_and_lawn(self, colour=(96, 128, 66)):
        horizon = max(0, HEIGHT / 2 - self.camera.f * self.camera.s / self.camera.c) * 2
        for i in range(16):
            self.pen.rectangle(
                [0, horizon * i / 16, WIDTH * 2, horizon * (i + 1) / 16 + 1],
                fill=tint((190, 208, 226), 0.8 + 0.2 * i / 15),
            )
        self.pen.rectangle([0, horizon, WIDTH * 2, HEIGHT * 2], fill=colour)

    def road(self, y0, y1, kerb=True):
        self.ground(-80, 80, y0, y1, (92, 93, 97))
        if kerb:
            self.ground(-80, 80, y0 - 0.2, y0, (150, 148, 142))
            self.ground(-80, 80, y1, y1 + 0.2, (150, 148, 142))
        for i in range(-20, 20):
            self.ground(i * 3, i * 3 + 1.4, (y0 + y1) / 2 - 0.07, (y0 + y1) / 2 + 0.07, (205, 203, 190))

    def paving(self, x0, x1, y0, y1, colour, step=0.9):
        self.ground(x0, x1, y0, y1, colour)
        y = y0
        while y < y1:
            self.ground(x0, x1, y, y + 0.03, tint(colour, 0.84))
            y += step
        for i in range(int((x1 - x0) / step) + 1):
            if abs(x0 + i * step) < 40:
                self.ground(x0 + i * step, x0 + i * step + 0.03, y0, y1, tint(colour, 0.84))

    def house(self, x0, x1, y, height, colour, roof, door=None, windows=()):
        self.wall(x0, x1, y, 0, height, colour)
        z = 0.25
        while z < height:
            self.wall(x0, x1, y, z, z + 0.035, tint(colour, 0.88))
            z += 0.3
        self.poly(
            [
                (x0 - 0.5, y, height),
                (x1 + 0.5, y, height),
                (x1 - 1.5, y + 2, height + 2.4),
                (x0 + 1.5, y + 2, height + 2.4),
            ],
            roof,
        )
        if door is not None:
            self.wall(door - 0.1, door + 1.1, y, 0, 2.2, (238, 236, 230))
            self.wall(door, door + 1, y, 0, 2.1, (120, 52, 44))
        for x in windows:
            self.wall(x - 0.1, x + 1.5, y, 1, 2.4, (238, 236, 230))
            self.wall(x, x + 1.4, y, 1.1, 2.3, (86, 102, 122))
            self.wall(x + 0.67, x + 0.73, y, 1.1, 2.3, (238, 236, 230))

    def fence(self, x0, x1, y, height, colour, board=0.28):
        x = x0
        while x < x1:
            self.wall(x, min(x + board - 0.03, x1), y, 0.05, height, tint(colour, self.r.uniform(0.9, 1.08)))
            x += board
        self.wall(x0, x1, y, height * 0.3, height * 0.3 + 0.1, tint(colour, 0.8))


def tint(colour, k=1.0):
    return tuple(int(max(0, min(255, v * k))) for v in colour)


def paint_front_door(c):
    c.sky_and_lawn()
    c.house(-17, -6, 27, 4.4, (196, 178, 150), (104, 66, 54), door=-9.5, windows=(-15, -12.4))
    c.house(-2, 11, 28, 4.8, (158, 172, 184), (70, 74, 84), door=6, windows=(-0.5, 2.5, 8.4))
    c.leaves(15, 27, 3.2, 4, (58, 92, 48), 70)
    c.road(13.2, 19.2)
    c.paving(-60, 60, 10.9, 12.7, (172, 168, 160), 1.2)
    for i in range(12):  # the path bends a little on its way to the porch
        y = 2 + i * 0.75
        x = 0.1 + 0.11 * (y - 3)
        c.paving(x - 0.75, x + 0.75, y, y + 0.73, (188, 176, 160), 0.75)
    c.paving(-2.2, 2.4, 0.4, 3.9, (150, 124, 108), 0.6)
    c.fence(-9, -0.1, 10.5, 0.8, (222, 220, 212), 0.2)
    c.fence(2.1, 12, 10.5, 0.8, (222, 220, 212), 0.2)
    c.leaves(-3.6, 8.2, 0.4, 1.0, (52, 96, 44)), c.leaves(4.6, 7.4, 0.45, 1.1, (66, 104, 46))
    c.leaves(-3.2, 4.6, 0.25, 0.55, (150, 70, 96), 26)
    c.stick(-2.1, 3.3, 0, 3.4, 0.2, (236, 234, 228))
    c.stick(2.75, 3.5, 0, 3.4, 0.2, (236, 234, 228))


def paint_driveway(c):
    c.sky_and_lawn((104, 130, 70))
    c.house(-20, -7, 29, 4.2, (176, 148, 124), (84, 60, 52), door=-13, windows=(-18, -10.5))
    c.house(1, 15, 30, 4.6, (206, 202, 190), (92, 82, 80), door=11, windows=(3, 6))
    c.leaves(-3.5, 28, 2.6, 3.6, (50, 86, 46), 60)
    c.road(14.4, 20.4)
    c.paving(-60, 60, 12.3, 13.9, (168, 166, 158), 1.2)
    c.paving(-1.5, 3.7, 0.3, 14.3, (152, 148, 146), 1.6)
    c.paving(-5.5, -1.5, 3.2, 4.5, (186, 172, 154), 0.7)
    for i in range(9):
        c.leaves(5.4 + 0.12 * i, 11.6 - i * 0.95, 0.55, 0.95, (48, 88, 44), 22)
    c.leaves(-6, 10.6, 2.9, 1.9, (70, 108, 52), 60), c.stick(-6, 10.6, 0, 2.2, 0.28, (88, 68, 52))
    c.wall(-3.9, -3.3, 7.6, 0.06, 1.0, (54, 84, 58)), c.wall(-3.95, -3.25, 7.6, 1.0, 1.1, (40, 64, 44))
    c.wall(-3.1, -2.5, 7.7, 0.06, 1.0, (60, 66, 78)), c.wall(-3.15, -2.45, 7.7, 1.0, 1.1, (44, 48, 58))


def paint_back_yard(c):
    c.sky_and_lawn((92, 126, 62))
    c.house(-16, -2, 24, 4.2, (186, 160, 140), (100, 62, 52), windows=(-13, -8))
    c.leaves(9, 22, 3.4, 4, (52, 90, 46), 70), c.leaves(1, 21, 2.4, 2.6, (66, 100, 52), 50)
    c.fence(-30, 4.6, 15.2, 1.8, (158, 122, 86)), c.fence(6.1, 30, 15.2, 1.8, (158, 122, 86))
    c.poly([(4.9, 30, 0), (5.8, 30, 0), (6.1, 12.5, 0), (4.6, 12.5, 0)], (176, 166, 148))
    c.wall(-9.6, -5.6, 13.4, 0, 2.3, (120, 86, 62)), c.wall(-8.2, -7.1, 13.4, 0, 1.95, (86, 60, 44))
    c.poly([(-9.9, 13.2, 2.25), (-5.3, 13.2, 2.25), (-5.7, 14.6, 3.1), (-9.5, 14.6, 3.1)], (76, 78, 82))
    c.paving(-4.6, 4.6, 0.3, 4.4, (178, 166, 150), 0.8)
    c.stick(8.2, 10.4, 0, 2.4, 0.34, (86, 66, 50)), c.leaves(8.2, 10.4, 3.0, 2.1, (62, 100, 46), 70)
    for x in (-8, -6.6, -5.3):
        c.leaves(x, 8.8, 0.35, 0.85, (70, 104, 50), 26)
    (
        c.wall(-3.9, -2.5, 4.9, 0.42, 0.5, (140, 100, 66)),
        c.stick(-3.8, 4.9, 0, 0.45, 0.08, (110, 78, 52)),
        c.stick(-2.6, 4.9, 0, 0.45, 0.08, (110, 78, 52)),
    )


def paint_street(c):
    c.sky_and_lawn((100, 126, 70))
    c.house(-24, -11, 21, 4.6, (198, 184, 160), (96, 62, 54), door=-17, windows=(-22, -14))
    c.house(-8, 4, 21.5, 4.2, (150, 160, 172), (66, 68, 78), door=-3, windows=(-7, 1))
    c.house(8, 22, 21, 4.8, (190, 150, 130), (84, 58, 52), door=14, windows=(9.5, 17.5))
    c.leaves(6, 20.4, 2.4, 1.8, (60, 96, 48), 50)
    c.paving(-60, 60, 14.3, 15.9, (170, 166, 160), 1.2)
    c.road(7.3, 13.9)
    c.paving(-60, 60, 4.9, 6.8, (180, 174, 166), 1.0)
    c.stick(-9.6, 16.6, 0, 5.6, 0.16, (74, 78, 80)), c.stick(3.9, 16.4, 0, 1.1, 0.3, (168, 44, 40))
    c.fence(-14, 14, 3.5, 0.55, (72, 76, 78), 0.5)


CAMERAS = {
    c.name: c
    for c in [
        DrawnCamera(
            "front_door",
            2.6,
            22,
            80,
            paint_front_door,
            door=(0.2, 3.1),
            drop=(-1.1, 1.3, 3.3, 4.1),
            lawn=(-4, 4.5, 4.6, 9.6),
            ways=[[(-14, 11.8), (0.9, 11.7), (1, 9.5), (0.5, 6)], [(14, 11.8), (1.2, 11.7), (0.9, 9.5), (0.5, 6)]],
            walks=[[(-14, 11.7), (14, 11.9)], [(14, 12.2), (-14, 12)]],
            roads=[[(-24, 14.8), (24, 14.8)], [(25, 17.6), (-25, 17.6)]],
        ),
        DrawnCamera(
            "driveway",
            3.0,
            20,
            84,
            paint_driveway,
            door=(-2.6, 4.0),
            drop=(-2.6, -1.2, 4.2, 5.0),
            lawn=(-4.5, 3.5, 4.6, 11.5),
            ways=[[(-17, 13.1), (-0.8, 13), (-1, 9), (-1.2, 6)], [(17, 13.1), (-0.4, 12.9), (-1, 9), (-1.2, 6)]],
            walks=[[(-17, 13), (17, 13.2)], [(17, 13.4), (-17, 13.1)]],
            roads=[[(-26, 16), (26, 16)], [(26, 18.8), (-26, 18.8)]],
            park=[
                [(-26, 16), (-4, 16), (1.6, 15), (1.5, 12), (1.5, 7.4)],
                [(26, 18.8), (6, 18.8), (1.6, 16.5), (1.5, 12), (1.5, 7.4)],
            ],
        ),
        DrawnCamera(
            "back_yard",
            3.2,
            21,
            84,
            paint_back_yard,
            door=(-0.5, 3.6),
            drop=(-2, 2, 3.6, 5.2),
            lawn=(-5.5, 6, 4.4, 12.5),
            ways=[[(5.3, 19), (5.3, 14), (3.5, 10), (1, 6)], [(-7.5, 2.9), (-4.5, 3.8), (-2, 5.4)]],
            walks=[[(-7.5, 3.2), (-3, 5), (2, 8.5), (5.3, 14), (5.3, 20)]],
            roads=[],
        ),
        DrawnCamera(
            "street",
            3.8,
            18,
            84,
            paint_street,
            door=(0, 5.9),
            drop=(-3, 3, 5.2, 6.6),
            lawn=(-6, 6, 5.2, 12.5),
            ways=[[(-10, 5.8), (-3, 5.9)], [(10, 6), (3, 5.7)], [(18, 15), (2, 14.9), (1, 10)]],
            walks=[
                [(-10, 5.6), (10, 5.7)],
                [(10, 6.2), (-10, 6)],
                [(-19, 15), (19, 15.2)],
                [(19, 14.9), (-19, 15)],
                [(-19, 15), (-4, 14.8), (1, 7), (10, 5.9)],
            ],
            roads=[[(-19, 9), (19, 9)], [(21, 12.2), (-21, 12.2)]],
            park=[[(-19, 9), (-8, 9), (-3, 8.3), (0.5, 8.2)], [(21, 12.2), (8, 12.2), (3, 12.9), (-1, 13)]],
        ),
    ]
}


# ---------------------------------------------------------------- light


@dataclass(frozen=True)
class Light:
    matrix: np.ndarray  # colour -> colour
    noise: float
    sun: tuple | None = None  # where shadows fall, and how dark they are
    ir: bool = False
    hours: tuple = (8, 17)


LIGHT = {
    "day": Light(np.diag([1.02, 1.0, 0.95]).astype(np.float32), 2.5, ((0.75, 0.55), 0.42)),
    "dusk": Light(np.diag([0.66, 0.53, 0.50]).astype(np.float32), 5.0, ((0, 0), 0.30), hours=(18, 20)),
    "rain": Light((np.eye(3) * 0.5 + 0.09).astype(np.float32), 3.5, ((0, 0), 0.25)),
    "night": Light(np.tile(np.array([[0.36], [0.36], [0.30]], np.float32), (1, 3)), 6.0, ir=True, hours=(22, 28)),
}


def lamp(distance):
    """Return the share of a camera's infra-red light that comes back from `distance` metres."""
    return 1.25 / (1 + (distance / 9.0) ** 2) + 0.10


@lru_cache(None)
def still(name, light):
    """-> the lit background (float32, h, w, 3) and the depth of what stands in it."""
    canvas = Canvas(CAMERAS[name])
    camera, look = canvas.camera, LIGHT[light]
    camera.paint(canvas)
    g = np.random.default_rng(len(name))
    image = np.asarray(canvas.image.reduce(2), np.float32)
    depth = np.asarray(canvas.depth)
    for size, strength in ((12, 0.05), (60, 0.05), (240, 0.05)):
        grain = Image.fromarray(g.normal(1, strength, (size * 9 // 16, size)).astype(np.float32))
        image = image * np.asarray(grain.resize((WIDTH, HEIGHT), Image.BICUBIC))[..., None]
    image = image @ look.matrix
    if look.ir:
        v, u = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
        down = (v - HEIGHT / 2) / camera.f * camera.c + camera.s
        ground = np.where(down > 0.01, camera.z / np.maximum(down, 0.01), FAR)
        reach = np.minimum(ground, depth) * np.sqrt(1 + ((u - WIDTH / 2) / camera.f) ** 2)
        image *= lamp(reach)[..., None]
    image.setflags(write=False)
    return image, depth


@lru_cache(None)
def grain():
    return np.random.default_rng(1).normal(0, 1, (HEIGHT + 64, WIDTH + 64)).astype(np.float32)


@lru_cache(None)
def rain(i):
    r, image = random.Random(i), Image.new("L", (WIDTH, HEIGHT))
    pen = ImageDraw.Draw(image)
    for _ in range(110):
        x, y, n = r.uniform(0, WIDTH), r.uniform(-20, HEIGHT), r.uniform(8, 26)
        pen.line([x, y, x + n * 0.12, y + n], fill=r.randint(25, 75))
    return np.asarray(image, np.float32)[..., None]


# ---------------------------------------------------------------- the actors


class Sketch:
    """The parts of one actor; painted far to near on a small patch at twice the size."""

    def __init__(self, camera):
        self.project, self.f, self.parts, self.glow = camera.project, camera.f, [], []

    def limb(self, a, b, width, colour, width_b=None):
        (ax, ay, ad), (bx, by, bd) = self.project(*a), self.project(*b)
        self.parts.append(
            (
                (ad + bd) / 2,
                "limb",
                (ax, ay, width * self.f / ad / 2, bx, by, (width_b or width) * self.f / bd / 2),
                colour,
            )
        )

    def ball(self, c, rx, rz, colour):
        x, y, d = self.project(*c)
        self.parts.append((d, "ball", (x, y, rx * self.f / d, rz * self.f / d), colour))

    def face(self, points, colour, nearer=0.0):
        pts = [self.project(*p) for p in points]
        self.parts.append((sum(p[2] for p in pts) / len(pts) - nearer, "face", [p[:2] for p in pts], colour))

    def extent(self):
        xs, ys = [], []
        for _, kind, g, _ in self.parts:
            if kind == "limb":
                xs += [g[0] - g[2], g[0] + g[2], g[3] - g[5], g[3] + g[5]]
                ys += [g[1] - g[2], g[1] + g[2], g[4] - g[5], g[4] + g[5]]
            elif kind == "ball":
                xs += [g[0] - g[2], g[0] + g[2]]
                ys += [g[1] - g[3], g[1] + g[3]]
            else:
                xs += [p[0] for p in g]
                ys += [p[1] for p in g]
        return min(xs), min(ys), max(xs), max(ys)

    def paint(self):
        """-> (x0, y0), colour times cover (h, w, 3), cover 0..1 (h, w); or None when out of the picture."""
        a, b, c, d = self.extent()
        x0, y0, x1, y1 = max(0, int(a) - 1), max(0, int(b) - 1), min(WIDTH, int(c) + 2), min(HEIGHT, int(d) + 2)
        if x1 - x0 < 3 or y1 - y0 < 3:
            return None
        patch = Image.new("RGBA", ((x1 - x0) * 2, (y1 - y0) * 2))
        pen = ImageDraw.Draw(patch)
        for _, kind, g, colour in sorted(self.parts, key=lambda p: -p[0]):
            fill = (*tint(colour), 255)
            if kind == "face":
                pen.polygon([((x - x0) * 2, (y - y0) * 2) for x, y in g], fill=fill)
            elif kind == "ball":
                x, y, rx, ry = (g[0] - x0) * 2, (g[1] - y0) * 2, g[2] * 2, g[3] * 2
                pen.ellipse([x - rx, y - ry, x + rx, y + ry], fill=fill)
            else:
                ax, ay, ar, bx, by, br = (
                    (g[0] - x0) * 2,
                    (g[1] - y0) * 2,
                    g[2] * 2,
                    (g[3] - x0) * 2,
                    (g[4] - y0) * 2,
                    g[5] * 2,
                )
                n = math.hypot(bx - ax, by - ay) or 1
                ox, oy = -(by - ay) / n, (bx - ax) / n
                pen.polygon(
                    [
                        (ax + ox * ar, ay + oy * ar),
                        (bx + ox * br, by + oy * br),
                        (bx - ox * br, by - oy * br),
                        (ax - ox * ar, ay - oy * ar),
                    ],
                    fill=fill,
                )
                pen.ellipse([ax - ar, ay - ar, ax + ar, ay + ar], fill=fill)
                pen.ellipse([bx - br, by - br, bx + br, by + br], fill=fill)
        patch = np.asarray(patch.reduce(2), np.float32)
        return (x0, y0), patch[..., :3], patch[..., 3] / 255

    def solid(self, place, bottom, top, colours):
        """Draw a box-like solid: four corners below, four above; only faces towards the camera are kept."""
        low, high = [place(*p) for p in bottom], [place(*p) for p in top]
        faces = [("top", high)] + [(i, [low[i], low[(i + 1) % 4], high[(i + 1) % 4], high[i]]) for i in range(4)]
        mid = np.mean(low + high, 0)
        eye = np.array([0, 0, place.eye])
        for name, face in faces:
            p = np.array(face)
            n = np.cross(p[1] - p[0], p[3] - p[0])
            n = n if np.dot(n, p.mean(0) - mid) > 0 else -n
            if np.dot(n, eye - p.mean(0)) > 0:
                n = n / (np.linalg.norm(n) + 1e-9)
                self.face(face, tint(colours(name), 0.68 + 0.32 * max(0, float(n @ (0.35, -0.45, 0.82)))))


class Place:
    """Local coordinates (forward, left, up) of an actor -> world."""

    def __init__(self, x, y, heading, eye, scale=1.0):
        self.x, self.y, self.c, self.s, self.k, self.eye = (
            x,
            y,
            math.cos(heading) * scale,
            math.sin(heading) * scale,
            scale,
            eye,
        )

    def __call__(self, forward, left, up):
        return self.x + forward * self.c - left * self.s, self.y + forward * self.s + left * self.c, up * self.k


def draw_person(s, at, look, pose):
    swing = 0.30 * math.sin(pose.phase) if pose.moving else 0.02
    legs, shirt, skin = look["trousers"], look["shirt"], look["skin"]
    wide = 0.40 + 0.06 * look["build"]
    hip, shoulder = 0.92, 1.42
    for side in (-1, 1):
        step = swing * side
        shade = 1 if side > 0 else 0.88
        s.limb(at(0, 0.1 * side, hip), at(step * 0.55 + 0.06, 0.1 * side, 0.5), 0.19, tint(legs, shade), 0.15)
        s.limb(at(step * 0.55 + 0.06, 0.1 * side, 0.5), at(step, 0.1 * side, 0.1), 0.15, tint(legs, shade), 0.12)
        s.limb(at(step - 0.03, 0.1 * side, 0.05), at(step + 0.13, 0.1 * side, 0.045), 0.1, look["shoes"])
        if look["carries"] and pose.carrying:
            elbow, hand = at(0.05, 0.25 * side, 1.12), at(0.32, 0.17 * side, 1.08)
        elif pose.moving:
            elbow, hand = at(-step * 0.5 - 0.02, 0.25 * side, 1.14), at(-step * 0.95 + 0.05, 0.25 * side, 0.9)
        else:
            lift = look["gesture"] if side > 0 else 0
            elbow, hand = (
                at(-0.02 + 0.1 * lift, 0.26 * side, 1.13),
                at(0.05 + 0.3 * lift, 0.24 * side, 0.88 + 0.45 * lift),
            )
        s.limb(at(0, 0.21 * side, shoulder - 0.04), elbow, 0.125, tint(shirt, 0.9), 0.11)
        s.limb(elbow, hand, 0.1, skin if look["short"] else tint(shirt, 0.86))
        s.ball(hand, 0.055, 0.06, skin)
    turned = abs(math.sin(pose.facing))  # 1 seen from the side
    s.limb(at(0, 0, 1.26), at(0, 0, 1.0), wide - 0.12 * turned, shirt, wide - 0.08 - 0.10 * turned)
    s.limb(at(0, 0, 0.98), at(0, 0, 0.9), 0.3 - 0.06 * turned, legs)
    if look["bag"]:
        s.limb(at(-0.2, 0, 1.3), at(-0.2, 0, 1.08), 0.28, look["bag"])
    s.limb(at(0, 0, 1.44), at(0.01, 0, 1.54), 0.11, skin)
    s.ball(at(0.025, 0, 1.62), 0.105, 0.135, skin)
    if look["head"] == "hood":
        s.ball(at(-0.045, 0, 1.63), 0.135, 0.165, shirt)
        s.limb(at(-0.03, 0, 1.72), at(0.02, 0, 1.73), 0.14, shirt)
    else:
        colour = look["hat"] if look["head"] == "cap" else look["hair"]
        s.ball(at(-0.05, 0, 1.65), 0.108, 0.13, look["hair"])
        s.ball(at(0.0, 0, 1.71), 0.105, 0.065, colour)
        if look["head"] == "cap":
            s.limb(at(0.1, 0.03, 1.69), at(0.17, 0, 1.68), 0.07, colour)
    if look["carries"] and pose.carrying:
        box = [(0.2, -0.22), (0.52, -0.22), (0.52, 0.22), (0.2, 0.22)]
        s.solid(at, [(a, b, 0.95) for a, b in box], [(a, b, 1.25) for a, b in box], lambda _: look["carries"])


def draw_animal(s, at, look, pose):
    """Local unit: height at the shoulder."""
    dog, fur, dark = look["dog"], look["fur"], tint(look["fur"], 0.8)
    swing = 0.22 * math.sin(pose.phase) if pose.moving else 0
    long = 0.62 if dog else 0.74
    rear = 0.78 if pose.moving or not look["sits"] else 0.42
    for side in (-1, 1):
        for x, sign, top in ((long, 1, 0.8), (-long, -1, rear)):
            s.limb(
                at(x, 0.16 * side, top),
                at(x + swing * side * sign, 0.16 * side, 0.1),
                0.19 if dog else 0.16,
                tint(fur, 0.9 if side > 0 else 0.78),
                0.14,
            )
    s.limb(at(-long, 0, rear), at(long * 0.9, 0, 0.84), 0.46 if dog else 0.4, fur, 0.5 if dog else 0.36)
    if look["patch"]:
        s.limb(at(-0.1, 0, rear * 0.5 + 0.45), at(0.15, 0, 0.84), 0.46 if dog else 0.38, look["patch"])
    nod = 0.05 * math.sin(pose.phase * 0.5)
    if dog:
        s.limb(at(long, 0, 0.98), at(long + 0.25, 0, 1.25 + nod), 0.3, fur)
        s.ball(at(long + 0.3, 0, 1.32 + nod), 0.22, 0.2, fur)
        s.limb(at(long + 0.4, 0, 1.27 + nod), at(long + 0.66, 0, 1.22 + nod), 0.2, fur, 0.15)
        s.ball(at(long + 0.72, 0, 1.24 + nod), 0.05, 0.05, (24, 20, 20))
        for side in (-1, 1):
            s.limb(at(long + 0.2, 0.17 * side, 1.42 + nod), at(long + 0.18, 0.24 * side, 1.2 + nod), 0.13, dark)
        s.limb(at(-long, 0, rear + 0.15), at(-long - 0.38, 0, rear + 0.45 + 0.1 * math.sin(pose.phase * 2)), 0.12, fur)
    else:
        s.ball(at(long + 0.22, 0, 1.05 + nod), 0.27, 0.25, fur)
        for side in (-1, 1):
            s.limb(at(long + 0.2, 0.15 * side, 1.2 + nod), at(long + 0.2, 0.18 * side, 1.38 + nod), 0.17, dark, 0.05)
        s.limb(at(-long, 0, rear + 0.1), at(-long - 0.4, 0, rear + 0.35), 0.14, fur)
        s.limb(at(-long - 0.4, 0, rear + 0.35), at(-long - 0.45, 0, rear + 0.85), 0.14, dark)


def draw_car(s, at, look, pose):
    half, w, h, belt = look["long"] / 2, look["wide"] / 2, look["high"], look["high"] * 0.56
    paint, glass = look["paint"], look["glass"]
    body = copy.copy(s)
    body.parts = []
    order = 0.0

    def ring(a, b, c, z):
        return [(a, -c, z), (b, -c, z), (b, c, z), (a, c, z)]

    def put(base):  # keep parts of one layer together, whatever their depth
        nonlocal order
        for _, kind, g, c in sorted(body.parts, key=lambda p: -p[0]):
            order += 1e-3
            s.parts.append((base - order, kind, g, c))
        body.parts.clear()

    depth = s.project(at.x, at.y, 0.7)[2]
    local_y = at.x * at.s - at.y * at.c  # which side of the car the camera sees
    near = 1 if local_y > 0 else -1

    def wheels(side):
        for x in (-half * 0.62, half * 0.62):
            for r, colour in ((0.34, (24, 24, 26)), (0.2, (128, 130, 134))):
                rim = [
                    at(x + r * math.cos(a), side * w * 1.01, 0.34 + r * math.sin(a))
                    for a in np.linspace(0, 6.283, 15)[:-1]
                ]
                body.face(rim, colour, 0.01 if r < 0.3 else 0)

    wheels(-near), put(depth)
    (
        body.solid(at, ring(-half, half, w, 0.24), ring(-half * 0.985, half * 0.985, w * 0.97, belt), lambda _: paint),
        put(depth),
    )
    a, b = look["cabin"]
    cabin = ring(-half * a, half * b, w * 0.92, belt), ring(-half * a + 0.35, half * b - 0.6, w * 0.74, h)
    body.solid(at, *cabin, lambda n: tint(paint, 1.05) if n == "top" else glass), put(depth)
    mid = (b - a) * half / 2 - 0.05
    body.face(
        [
            at(mid, near * w * 0.925, belt),
            at(mid + 0.1, near * w * 0.925, belt),
            at(mid + 0.1, near * w * 0.75, h),
            at(mid, near * w * 0.75, h),
        ],
        paint,
    )
    wheels(near), put(depth)
    ahead = -at.x * at.c - at.y * at.s > 0  # the camera sees its nose
    end = half if ahead else -half
    if abs(at.x * at.c + at.y * at.s) > half:
        colour = (255, 252, 230) if ahead else (215, 30, 30)
        for side in (-1, 1):
            y0, y1 = side * w * 0.9, side * w * 0.55
            body.face(
                [
                    at(end * 1.0, y0, belt * 0.6),
                    at(end, y1, belt * 0.6),
                    at(end, y1, belt * 0.88),
                    at(end, y0, belt * 0.88),
                ],
                colour,
            )
            if pose.moving:
                x, y, d = s.project(*at(end * 1.02, side * w * 0.72, belt * 0.74))
                s.glow.append((x, y, 0.55 * s.f / d if ahead else 0.3 * s.f / d, ahead))
        plate = [(-0.28, 0.42), (0.28, 0.42), (0.28, 0.6), (-0.28, 0.6)]
        body.face([at(end * 1.003, y, belt * z) for y, z in plate], (232, 230, 214))
        put(depth)


def draw_package(s, at, look, _pose):
    a, b, h = look["size"]
    ring = [(-a / 2, -b / 2), (a / 2, -b / 2), (a / 2, b / 2), (-a / 2, b / 2)]
    s.solid(at, [(x, y, 0) for x, y in ring], [(x, y, h) for x, y in ring], lambda _: look["card"])
    tape = [(-0.5, -0.08), (0.5, -0.08), (0.5, 0.08), (-0.5, 0.08)]
    label = [(0.08, 0.14), (0.4, 0.14), (0.4, 0.42), (0.08, 0.42)]
    s.face([at(a * x, b * y, h + 0.002) for x, y in tape], tint(look["card"], look["tape"]), 0.05)
    s.face([at(a * x, b * y, h + 0.003) for x, y in label], (240, 240, 236), 0.06)


DRAW = {"person": draw_person, "dog": draw_animal, "cat": draw_animal, "car": draw_car, "package": draw_package}


def colour(r, low=0.2, high=0.95, grey=0.45):
    if r.random() < grey:
        v = r.uniform(low, high) * 240
        return tint((v + r.uniform(-8, 8), v, v + r.uniform(-8, 8)))
    return tint([v * 255 for v in colorsys.hsv_to_rgb(r.random(), r.uniform(0.35, 0.9), r.uniform(low, high))])


DOGS = [(44, 36, 32), (152, 108, 62), (214, 194, 160), (122, 88, 58), (232, 226, 216)]
CATS = [(36, 36, 40), (212, 138, 70), (146, 146, 148), (230, 226, 218), (96, 84, 72)]
CARD = [(182, 136, 88), (200, 156, 106), (164, 120, 76), (224, 220, 210)]


def person_look(r, role=None):
    look = {
        "shirt": colour(r),
        "trousers": colour(r, 0.12, 0.55, 0.6),
        "shoes": r.choice([(28, 28, 28), (226, 226, 226), (104, 62, 36)]),
        "skin": tint(r.choice([(235, 196, 166), (204, 152, 118), (142, 98, 68), (94, 64, 46)]), r.uniform(0.92, 1.05)),
        "hair": r.choice([(30, 24, 20), (92, 62, 34), (188, 158, 96), (128, 128, 128)]),
        "head": r.choice(["hair", "hair", "cap", "hood"]),
        "hat": colour(r),
        "short": r.random() < 0.35,
        "bag": colour(r) if r.random() < 0.25 else None,
        "build": r.uniform(-1, 1),
        "gesture": r.choice([0, 0, 0.5, 1]),
        "carries": None,
        "scale": r.uniform(0.9, 1.07),
    }
    if role == "courier":
        uniform = r.choice([(104, 66, 36), (40, 70, 140), (190, 40, 40), (226, 180, 30)])
        look.update(
            shirt=uniform, hat=uniform, head="cap", bag=None, carries=tint(r.choice(CARD), r.uniform(0.85, 1.1))
        )
    if role == "stranger":
        v = r.uniform(25, 60)
        look.update(
            shirt=tint((v, v, v + 4)), trousers=tint((v * 0.8, v * 0.8, v)), head="hood", short=False, gesture=0
        )
    return look


def animal_look(r, dog):
    fur = r.choice(DOGS if dog else CATS)
    return {
        "dog": dog,
        "fur": tint(fur, r.uniform(0.85, 1.1)),
        "patch": r.choice([None, None, (226, 220, 210), (60, 50, 44)]),
        "sits": r.random() < 0.5,
        "scale": r.uniform(0.56, 0.72) if dog else r.uniform(0.3, 0.37),
    }


def car_look(r):
    tall = r.random() < 0.35
    return {
        "long": r.uniform(4.0, 4.7),
        "wide": r.uniform(1.75, 1.95),
        "high": r.uniform(1.65, 1.85) if tall else r.uniform(1.4, 1.55),
        "paint": colour(r, 0.12, 0.95, 0.6),
        "glass": tint((62, 76, 92), r.uniform(0.5, 1.4)),
        "cabin": (0.93, 0.42) if tall else (r.uniform(0.62, 0.78), r.uniform(0.26, 0.36)),
        "scale": 1,
    }


def package_look(r, card=None):
    return {
        "size": (r.uniform(0.36, 0.62), r.uniform(0.3, 0.45), r.uniform(0.2, 0.4)),
        "card": card or tint(r.choice(CARD), r.uniform(0.85, 1.1)),
        "tape": r.choice([0.74, 1.18]),
        "scale": 1,
    }


@dataclass
class Actor:
    """Something on a path: keys are (second, x, y); it exists from the first key to the last one."""

    kind: str
    look: dict
    keys: list
    heading: float = 0.0  # while it has not moved yet
    drops_at: float = 1e9  # a courier's hands are empty from then on

    def __post_init__(self):
        self.gone, way = [0.0], 0.0
        for (_, a, b), (_, c, d) in pairwise(self.keys):
            way += math.hypot(c - a, d - b)
            self.gone.append(way)

    def at(self, t):
        """-> x, y, heading, metres walked, moving; None when it is not there."""
        k = self.keys
        if not k[0][0] <= t <= k[-1][0]:
            return None
        heading = self.heading
        for i in range(len(k) - 1):
            (t0, x0, y0), (t1, x1, y1) = k[i], k[i + 1]
            moving = math.hypot(x1 - x0, y1 - y0) > 0.01
            if moving:
                heading = math.atan2(y1 - y0, x1 - x0)
            if t <= t1:
                q = (t - t0) / max(t1 - t0, 1e-9)
                return (
                    x0 + (x1 - x0) * q,
                    y0 + (y1 - y0) * q,
                    heading,
                    self.gone[i] + (self.gone[i + 1] - self.gone[i]) * q,
                    moving,
                )
        return k[-1][1], k[-1][2], heading, self.gone[-1], False


@dataclass
class Pose:
    phase: float
    moving: bool
    facing: float  # heading seen from the camera; 0 is straight on
    carrying: bool


def smooth(points, times=2):
    for _ in range(times):
        cut = [points[0]]
        for (a, b), (c, d) in pairwise(points):
            cut += [(a * 0.75 + c * 0.25, b * 0.75 + d * 0.25), (a * 0.25 + c * 0.75, b * 0.25 + d * 0.75)]
        points = [*cut, points[-1]]
    return points


def travel(t, points, speed, curve=2):
    keys = [(t, *points[0])]
    points = smooth(points, curve) if len(points) > 2 else points
    for (a, b), (c, d) in pairwise(points):
        t += math.hypot(c - a, d - b) / speed
        keys.append((t, c, d))
    return keys


def wait(keys, seconds):
    return [*keys, (keys[-1][0] + seconds, *keys[-1][1:])]


def onward(keys, points, speed):
    return keys + travel(keys[-1][0], [keys[-1][1:], *points], speed)[1:]


# ---------------------------------------------------------------- stories: (camera, random) -> actors, what happens


def back(way):
    return list(reversed(way))


def shift(way, r, by=0.5):
    dx, dy = r.uniform(-by, by) * 0.3, r.uniform(-by, by)
    return [(x + dx, y + dy) for x, y in way]


def spot(r, area):
    return r.uniform(*area[:2]), r.uniform(*area[2:])


def plot_courier(c, r):
    here = spot(r, c.drop)
    stand = (here[0] + r.choice([-0.45, 0.45]), here[1] + 0.45)
    look, speed = person_look(r, "courier"), r.uniform(1.2, 1.6)
    keys = wait(travel(r.uniform(0, 3), [*r.choice(c.ways), stand], speed), r.uniform(2, 5))
    put = keys[-1][0] - 1
    end = onward(wait(keys, r.uniform(0, 2)), back(r.choice(c.ways)), speed)
    return [
        Actor("person", look, end, drops_at=put),
        Actor("package", package_look(r, look["carries"]), [(put, *here), (end[-1][0] + 8, *here)], r.uniform(0, 3)),
    ]


def plot_visitor(c, r, role=None):
    speed = r.uniform(1.1, 1.5)
    door = (c.door[0] + r.uniform(-0.4, 0.4), c.door[1] + r.uniform(0, 0.6))
    keys = wait(travel(r.uniform(0, 3), [*r.choice(c.ways), door], speed), r.uniform(6, 20))
    people = [Actor("person", person_look(r, role), onward(keys, back(r.choice(c.ways)), speed))]
    if r.random() < 0.3:
        people.append(Actor("person", person_look(r), [(t + 1.0, x + 0.75, y + 0.35) for t, x, y in people[0].keys]))
    return people


def plot_lingers(c, r):
    way, speed = r.choice(c.ways), r.uniform(0.7, 1.1)
    keys = travel(r.uniform(0, 3), way, speed)
    for _ in range(r.randint(3, 6)):  # paces, stops, looks around
        keys = wait(
            onward(
                keys,
                [
                    spot(r, c.lawn)
                    if r.random() < 0.6
                    else (c.door[0] + r.uniform(-0.6, 0.6), c.door[1] + r.uniform(0.2, 1))
                ],
                speed,
            ),
            r.uniform(2, 7),
        )
    return [Actor("person", person_look(r, "stranger"), onward(keys, back(way), speed * 1.4))]


def plot_thief(c, r):
    here, speed = spot(r, c.drop), r.uniform(1.3, 2)
    keys = wait(travel(r.uniform(4, 9), [*r.choice(c.ways), (here[0] + 0.4, here[1] + 0.4)], speed), 2)
    look = person_look(r, "stranger" if r.random() < 0.6 else None)
    card = tint(r.choice(CARD))
    took = keys[-1][0] - 0.5
    taken = onward(keys, back(r.choice(c.ways)), speed * 1.5)
    return [
        Actor("person", look, keys),
        Actor("person", dict(look, carries=card), [(keys[-1][0] + 0.01, *keys[-1][1:]), *taken[len(keys) :]]),
        Actor("package", package_look(r, card), [(0, *here), (took, *here)], r.uniform(0, 3)),
    ]


def plot_passers(c, r):
    return [
        Actor("person", person_look(r), travel(r.uniform(0, 14), shift(r.choice(c.walks), r), r.uniform(1.1, 1.7)))
        for _ in range(r.randint(1, 3))
    ]


def plot_dog_walk(c, r):
    way = shift(r.choice(c.walks), r, 0.3)
    keys = travel(r.uniform(0, 5), way, r.uniform(1.0, 1.4))
    dx, dy = r.choice([-1, 1]) * r.uniform(0.8, 1.3), -r.uniform(0.1, 0.6)
    return [
        Actor("person", person_look(r), keys),
        Actor("dog", animal_look(r, True), [(t, x + dx, y + dy) for t, x, y in keys]),
    ]


def plot_cars_pass(c, r):
    cars = [
        Actor("car", car_look(r), travel(r.uniform(0, 16), r.choice(c.roads), r.uniform(5, 9)))
        for _ in range(r.randint(1, 3))
    ]
    return cars + (plot_passers(c, r) if r.random() < 0.4 else [])


def plot_car_parks(c, r):
    keys = travel(r.uniform(0, 4), r.choice(c.park), r.uniform(4, 6), 3)
    x, y = keys[-1][1:]
    out = keys[-1][0] + r.uniform(2, 4)
    side = -1.5 if c.name == "driveway" else 0
    start = (x + side, y + (0 if side else -1.4))
    driver = wait([(out, *start)], 1)
    driver = onward(
        driver,
        [(start[0] - 0.3, start[1] - 1.2), c.door] + ([(-7, 3.2)] if side else [(9.5, 5.8)]),
        r.uniform(1.1, 1.5),
    )
    return [
        Actor("car", car_look(r), wait(keys, driver[-1][0] + 10 - keys[-1][0])),
        Actor("person", person_look(r), driver),
    ]


def plot_car_leaves(c, r):
    way = r.choice(c.park)
    x, y = way[-1]
    home = c.name == "driveway"
    path = [(-7, 3.2), (x - 2.2, y - 2), (x - 1.4, y + 0.2)] if home else [(-10, 5.8), (x - 1, 6.2), (x, y - 1.3)]
    walk = travel(r.uniform(1, 5), path, r.uniform(1.1, 1.5))
    go = walk[-1][0] + r.uniform(2, 5)
    driver = Actor("person", person_look(r), wait(walk, 1.5))
    return [
        driver,
        Actor("car", car_look(r), [(0, x, y), *travel(go, back(way), r.uniform(3, 5), 3)], -math.pi / 2 if home else 0),
    ]


def roam(c, r, kind, start=0.0):
    y0, y1 = c.lawn[2:]
    side = r.choice([-1, 1])
    y = r.uniform(y0, y1)
    keys, speed = [(start, side * (y + 3), y)], r.uniform(0.7, 1.6)
    for _ in range(r.randint(1, 4)):
        keys = onward(keys, [spot(r, c.lawn)], speed)
        keys = wait(keys, r.uniform(2, 9)) if r.random() < 0.6 else keys
    y = r.uniform(y0, y1)
    return Actor(kind, animal_look(r, kind == "dog"), onward(keys, [(r.choice([-1, 1]) * (y + 3), y)], speed))


def plot_cat(c, r):
    return [roam(c, r, "cat", r.uniform(0, 4)) for _ in range(r.choice([1, 1, 2]))]


def plot_dog(c, r):
    return [roam(c, r, "dog", r.uniform(0, 4))] + ([roam(c, r, "dog", r.uniform(0, 9))] if r.random() < 0.3 else [])


def plot_garden(c, r):
    people = []
    for _ in range(r.randint(1, 2)):
        keys, speed = travel(r.uniform(0, 5), c.ways[1], 1.2), r.uniform(0.8, 1.3)
        for _ in range(r.randint(1, 4)):
            keys = wait(onward(keys, [spot(r, c.lawn)], speed), r.uniform(3, 12))
        people.append(Actor("person", person_look(r), onward(keys, back(c.ways[1]), speed)))
    return people + (plot_dog(c, r)[:1] if r.random() < 0.4 else [])


def plot_quiet(c, r):
    here = spot(r, c.drop)
    return [Actor("package", package_look(r), [(0, *here), (40, *here)], r.uniform(0, 3))] if r.random() < 0.3 else []


def plot_scatter(c, r):
    """Not a story: many actors anywhere, to teach a detector."""
    cast = []
    for kind in r.choices(LABELS, [4, 3, 2, 2.2, 2], k=r.randint(2, 5)):
        if kind == "car":
            if not c.roads:
                continue
            way = r.choice(c.roads + c.places.get("park", []))
            cast.append(
                Actor(
                    kind,
                    car_look(r),
                    [*travel(-r.uniform(0, 6), way if r.random() < 0.7 else back(way), 6, 3), (12, *way[-1])],
                )
            )
            continue
        x, y = (
            spot(r, c.lawn)
            if r.random() < 0.65 or kind != "person"
            else r.choice(smooth(r.choice(c.ways + c.walks), 3))
        )
        if kind == "package":
            x, y = spot(r, c.drop)
        turn, speed = r.uniform(0, 6.28), r.choice([0, 0.6, 1.2])
        look = (
            person_look(r, r.choice([None, None, "courier", "stranger"]))
            if kind == "person"
            else package_look(r)
            if kind == "package"
            else animal_look(r, kind == "dog")
        )
        move = speed if kind != "package" else 0
        cast.append(
            Actor(
                kind,
                look,
                [(0, x, y), (1.5, x + move * math.cos(turn), y + move * math.sin(turn))],
                turn,
                drops_at=r.choice([0, 9]),
            )
        )
    return cast


PLOTS = {
    "courier": (plot_courier, "a courier leaves a package"),
    "visitor": (plot_visitor, "a visitor comes to the door and leaves"),
    "lingers": (plot_lingers, "a stranger lingers"),
    "thief": (plot_thief, "someone takes the package and hurries off"),
    "passers": (plot_passers, "people pass by"),
    "dog_walk": (plot_dog_walk, "someone walks a dog"),
    "cars_pass": (plot_cars_pass, "cars pass"),
    "car_parks": (plot_car_parks, "a car parks and its driver gets out"),
    "car_leaves": (plot_car_leaves, "someone drives away"),
    "cat": (plot_cat, "a cat crosses"),
    "dog": (plot_dog, "a dog runs about"),
    "garden": (plot_garden, "people in the garden"),
    "quiet": (plot_quiet, "nothing happens"),
    "scatter": (plot_scatter, "everyone at once"),
}
PLAYS: dict[str, list[str]] = {
    camera: plots.split()
    for camera, plots in {
        "front_door": "courier courier visitor lingers thief passers dog_walk cars_pass cat dog quiet",
        "driveway": "courier visitor lingers thief passers dog_walk cars_pass"
        " car_parks car_parks car_leaves cat dog quiet",
        "back_yard": "lingers garden garden cat cat dog dog passers quiet",
        "street": "passers dog_walk cars_pass cars_pass car_parks car_leaves cat dog lingers quiet",
    }.items()
}


# ---------------------------------------------------------------- clips


@dataclass
class DrawnFrame:
    when: datetime
    image: Image.Image
    boxes: list[tuple[str, int, int, int, int]]  # label, x0, y0, x1, y1
    quality: int = 80

    def jpeg(self) -> bytes:
        out = io.BytesIO()
        self.image.save(out, "JPEG", quality=self.quality)
        return out.getvalue()


@dataclass
class Clip:
    camera: str
    plot: str
    light: str
    seed: int
    cast: list[Any]
    start: datetime
    seconds: int
    exposure: float = 1.0
    quality: int = 80
    summary: str = ""

    def at(self, start: datetime) -> "Clip":
        """Return the same clip with another clock: only the caption's digits differ."""
        return replace(self, start=start)

    def without_actors(self) -> "Clip":
        """Return the same place in the same light without actors."""
        return replace(self, cast=[])

    def frames(self) -> Iterator[DrawnFrame]:
        for t in range(self.seconds):
            yield self.frame(t)

    def frame(self, t: float) -> DrawnFrame:
        camera, look = CAMERAS[self.camera], LIGHT[self.light]
        background, depth = still(self.camera, self.light)
        r = random.Random(f"{self.seed}/{t:.3f}")
        picture, owner, glow, seen = background.copy(), np.zeros((HEIGHT, WIDTH), np.uint8), [], []
        acts = [
            (camera.project(x, y, 0.5)[2], a, (x, y, h, gone, moving))
            for a in self.cast
            for x, y, h, gone, moving in [a.at(t) or (0, -1, 0, 0, False)]
            if y > 0
        ]
        for far, actor, (x, y, heading, gone, moving) in sorted(acts, key=lambda a: -a[0]):
            look_a = actor.look
            stride = 4.4 if actor.kind == "person" else 3.2 / look_a["scale"]
            view = math.atan2(-y, -x)
            pose = Pose(gone * stride, moving, heading - view, t < actor.drops_at)
            sketch = Sketch(camera)
            DRAW[actor.kind](sketch, Place(x, y, heading, camera.z, look_a["scale"]), look_a, pose)
            if look.sun:
                self.shadow(picture, camera, actor, x, y, heading, look.sun)
            painted = sketch.paint()
            if not painted:
                continue
            (px, py), rgb, cover = painted
            rows, cols = slice(py, py + cover.shape[0]), slice(px, px + cover.shape[1])
            hidden = depth[rows, cols] < y - 0.25
            full = int((cover > 0.5).sum())
            cover = np.where(hidden, 0, cover)
            lit = rgb @ look.matrix
            if look.ir:
                lit *= lamp(math.hypot(far, x)) * 1.1
            part = picture[rows, cols]
            picture[rows, cols] = part * (1 - cover[..., None]) + np.where(hidden[..., None], 0, lit)
            seen.append((actor.kind, sketch.extent(), full))
            owner[rows, cols][cover > 0.5] = len(seen)
            if self.light in ("dusk", "night", "rain"):
                glow += [
                    g
                    for g in sketch.glow
                    if 0 <= g[0] < WIDTH and 0 <= g[1] < HEIGHT and depth[int(g[1]), int(g[0])] > y
                ]
        for x, y, radius, white in glow:
            self.shine(picture, x, y, radius, (70, 68, 58) if white else (60, 8, 8))
        boxes = []
        for i, (kind, extent, full) in enumerate(seen, 1):
            ys, xs = np.nonzero(owner == i)
            if len(ys) < 30 or len(ys) < 0.3 * full:
                continue
            box = int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1
            area = max(1, (extent[2] - extent[0]) * (extent[3] - extent[1]))
            if (box[2] - box[0]) * (box[3] - box[1]) < 0.25 * area:  # mostly outside the picture
                continue
            boxes.append((kind, *box))
        return DrawnFrame(self.start + timedelta(seconds=t), self.develop(picture, r, t), boxes, self.quality)

    @staticmethod
    def shadow(picture, camera, actor, x, y, heading, sun):
        (dx, dy), dark = sun
        k = actor.look["scale"]
        length, width, tall = {"person": (0.3, 0.25, 1.5), "car": (2.3, 1.0, 1.0), "package": (0.3, 0.25, 0.25)}.get(
            actor.kind, (0.8 * k, 0.28 * k, k)
        )
        c, s = math.cos(heading), math.sin(heading)
        pts = []
        for i in range(16):
            a = i * math.pi / 8
            u, v = length * math.cos(a) * 1.1, width * math.sin(a) * 1.1
            gx, gy = x + u * c - v * s, y + u * s + v * c
            if dx * math.cos(a + heading) + dy * math.sin(a + heading) > 0:
                gx, gy = gx + dx * tall * 0.8, gy + dy * tall * 0.8
            pts.append(camera.project(gx, gy, 0)[:2])
        x0, y0 = max(0, int(min(p[0] for p in pts))), max(0, int(min(p[1] for p in pts)))
        x1, y1 = min(WIDTH, int(max(p[0] for p in pts)) + 2), min(HEIGHT, int(max(p[1] for p in pts)) + 2)
        if x1 - x0 < 2 or y1 - y0 < 2:
            return
        mask = Image.new("L", (x1 - x0, y1 - y0))
        ImageDraw.Draw(mask).polygon([(a - x0, b - y0) for a, b in pts], fill=int(255 * dark))
        picture[y0:y1, x0:x1] *= 1 - np.asarray(mask, np.float32)[..., None] / 255

    @staticmethod
    def shine(picture, x, y, radius, colour):
        n = int(radius * 3) + 2
        x0, y0, x1, y1 = max(0, int(x) - n), max(0, int(y) - n), min(WIDTH, int(x) + n), min(HEIGHT, int(y) + n)
        v, u = np.mgrid[y0:y1, x0:x1].astype(np.float32)
        g = np.exp(-((u - x) ** 2 + (v - y) ** 2) / (radius * radius * 1.2 + 1))
        picture[y0:y1, x0:x1] += g[..., None] * np.array(colour, np.float32) * 2.2

    def develop(self, picture, r, t):
        look = LIGHT[self.light]
        if self.light == "rain":
            picture += rain(r.randrange(12))
        picture *= self.exposure * r.uniform(0.985, 1.015)
        noise = grain()[(a := r.randrange(64)) : a + HEIGHT, (b := r.randrange(64)) : b + WIDTH]
        picture += noise[..., None] * (look.noise * r.uniform(0.9, 1.1))
        image = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
        pen, font = ImageDraw.Draw(image), caption_font()
        when = (self.start + timedelta(seconds=t)).strftime("%Y-%m-%d %H:%M:%S")
        for y, words in ((8, when), (HEIGHT - 24, self.camera.replace("_", " ").upper())):
            pen.text((10, y), words, fill=(255, 255, 255), font=font, stroke_width=1, stroke_fill=(0, 0, 0))
        return image


@lru_cache(None)
def caption_font():
    return ImageFont.load_default(15)


def story(camera: str, seed: int, plot: str | None = None, light: str | None = None) -> Clip:
    """Make the clip that belongs to this camera and seed."""
    r = random.Random(f"{camera}/{seed}")
    first, chance = r.choice(PLAYS[camera]), r.random()
    plot = plot or first
    dark = 0.6 if plot in ("lingers", "thief") else 0.25
    light = light or ("night" if chance < dark else r.choices(["day", "dusk", "rain"], [0.5, 0.25, 0.25])[0])
    cast = PLOTS[plot][0](CAMERAS[camera], r)
    if plot not in ("quiet", "scatter") and r.random() < 0.3:  # something else happens beside the story
        others = [p for p in PLAYS[camera] if p not in ("quiet", plot, "thief", "car_parks", "car_leaves")]
        cast = cast + PLOTS[r.choice(others)][0](CAMERAS[camera], r)
    low, high = LIGHT[light].hours
    start = datetime(2026, 5, 1) + timedelta(days=r.randrange(28), seconds=r.uniform(low, high) * 3600 // 1)
    seconds = int(min(90, max([10] + [a.keys[-1][0] + 2 for a in cast])))
    exposure, quality = r.uniform(0.88, 1.12), r.choice([45, 60, 75, 85])
    return Clip(camera, plot, light, seed, cast, start, seconds, exposure, quality, PLOTS[plot][1])
