"""Promise: a source, a detector and a sink of one's own are packages of one file: installed by pip, named in a flow file."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from sqlite3 import connect

import pytest
from PIL import Image, ImageDraw

from hearthwatch.schemas.testing import Picture, check_sink, check_source, check_stage, frame
from tests.support.http_receiver import HttpEar
from tests.support.pipeline import Pipeline, rules_and_options

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"
PACKAGES = ("own_source", "own_detector", "own_sink")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """All three, built and installed by pip into a folder of their own."""
    folder = tmp_path_factory.mktemp("packages")
    there = folder / "installed"
    for name in PACKAGES:
        shutil.copytree(EXAMPLES / name, folder / name)  # building leaves traces
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "-q",
        "install",
        "--no-deps",
        "--no-build-isolation",
    ]
    subprocess.run([*pip, "--no-compile", "--target", there, *(folder / name for name in PACKAGES)], check=True)
    sys.path.insert(0, str(there))
    yield there
    sys.path.remove(str(there))


def night(light: bool) -> Image.Image:
    picture = Image.new("RGB", (320, 240), (10, 10, 20))
    if light:
        ImageDraw.Draw(picture).ellipse((100, 120, 140, 150), fill=(255, 255, 240))
    return picture


class Photo(Picture):
    """A picture with a light in it, or none."""

    def picture(self) -> Image.Image:
        return night(self.grey > 128)


def test_each_passes_the_kit(installed: Path, tmp_path: Path) -> None:
    from headlights import Headlights  # type: ignore[import-not-found]
    from snapshots import Snapshots  # type: ignore[import-not-found]
    from tally import Tally  # type: ignore[import-not-found]

    dark, lit = check_stage(Headlights(), [frame(1, opened=Photo(0)), frame(2, opened=Photo(255))])
    assert dark.detections == ()
    (light,) = lit.detections
    x, y, width, height = light.bbox
    assert abs(x - 100) <= 4 and abs(y - 120) <= 4 and abs(width - 40) <= 8 and abs(height - 30) <= 8

    def rows() -> list[tuple[object, ...]]:
        with closing(connect(tmp_path / "tally.db")) as db:
            return db.execute("SELECT * FROM seen ORDER BY 1").fetchall()

    check_sink(Tally(path=tmp_path / "tally.db"), seen=rows)
    assert [(row[0], row[1], row[3], row[4]) for row in rows()] == [(n, "front_door", "person", 1) for n in range(1, 6)]

    with HttpEar(pages={"/snap.jpg": b"\xff\xd8 a picture"}) as camera:
        source = Snapshots(url=f"{camera.url}/snap.jpg", camera="Gate", folder=tmp_path, every_seconds=0.01)
        first = check_source(source, batches_max=100)[0]  # its thread has five seconds for a picture
    assert first.camera == "Gate" and Path(first.path).read_bytes() == b"\xff\xd8 a picture"


FLOW = """
[snapshots]
use = "snapshots"
url = "${SNAPSHOT_URL}"
camera = "Gate"
every_seconds = 0.05

[files]
use = "files"
from = "snapshots"

[headlights]
use = "headlights"
from = "files"

[tally]
use = "tally"
from = "headlights"

[batch]
use = "batch"
from = "headlights"
"""


def test_all_three_make_events_of_a_camera_that_uploads_nothing(installed: Path, tmp_path: Path) -> None:
    shown = iter(range(10**9))

    def page() -> bytes:
        buffer = io.BytesIO()
        picture = night(light=True)
        picture.putpixel((0, 0), (next(shown) % 256, 0, 0))
        picture.save(buffer, "JPEG", quality=95, comment=str(next(shown)).encode())
        return buffer.getvalue()

    _, options = rules_and_options(window=2, idle=1, lateness=0.1)
    with HttpEar(pages={"/snap.jpg": page}) as camera:
        paths = os.pathsep.join((str(installed), str(EXAMPLES.parent)))
        pipeline = Pipeline(tmp_path, PYTHONPATH=paths, SNAPSHOT_URL=f"{camera.url}/snap.jpg")
        (tmp_path / "flow.toml").write_text(FLOW + options)
        pipeline.start().until(lambda: pipeline.states().get("settled", 0) >= 10).stop()
    settled = pipeline.states()["settled"]
    assert pipeline.rows("SELECT DISTINCT camera_id, object_type FROM detections") == [("gate", "light")]
    assert pipeline.rows("SELECT count(*) > 0 FROM events WHERE camera_id = 'gate'") == [(1,)]
    with closing(connect(tmp_path / "tally.db")) as db:
        (counted,) = db.execute("SELECT count(*) FROM seen WHERE label = 'light'").fetchone()
    assert counted >= settled, "a sink sees all that was decided, and perhaps what was in hand at the end"
