"""Promise: live, a picture waits for no other; behind, every batch is full; the order is that of the source, always."""

import re
import tomllib
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hearthwatch.gpu.decode import open_picture
from hearthwatch.gpu.loading import YARD
from hearthwatch.gpu.options import DetectorSwitches
from hearthwatch.schemas.items import Detected, Frame
from hearthwatch.stages.detect import RtDetr
from tests.support.context import context

BATCH_MAX = 4
NOW = datetime(2026, 11, 22, 8, 15, tzinfo=UTC)


@pytest.fixture(scope="module")
def stage(one_thread):
    how = {"runtime": "torch", "batch_max": BATCH_MAX}  # torch has hooks that count pictures
    options = RtDetr(model="yard", device="cpu", confidence=0.5, object_types=("*",), url=None, **how)
    one = options.build(context(Path()))
    one.open()
    one.process(list(frames(1)))  # the model is loaded then
    yield one
    one.close()


@pytest.fixture
def sizes(stage):
    """How many pictures each forward pass looked at."""
    seen = []
    hook = stage.backend.detectors[0]._runner.network.register_forward_pre_hook(
        lambda _, args: seen.append(len(args[0]))
    )
    yield seen
    hook.remove()


def frames(count, bad=()):
    """As the source hands them out: decoded, cameras in turn; those in `bad` are no pictures, or were decided before."""
    probes = sorted(YARD.glob("probe*.jpg"))
    for number in range(1, count + 1):
        at = NOW + timedelta(seconds=number)
        path = YARD / "README.md" if number in bad else probes[number % 4]
        yield Frame(number, f"uid-{number}", f"camera{number % 4}", path.name, at, at, opened=open_picture(path))


def test_a_lone_picture_is_looked_at_at_once_and_alone(stage, sizes):
    for frame in frames(5):
        (seen,) = stage.process([frame])
        assert seen.frame is frame and seen.detections
    assert sizes == [1] * 5


def test_a_backlog_fills_the_batches(stage, sizes):
    backlog = list(frames(18))
    assert [one.frame for one in stage.process(backlog)] == backlog
    assert sizes == [4, 4, 4, 4, 2]


def test_two_devices_see_what_one_sees(stage):
    options = stage.options.model_copy(update={"device": ("cpu", "cpu")})
    two = options.build(context(Path()))
    two.open()
    backlog = list(frames(12, bad=(3,)))
    seen = two.process(backlog)
    assert len(two.backend.detectors) == 2
    two.close()
    assert [(one.frame.id, one.detections, one.error) for one in seen] == [
        (one.frame.id, one.detections, one.error) for one in stage.process(backlog)
    ]


def test_what_needs_no_look_takes_no_place_in_a_batch(stage, sizes):
    backlog = list(frames(12, bad=(1, 3, 4, 9)))
    backlog[6] = Frame(7, "uid-7", "camera3", "old.jpg", NOW, NOW, recorded=Detected(backlog[6], 640, 360, ()))
    assert [one.frame.id for one in stage.process(backlog)] == list(range(1, 13))
    assert sizes == [4, 3]


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.sets(st.integers(1, 36)))
def test_however_they_are_handed_out_each_picture_is_seen_the_same(stage, sizes, handfuls, bad):
    sizes.clear()
    coming = iter(list(frames(sum(handfuls), bad)))
    seen = [one for count in handfuls for one in stage.process([next(coming) for _ in range(count)])]
    assert [one.frame.id for one in seen] == list(range(1, sum(handfuls) + 1))
    assert max(sizes, default=0) <= BATCH_MAX
    for one in seen:
        assert bool(one.error) == (one.frame.id in bad)
        if not one.error:
            (alone,) = stage.process([one.frame])
            assert [d.object_type for d in one.detections] == [d.object_type for d in alone.detections]
            assert all(
                abs(a - b) <= 1
                for d, e in zip(one.detections, alone.detections, strict=True)
                for a, b in zip(d.bbox, e.bbox, strict=True)
            )


# -- docs/detector.md -------------------------------------------------------------------------------------------------

PAGE = (Path(__file__).parents[2] / "docs/detector.md").read_text()


@pytest.mark.slow
def test_the_page_names_every_switch_and_its_examples_run(capsys):
    assert not [field.name for field in fields(DetectorSwitches) if f"| `{field.name}` |" not in PAGE]
    example, flow = re.search(r"```python\n(.*?)```", PAGE, re.S), re.search(r"```toml\n(.*?)```", PAGE, re.S)
    exec(compile(example[1], "docs/detector.md", "exec"), {})
    said = capsys.readouterr().out
    assert (
        "'person'" in said
        and "RT-DETRv2 yard on cpu, " in said
        and ", 320x192, float32" in said
        and "'trimmed': 'off'" in said
    )
    options = tomllib.loads(flow[1])["detect"]["switches"]
    assert RtDetr(model="yard", device="cpu", switches=options).switches == DetectorSwitches(
        precision="float32", graphs=False
    )


def test_a_misspelt_switch_is_a_mistake():
    with pytest.raises(ValueError, match=r"switches\.graph\n"):
        RtDetr(model="yard", device="cpu", switches={"graph": False})
