"""The drawn cameras: repeatable, early, named as real ones name their pictures, and never half there."""

import io
import itertools
import threading
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from PIL import Image

from hearthwatch.demo.scenes import story
from hearthwatch.demo.uploader import FIRST_STORY_SECONDS, PROGRAMME, Shot, Uploader, Yard, schedule, upload
from hearthwatch.gpu.detector import Detector
from tests.support.context import context

pytestmark = pytest.mark.slow

START = datetime(2026, 11, 22, 16, 15, 30, 250_000)


def first(seconds: float, **options: object) -> list[Shot]:
    return list(itertools.takewhile(lambda shot: shot.at < seconds, schedule(**options)))


def test_the_same_seed_and_start_give_the_same_files_byte_for_byte():
    def files(seed: int) -> dict[Path, bytes]:
        return {shot.path(START): shot.jpeg(START) for shot in first(4, seed=seed)}

    assert files(seed=7) == files(seed=7)
    assert files(seed=7) != files(seed=8)


def test_another_start_moves_the_names_and_changes_nothing_but_the_caption():
    shot, later = first(1)[0], START + timedelta(hours=5)
    assert shot.path(later).name == shot.path(START).name.replace("-16", "-21")
    pictures = [Image.open(io.BytesIO(shot.jpeg(start))).convert("RGB") for start in (START, later)]
    assert pictures[0] != pictures[1]
    below_the_caption = [picture.crop((0, 40, *picture.size)) for picture in pictures]
    assert below_the_caption[0] == below_the_caption[1]


def test_names_carry_the_capture_time_in_a_folder_per_camera_and_no_two_are_equal():
    shots = first(120)
    paths = [shot.path(START) for shot in shots]
    assert len(set(paths)) == len(paths)
    assert {path.parts[:3] for path in paths} == {
        (folder, "snap", "20261122") for folder in ("Front Door", "Driveway", "Back Yard", "Street")
    }
    for shot, path in zip(shots, paths, strict=True):
        named = datetime.strptime(path.stem, "MDAlarm_%Y%m%d-%H%M%S")
        assert timedelta(0) <= shot.captured_at(START) - named < timedelta(seconds=1)


@pytest.mark.parametrize("seed", range(4))
def test_every_camera_has_somebody_in_the_picture_within_the_first_16_seconds(seed: int):
    seen = {}
    for shot in first(FIRST_STORY_SECONDS + 10, seed=seed):
        if shot.camera not in seen and shot.clip.cast:
            seen.update({shot.camera: shot.at} if shot.clip.frame(shot.second).boxes else {})
    assert seen.keys() == PROGRAMME.keys()


def test_the_schedule_is_in_order_and_quiet_when_the_stories_are_over():
    shots = first(200, stories_until=40)
    assert [shot.at for shot in shots] == sorted(shot.at for shot in shots)
    late = [shot for shot in shots if shot.at >= 40]
    assert {shot.camera for shot in late} == PROGRAMME.keys()
    assert not any(shot.clip.cast for shot in late)
    for camera in PROGRAMME:
        times = [shot.at for shot in shots if shot.camera == camera]
        assert max(round(after - before, 3) for before, after in itertools.pairwise(times)) <= 5


class Watched(threading.Thread):
    """Notes every size under which a picture's own name was seen while it was being uploaded."""

    def __init__(self, target: Path) -> None:
        super().__init__()
        self.target, self.sizes, self.done = target, set[int](), threading.Event()

    def run(self) -> None:
        while not self.done.is_set():
            if self.target.exists():
                self.sizes.add(self.target.stat().st_size)


@pytest.mark.parametrize("manner", ["rename", "slow"])
def test_an_upload_appears_complete_by_rename_or_grows_and_is_closed(tmp_path: Path, manner: str):
    data = bytes(range(256)) * 400
    watcher = Watched(tmp_path / "Front Door" / "a.jpg")
    watcher.start()
    upload(tmp_path, Path("Front Door/a.jpg"), data, manner, pause_seconds=0.05)
    watcher.done.set()
    watcher.join()
    assert watcher.target.read_bytes() == data
    assert [path.name for path in watcher.target.parent.iterdir()] == ["a.jpg"]
    if manner == "rename":
        assert watcher.sizes <= {len(data)}


def test_the_packaged_model_sees_what_was_drawn_in_every_scene_of_the_programme():
    detector = Detector("yard", device="cpu", confidence=0.5)
    for camera, scenes in PROGRAMME.items():
        for scene in scenes:
            clip = story(camera, scene.seed, scene.plot, scene.light)
            frames = [clip.frame(second) for second in range(9, 13)]
            found = detector.detect([Image.open(io.BytesIO(frame.jpeg())).convert("RGB") for frame in frames])
            drawn = {label for frame in frames for label, *_ in frame.boxes}
            assert drawn & {detection.object_type for some in found for detection in some}, (camera, scene)


def uploads(base: Path) -> dict[Path, bytes]:
    return {path.relative_to(base): path.read_bytes() for path in base.rglob("*") if path.is_file()}


def test_the_uploader_uploads_its_schedule_and_stops(tmp_path: Path):
    shots = first(3)
    uploader = Uploader(tmp_path, iter(shots), START, speed=100).start()
    uploader.join(30)
    assert uploader.uploaded == len(shots)
    assert uploads(tmp_path) == {shot.path(START): shot.jpeg(START) for shot in shots}


def test_a_stopped_uploader_leaves_no_half_picture(tmp_path: Path):
    uploader = Uploader(tmp_path, schedule(), START, speed=1e-9).start()
    uploader.stop()
    pictures = uploads(tmp_path).values()
    assert len(pictures) == uploader.uploaded
    assert all(Image.open(io.BytesIO(data)).load() for data in pictures)


def test_an_upload_tree_that_cannot_be_written_ends_the_uploader_with_the_reason(tmp_path: Path):
    (tmp_path / "base").write_text("a file where the tree should be")
    uploader = Uploader(tmp_path / "base", schedule(), START, speed=100).start()
    uploader.join(30)
    assert isinstance(uploader.error, OSError)


def test_as_a_node_it_uploads_while_the_graph_runs_and_stops_with_it(tmp_path: Path):
    here = context(tmp_path)
    part = Yard(cameras=("street",)).build(here).build_part("yard", "yard", None)
    assert part.next_awake() is None
    while not any(here.base_path.rglob("*.jpg")):  # by name: what is still uploading may be renamed before it is read
        assert part.next_batch() == []
    part.close()
    assert {path.parts[0] for path in uploads(here.base_path)} == {"Street"}
