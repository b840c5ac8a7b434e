"""Promise: `detect` keeps order and holds back nothing but frames, whatever the service or the hub does.

Every frame leaves as soon as all earlier ones have; a tick passes what is held and says which cameras are behind.
"""

import json
import sys
from concurrent.futures import Future
from datetime import timedelta
from threading import Barrier, Event

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hearthwatch.gpu import DetectorError, loading
from hearthwatch.gpu.batch_queue import BatchQueue
from hearthwatch.gpu.decode import open_picture
from hearthwatch.gpu.detector import InferenceResult
from hearthwatch.gpu.remote import RemoteDetector
from hearthwatch.schemas import DeadLetter, Detected, Detection, Frame, Tick
from hearthwatch.schemas.items import CUT_SHORT
from hearthwatch.schemas.testing import START, Picture, detected, frame
from hearthwatch.stages import detect
from hearthwatch.stages.detect import RtDetr
from tests.support.checkpoints import folder
from tests.support.context import context
from tests.support.detector_service import PERSON, DetectorService, answer
from tests.support.invariants import check_record
from tests.support.lane_detector import Sleeper
from tests.support.model_hub import ModelHub
from tests.support.pipeline import SLOW, Pipeline, content, name, picture, replayed, rules_and_options

T = 1_700_000_000
SEEN = (Detection("person", 0.9, (1, 2, 3, 4)),)


# -- the order of what leaves


class AnswersOnCall(RemoteDetector):
    """A client whose answers come when the test sets them; nothing is sent."""

    def __init__(self, url):
        super().__init__(url)
        self.answers = []

    def submit(self, decoded):
        self.answers.append((decoded, Future()))
        return self.answers[-1][1]


kinds = st.sampled_from(["asked", "asked", "asked", "failed", "recorded", "cut", "tick", "other"])
steps = st.lists(st.lists(kinds, max_size=4) | st.integers(0, 12), min_size=1, max_size=14)


@settings(max_examples=60)
@given(steps)
def test_each_leaves_when_all_before_it_have_and_ticks_at_once(tmp_path_factory, todo):
    """Against the definition: frame n leaves at the first call at which every frame up to n has its answer."""
    worker = RtDetr(url="http://127.0.0.1:1").build(context(tmp_path_factory.getbasetemp()))
    worker.backend = AnswersOnCall("http://127.0.0.1:1")
    came, left, answered_at, out = [], {}, {}, []
    try:
        for call, step in enumerate([*todo, *range(40)]):
            items = []
            if isinstance(step, int):
                waiting = [a for _, a in worker.backend.answers if not a.done()]
                if waiting:
                    one = waiting[step % len(waiting)]
                    one.set_result(InferenceResult(SEEN, None, 1.0))
                    answered_at[id(one)] = call
            else:
                items = [_item(kind, len(came) + n) for n, kind in enumerate(step)]
                came += [(call, item) for item in items]
            for item in worker.take(items):
                left[_key(item)] = call
                out.append(item)
        futures = {id(opened): answered_at[id(answer)] for opened, answer in worker.backend.answers}
        _check(came, out, left, futures)
        assert not worker.state.ids
    finally:
        worker.close()


def test_a_picture_without_colour_is_marked_and_an_own_sources_picture_may_not_know(tmp_path):
    worker = RtDetr(url="http://127.0.0.1:1").build(context(tmp_path))
    worker.backend = AnswersOnCall("http://127.0.0.1:1")
    Picture().picture().save(tmp_path / "grey.jpg")
    (tmp_path / "colour.jpg").write_bytes(picture())
    files = [open_picture(tmp_path / name) for name in ("grey.jpg", "colour.jpg")]
    given = [frame(n, opened=opened) for n, opened in enumerate((*files, Picture()))]
    out = worker.take(given)
    for _, answered in worker.backend.answers:
        answered.set_result(InferenceResult(SEEN, None, 1.0))
    marks = [(item.detections, item.is_grey) for item in out + worker.take([])]
    worker.close()
    assert marks == [(SEEN, True), (SEEN, False), (SEEN, None)]


def _item(kind, n):
    camera = f"camera{n % 3}"
    match kind:
        case "tick":
            return Tick(START + timedelta(seconds=n))
        case "other":
            return DeadLetter("elsewhere", str(n))
        case "recorded":
            return frame(n, camera_id=None, recorded=detected(n, "cat"))  # of no camera: quarantined at discovery
    errors = {"failed": DeadLetter("decode", "truncated"), "cut": DeadLetter(CUT_SHORT, "cut short")}
    return frame(n, camera_id=camera, opened=Picture(error=errors.get(kind)))


def _key(item):
    match item:
        case Detected(frame=one):
            return one.id
        case Tick(now=now):
            return now
    return item if isinstance(item, DeadLetter) else item.id


def _check(came, out, left, answered_at):
    frames = [(call, item) for call, item in came if not isinstance(item, Tick)]
    assert [_key(item) for item in out if not isinstance(item, Tick)] == [_key(item) for _, item in frames]
    due, held = 0, []
    for call, item in frames:
        due = max(due, call, answered_at.get(id(getattr(item, "opened", None)), 0))
        assert left[_key(item)] == due
        held.append((call, due, item))
    results = {_key(item): item for item in out}
    for call, item in came:
        result = results[_key(item)]
        if isinstance(item, Tick):
            before = (item.now - START).seconds
            held_then = [one for at, until, one in held if at <= call < until and isinstance(one, Frame)]
            behind = {one.camera_id for one in held_then if one.id < before and one.recorded is None}
            assert left[item.now] == call and result.behind == behind
        elif id(getattr(item, "opened", None)) in answered_at:
            assert result.detections == SEEN and result.error == item.opened.error


def test_a_service_that_says_nothing_counts_as_unavailable_until_it_answers(tmp_path, monkeypatch):
    monkeypatch.setattr(detect, "SILENT_SECONDS", 0.0)
    worker = RtDetr(url="http://127.0.0.1:1").build(context(tmp_path))
    worker.backend = AnswersOnCall("http://127.0.0.1:1")
    try:
        assert worker.take([frame(1)]) == []
        assert worker.state.summary() == {"status": "unavailable", "reason": "no answer for 0 s", "waiting": 1}
        worker.backend.answers[0][1].set_result(InferenceResult((), None, 1.0))
        assert len(worker.take([])) == 1
        assert worker.state.summary() == {"status": "ready", "reason": "", "waiting": 0}
    finally:
        worker.close()


# -- several devices


class Meets(Sleeper):
    """Waits until the other lane detects, too, then until the next picture was detected."""

    def __init__(self, both, done):
        super().__init__(0, 1)
        self.both, self.done, self.at_once = both, done, 1

    def infer(self, pictures):
        self.both.wait(10)
        n = pictures[0].width
        if n % 2 == 0:
            assert self.done[n + 1].wait(10)
        self.done[n].set()
        return [InferenceResult((Detection("person", 0.5, (n, 0, 1, 1)),), None, 1.0)]


def test_two_devices_detect_at_the_same_time_and_the_order_stays(tmp_path):
    facts = context(tmp_path)
    worker, both, done = RtDetr(url=None).build(facts), Barrier(2), [Event() for _ in range(20)]
    lanes = [Meets(both, done) for _ in range(2)]
    worker._use(BatchQueue(lanes), lanes, 2)
    given = [frame(n, opened=Picture(width=n)) for n in range(20)]
    out = worker.take(given)
    while len(out) < 20:
        assert facts.wake.wait(10)
        facts.wake.clear()
        out += worker.take([])
    assert [(one.frame.id, one.detections[0].bbox[0]) for one in out] == [(n, n) for n in range(20)]
    assert not worker.state.ids
    worker.close()


def test_what_one_device_cannot_do_ends_all_and_what_waits_comes_again(tmp_path):
    class Lost(Sleeper):
        def infer(self, pictures):
            raise DetectorError("the device is lost")

    worker = RtDetr(url=None).build(context(tmp_path))
    lanes = [Lost(0, 1), Lost(0, 1)]
    worker._use(BatchQueue(lanes), lanes, 2)
    with pytest.raises(DetectorError, match="the device is lost"):
        worker.take([frame(n, opened=Picture()) for n in range(5)])
        worker.finish()
    assert worker.backend.join(10)
    worker.close()


# -- a service that hangs, in a separate pipeline


@pytest.fixture
def service():
    """Answers about every picture but those of the front door, until it is released."""

    def script(number, file):
        if b"front" in file:
            here.released.wait()
        return answer({**PERSON, "bbox": [1, 1, 4, 4]})

    here = DetectorService(script)
    yield here
    here.end()


RULES, BATCH = rules_and_options(2, 1, 0.1)


@pytest.fixture
def pipeline(tmp_path, service):
    options = f'url = "{service.url}"\nobject_types = ["*"]\nin_flight_max = 4'
    p = Pipeline(tmp_path, detector="rtdetr", options=options, batch=BATCH)
    yield p
    p.kill()


def test_with_a_service_neither_torch_nor_transformers_is_imported(pipeline, tmp_path):
    for name_ in ("torch", "transformers"):
        (tmp_path / f"{name_}.py").write_text(
            "raise ImportError('as on a machine without it')"
        )  # found before the real one
    upload(pipeline, "yard", 0).run(1)
    assert pipeline.rows("SELECT state FROM frames") == [("settled",)]


def test_without_torch_a_detector_of_this_machine_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(DetectorError, match=r"^torch must be installed .*hearthwatch\[torch\].*RTDETR_URL"):
        loading.load("yard")


def upload(pipeline, camera, second):
    return pipeline.upload(camera, name(T + second), picture(f"{camera} {second}"))


def beat(pipeline):
    rows = pipeline.rows("SELECT counters FROM heartbeat WHERE chain = 'see'")
    return json.loads(rows[0][0])["detector"] if rows else {}


@pytest.mark.slow
@pytest.mark.parametrize("resume", [False, True])
def test_a_service_that_hangs_holds_back_only_pictures_and_kills_change_nothing(pipeline, service, tmp_path, resume):
    for n in range(3):
        upload(pipeline, "back", n)
    pipeline.start(resume).until(lambda: pipeline.states() == {"settled": 3})
    for n in range(12):
        upload(pipeline, "front", n)
    pipeline.until(lambda: pipeline.states().get("discovered") == 12 and beat(pipeline).get("waiting") == 4)
    pipeline.until(lambda: pipeline.rows("SELECT DISTINCT status FROM events") == [("closed",)])  # of the other camera
    pipeline.stop()
    assert "in the middle of a step" not in pipeline.said()
    for _ in range(6):  # more often than a picture that ends the process is tried
        pipeline.start(resume).until(lambda: beat(pipeline).get("waiting") == 4 and not starts(pipeline)).kill()
    service.released.set()
    pipeline.start(resume).until_quiet(15).stop()
    assert pipeline.states() == {"settled": 15}
    record = pipeline.record
    check_record(record)
    content(record).is_that_of(content(replayed(record, tmp_path / "again.db", RULES)))


def starts(pipeline):
    """How many starts are counted against a picture that waits."""
    return pipeline.rows("SELECT coalesce(sum(starts), 0) FROM frames WHERE state = 'discovered'")[0][0]


# -- a hub that is late


@pytest.fixture
def hub():
    here = ModelHub(folder("tiny"))
    yield here
    here.close()


@pytest.fixture
def downloading(tmp_path, hub):
    def make(options='model = "some/model"'):
        home = {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0"}
        return Pipeline(tmp_path, detector="rtdetr", options=f'{options}\ndevice = "cpu"', **home)

    return make


@pytest.mark.slow
def test_a_model_that_cannot_be_fetched_yet_is_waited_for(downloading, hub):
    hub.is_there = False
    p = downloading()
    upload(p, "front", 0).start().until(lambda: "cannot be fetched" in beat(p).get("reason", ""))
    upload(p, "front", 1).until(lambda: p.states() == {"discovered": 2})
    assert beat(p)["status"] == "starting" and not starts(p)
    assert p.said().count("some/model") == 1
    p.until(lambda: condition(p) == [("on",)] and monitored(p)["detect"]["starting"])
    hub.is_there = True
    p.until(lambda: p.states() == {"settled": 2} and beat(p)["status"] == "ready", timeout=3 * SLOW)  # torch is loaded
    p.until(lambda: condition(p) == [("off",)] and not monitored(p)["detect"]["starting"]).stop()


def condition(pipeline):
    return pipeline.rows("SELECT state FROM conditions WHERE kind = 'detector_down'")


def monitored(pipeline):
    """What health reads about each service."""
    return json.loads(pipeline.rows("SELECT value FROM meta WHERE key = 'services'")[0][0])["services"]


@pytest.mark.slow
def test_a_model_that_is_no_detector_ends_the_pipeline_at_once(downloading, hub, tmp_path):
    hub.folder = tmp_path / "other"
    hub.folder.mkdir()
    (hub.folder / "config.json").write_text('{"model_type": "bert"}')
    p = downloading().start()
    assert p.wait() == 2
    assert p.said().splitlines()[-1].startswith("model `some/model` is a `bert`") and "Traceback" not in p.said()
