"""Promise: what settings say about paths is read as it is documented, or is a mistake in words."""

import pytest

from hearthwatch.schemas.path_rules import CameraPattern, PathRules
from hearthwatch.schemas.settings import SettingsError, load


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("HEARTHWATCH_TIME_FORMAT", "%Y/%m", "`%Y/%m` needs a year, month and day"),
        ("HEARTHWATCH_TIME_FORMAT", "%Y%m%d%H%M%S,gate=%Q", "`%Q` in `%Q` is none of %Y"),
        ("HEARTHWATCH_IGNORE", "old,[z-a].jpg", "not a glob: bad character range"),
        ("HEARTHWATCH_CAMERA", "{1", "no other { or }"),
        ("HEARTHWATCH_CAMERA", "front", "{1}, {2} … for folders"),
        ("HEARTHWATCH_CAMERA", "{0}", "no other { or }"),
    ],
)
def test_a_pattern_that_is_none_is_a_mistake_in_the_settings(name, value, words):
    with pytest.raises(SettingsError) as raised:
        load(None, {name: value})
    (line,) = raised.value.mistakes
    assert line.startswith(f"{name} = {value}: ") and words in line


def test_several_patterns_stand_between_commas_or_semicolons():
    given = {"HEARTHWATCH_TIME_FORMAT": "%d.%m.%Y, %H.%M; gate=%Y%m%d/%H%M%S", "HEARTHWATCH_IGNORE": "old,*/tmp"}
    first, second = load(None, given).path_rules.time_formats
    assert (first.camera, first.text, second.camera, second.text) == (None, "%d.%m.%Y, %H.%M", "gate", "%Y%m%d/%H%M%S")
    assert load(None, given).path_rules.ignore == ("old", "*/tmp")


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("{1}", "front/2026/a.jpg", ("front", "front", "2026/a.jpg")),
        ("{1}", "a.jpg", None),
        ("{1}/{2}", "home/front/2026/a.jpg", ("home front", "home/front", "2026/a.jpg")),
        ("{2}", "home/front/a.jpg", ("front", "home/front", "a.jpg")),
        ("{n1}", "CAM1_20261127.jpg", ("CAM1", ".", "CAM1_20261127.jpg")),
        ("{1}_{n2}", "yard/x-CAM 2.1.JPG.3", ("yard_CAM", "yard", "x-CAM 2.1.JPG.3")),
        ("{n2}", "yard/CAM1.jpg", None),
    ],
)
def test_a_pattern_gives_camera_folder_and_the_path_below_it(pattern, path, expected):
    assert CameraPattern(pattern).camera(path) == expected


@pytest.mark.parametrize(
    ("path", "why"),
    [
        (b"front/a.jpg", None),
        (b"front/@eadir/a.jpg/thumb.jpg", "@eaDir"),
        (b"$RECYCLE.BIN/a.jpg", "$RECYCLE.BIN"),
        (b"front/.a.jpg", "hidden"),
        (b"front/lapse/a.jpg", "lapse"),
        (b"front/collapse/a.jpg", None),
        (b"front/old/a.jpg", "front/old/*.jpg"),
        (b"front/old/deep/a.jpg", None),
        (b"back/old/a.jpg", None),
        (b"x/y/tmp/a.jpg", "**/tmp"),
        (b"x/a[1].jpg", "a[[]?].*"),
        (b"\xff/IMG_7.png", "IMG_[!0-6].png"),
        (b"\xff/IMG_6.png", None),
    ],
)
def test_a_glob_is_a_name_at_any_depth_or_a_path_from_the_tree_down(path, why):
    rules = PathRules(("lapse", "front/old/*.jpg", "**/tmp", "a[[]?].*", "IMG_[!0-6].png"))
    assert rules.ignored_by(path) == why
