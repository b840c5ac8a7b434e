"""Promise: a camera's steady clock offset is learned from its live pictures, and a late upload is not mistaken for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hearthwatch.record import Record
from hearthwatch.record.batching import Batching
from hearthwatch.record.camera_clocks import SAMPLES_MAX, CameraClocks
from hearthwatch.record.ledger import FoundFile, Ledger
from hearthwatch.schemas.items import Detected, Detection
from tests.record.test_batching import judge
from tests.support.judges import whole

S = 1_000_000
START = 1_700_000_000 * S
PERSON = (Detection("person", 0.9, (1, 2, 3, 4)),)


class Camera:
    """One camera's live pictures through ledger and batching; `at` is the server's clock, in seconds after START."""

    def __init__(self):
        self.record = Record(":memory:")
        self.ledger, self.n = Ledger(self.record), 0
        self.restart()

    def restart(self):
        self.batching = Batching(self.record, whole(judge))

    def send(self, at, slow, behind=0):
        self.n, now = self.n + 1, START + round(at * S)
        found = FoundFile("c", "C", f"{self.n}.jpg", now * 1000, 1, now - round(slow * S), now, behind=behind)
        self.ledger.discover([found], now)
        self.batching.write([Detected(e.frame, 9, 9, PERSON) for e in self.ledger.todo(0, 9)])
        return self

    @property
    def offset(self):
        """Seconds."""
        (ms,) = self.record.one("SELECT clock_offset_ms FROM cameras")
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
