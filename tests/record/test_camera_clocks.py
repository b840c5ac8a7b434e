"""Promise: a camera's steady clock offset is learned from its live pictures, and a late upload is not mistaken for one."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hearthwatch.record import camera_clocks
from hearthwatch.record.batching import Batching
from hearthwatch.record.camera_clocks import SAMPLES_MAX, CameraClocks
from hearthwatch.record.ledger import FoundFile, Ledger
from hearthwatch.schemas.items import CUT_SHORT, DUPLICATE, DeadLetter, Detected, Detection
from tests.record.test_batching import judge
from tests.support.judges import whole
from tests.support.memory_record import MemoryRecord

S = 1_000_000
START = 1_700_000_000 * S
PERSON = (Detection("person", 0.9, (1, 2, 3, 4)),)


class Camera:
    """One camera's live pictures through ledger and batching; `at` is the server's clock, in seconds after START."""

    def __init__(self):
        self.record = MemoryRecord()
        self.ledger, self.n = Ledger(self.record), 0
        self.restart()

    def restart(self):
        self.batching = Batching(self.record, whole(judge))

    def send(self, at, slow, behind=0, error=None, camera="c"):
        self.n, now = self.n + 1, START + round(at * S)
        found = FoundFile(camera, "C", f"{self.n}.jpg", now * 1000, 1, now - round(slow * S), now, behind=behind)
        self.ledger.discover([found], now)
        error = error and DeadLetter(error, "for a test")
        self.batching.write([Detected(e.frame, 9, 9, PERSON, error) for e in self.ledger.todo(0, 9)])
        return self

    def learned(self):
        """The offsets of the camera and of its events."""
        return self.offset, self.record.rows("SELECT id, clock_offset_ms FROM events ORDER BY id")

    @property
    def offset(self):
        """Seconds."""
        (ms,) = self.record.one("SELECT clock_offset_ms FROM cameras WHERE id = 'c'")
        return None if ms is None else ms / 1000


def test_a_clock_that_is_90_seconds_slow_is_learned_and_news_is_news():
    camera = Camera()
    for n in range(4):
        camera.send(n, 90 + n / 10)
    assert 90 <= camera.offset <= 91
    offset, delay = camera.record.one("SELECT clock_offset_ms / 1000, delay / 1000000 FROM events")
    assert (offset, delay) == (90, 0), "already the first picture is news: it came live"


def test_what_was_learned_is_the_same_after_a_restart():
    camera, again = Camera(), Camera()
    for n in range(40):
        camera.send(n * 20, 30 + n % 3)
        again.send(n * 20, 30 + n % 3)
        again.restart()
        assert again.offset == camera.offset
    assert camera.offset == 31


def both(pictures):
    """The same pictures, as (at, slow, behind, error), without a restart and with one behind each."""
    camera, again = Camera(), Camera()
    for picture in pictures:
        camera.send(*picture)
        again.send(*picture)
        again.restart()
    return camera.learned(), again.learned()


LIVE_THEN_BACKLOG = [(0, 90), (1, 90), (2000, 5000, 2)]
PUT_BACK_BY_AN_HOUR = [*[(n * 30, -3000) for n in range(31)], *[(930 + n * 30, 5) for n in range(31)]]
TWICE_AND_BROKEN = [
    (0, 5),
    *[(n, 3000, 0, error) for n in (1, 2, 3) for error in (DUPLICATE, "decode")],
    (60, 7),
    (61, 7),
]
CUT_BUT_LIVE = [(0, 5, 0, CUT_SHORT), (200, 7, 0, CUT_SHORT), (400, 7)]
NO_WHOLE_MILLISECONDS = [*[(n, 5.0009) for n in range(3)], *[(10 + n, 7.0005) for n in range(5)]]


@pytest.mark.parametrize(
    "pictures", [LIVE_THEN_BACKLOG, PUT_BACK_BY_AN_HOUR, TWICE_AND_BROKEN, CUT_BUT_LIVE, NO_WHOLE_MILLISECONDS]
)
def test_what_events_are_corrected_by_is_the_same_after_a_restart(pictures):
    camera, again = both(pictures)
    assert again == camera
    assert any(offset for _, offset in camera[1]), "there was something to learn"


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 0.05, 1, 20, 200]),
            st.sampled_from([0, 2.0007, 9, 90, 3599, 3700]),
            st.sampled_from([0, 0, 0, 2]),
            st.sampled_from([None, None, None, DUPLICATE, CUT_SHORT, "decode"]),
        ),
        min_size=1,
        max_size=40,
    )
)
def test_whatever_comes_a_restart_learns_the_same(pictures):
    at, shots = 0, []
    for pause, *more in pictures:
        at += pause
        shots.append((at, *more))
    camera, again = both(shots)
    assert again == camera


def test_pictures_of_long_ago_teach_nothing_with_or_without_a_restart(monkeypatch):
    monkeypatch.setattr(camera_clocks, "NEAR", 5)
    camera, again = Camera(), Camera()
    for each in (camera, again):
        each.send(0, 90).send(1, 90)
        for n in range(5):
            each.send(2 + n, 0, camera="other")
    again.restart()
    for each in (camera, again):
        each.send(1000, 40)
    assert again.learned() == camera.learned()
    assert camera.learned()[1][-1] == (8, 40_000)


def test_pictures_uploaded_late_are_no_slow_clock():
    camera = Camera()
    for n in range(SAMPLES_MAX):
        camera.send(n * 60, 1)
    for n in range(2 * SAMPLES_MAX):  # a burst that waited in the camera for 50 minutes
        camera.send(9000 + n, 3000)
    assert camera.offset == 1
    (delay,) = camera.record.one("SELECT max(delay) / 1000000 FROM events")
    assert delay >= 2990, "and they are old news"


def test_a_buffer_that_empties_has_no_steady_offset():
    camera = Camera()
    for n in range(40):
        camera.send(n, 4000 - 100 * n)
    assert camera.offset is None


def test_a_clock_that_is_put_right_is_learned_again_after_a_while():
    camera = Camera()
    for n in range(40):
        camera.send(n * 30, 90)
    for n in range(40, 120):
        camera.send(n * 30, 1)
    assert camera.offset == 1


def test_a_backlog_teaches_nothing():
    camera = Camera()
    for n in range(20):
        camera.send(n, 90, behind=2)
    assert camera.offset is None


@pytest.mark.slow
@given(st.lists(st.tuples(st.floats(0, 900), st.floats(-100_000, 100_000)), max_size=40))
def test_whatever_comes_an_offset_is_the_median_of_what_was_seen(pictures):
    camera, at = Camera(), 0.0
    for pause, slow in pictures:
        at += pause
        camera.send(at, slow)
    if pictures and camera.offset is not None:
        slows = [slow for _, slow in pictures]
        assert min(slows) - 1 <= camera.offset <= max(slows) + 1


def test_a_rolled_back_transaction_is_not_learned_from():
    camera = Camera()
    camera.send(0, 90).send(1, 90)
    clocks = CameraClocks(camera.record)

    def fail():
        clocks.add("c", START - 88 * S, START + 2 * S)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        camera.record.transact(fail)
    clocks.clear()
    assert (camera.offset, clocks.offset("c")) == (None, None)
