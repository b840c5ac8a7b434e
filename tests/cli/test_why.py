"""Promise: `hearthwatch why` tells how an event came about, from its pictures to its messages, with times."""

import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from hearthwatch.record import RecordError
from hearthwatch.record.baselines import BaselineRow, write_baselines
from hearthwatch.record.feed import Feed
from hearthwatch.record.incidents import Incidents
from hearthwatch.record.ledger import FoundFile
from hearthwatch.record.notifications import JUDGE, DeliveryHistory, Sent
from hearthwatch.record.read.lineage import read_lineage
from hearthwatch.record.verdicts import Verdicts
from hearthwatch.schemas import DUPLICATE, DeadLetter, Detected, Detection, Verdict
from hearthwatch.schemas.items import from_microseconds
from tests.support.data_dir import START, House, S, in_memory

ROOT = Path(__file__).parents[2]


@pytest.fixture
def house(monkeypatch):
    with in_memory() as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        house = House(folder)
        yield house
        house.close()


def judged(house):
    """A visit of four pictures, judged by a language model after a look by its shadow; a consumer that is behind."""
    house.see("front_door", 0, 4, 8, 12).close_events()
    verdicts = Verdicts(house.record)
    feed = Feed(house.record)
    feed.cursor("doorbell")
    feed.cursor("phone")
    (case,) = verdicts.closed()
    shadow = Verdict(20, "nobody", "A test.", (), "nemotron", "small", "v1", 300.0)
    verdicts.shadow(case.with_verdict(shadow))
    cited = case.facts.sightings[0].id
    verdict = Verdict(
        62, "A person and a dog at the front door", "They came close.", (cited,), "nemotron", "big", "v1", 1900.0
    )
    verdicts.write([case.with_verdict(verdict)])
    feed.advance("phone", feed.last())
    return house


def why(house, event, environment=os.environ):
    environment = {**environment, "HEARTHWATCH_DATA_DIR": str(house.data), "HEARTHWATCH_TIMEZONE": "Europe/Berlin"}
    command = [sys.executable, "-m", "hearthwatch.cli", "why", str(event)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)


def test_a_visit_reads_like_a_story(house):
    write_baselines(house.record, START - 86_400 * S, [BaselineRow("front_door", "", "", 9, False, 5, 6)])
    done = why(judged(house), 1)
    assert (done.returncode, done.stderr) == (0, "")
    head, pictures, window, prompt, verdicts, messages = done.stdout.split("\n\n")
    assert head.startswith(
        "Event 1, front_door, Sunday 22 November 2026, 09:15:30: high 62, closed\n  A person and a dog"
    )
    assert pictures.startswith("Pictures: 4 with something in them\n  09:15:30.000  front_door/")
    assert "(frame 1; arrived 0 ms later, by m)\n    person 90%*, dog 80%\n" in pictures
    assert (
        "12.0 s from first to last picture\n  a picture from 09:16:12.000 on (30 s after the last) begins the next event"
        in window
    )
    assert prompt.startswith('Prompt: v1, to big; the event as one line of data:\n  {"camera":"front_door"')
    lines = verdicts.splitlines()
    assert lines[0] == "Verdicts, by what was normal here as of 21 November 2026, 09:15"
    assert [line.split()[2].strip(",") for line in lines if line[2].isdigit()] == [
        "opened",
        "closed",
        "shadow",
        "analyzed",
    ]
    assert "shadow, nemotron small v1 in 0.3 s: low 20, nobody" in verdicts
    assert (
        "analyzed, nemotron big v1 in 1.9 s: high 62, A person" in verdicts
        and "    because: They came close." in verdicts
    )
    assert messages.endswith("event.analyzed, revision 3\n    read by phone\n    pending for doorbell, incident\n")


RANG = Sent(1, 1, "high", (1,), loud_at=from_microseconds(START))
SILENT = Sent(1, 1, None, (1,))


@pytest.mark.parametrize(
    ("level", "sent", "says"),
    [
        ("medium", None, "not sent yet"),
        ("critical", None, "not sent: high is below critical, its level for this camera"),
        ("medium", RANG, "rang at high, for what happened until 09:15:30.000"),
        (
            "medium",
            replace(RANG, held="quiet"),
            "until 09:15:30.000; held back in quiet hours: it is in the next digest",
        ),
        ("medium", replace(SILENT, held=JUDGE), "sent without a sound; waits for the language model"),
        ("medium", replace(SILENT, events=(), held="sending loud"), "is being sent"),
    ],
)
def test_whether_each_notifier_sent_something_or_why_not(house, level, sent, says):
    Incidents(judged(house).record).update()
    if sent:
        DeliveryHistory(Feed(house.record), "ntfy").save([sent])
    settings = {"HEARTHWATCH_NTFY_URL": "http://127.0.0.1:9/topic", "HEARTHWATCH_NOTIFY_LEVEL": level}
    *_, last = why(house, 1, os.environ | settings).stdout.split("\n\n")
    assert last.startswith("Notifications of incident 1\n  ntfy: ") and says in last


def test_what_a_notifier_read_and_left_out_is_not_said_to_come(house):
    Incidents(judged(house).record).update()
    feed, ntfy = Feed(house.record), {"HEARTHWATCH_NTFY_URL": "http://127.0.0.1:9/topic"}
    feed.cursor("ntfy")
    house.record.execute("UPDATE cursors SET seq = 0 WHERE name = 'ntfy'")
    assert "ntfy: not sent yet" in why(house, 1, os.environ | ntfy).stdout
    feed.advance("ntfy", feed.last())
    assert "ntfy: not sent: `only`, a pause of its camera" in why(house, 1, os.environ | ntfy).stdout


def test_a_camera_that_has_its_own_level_says_so(house):
    Incidents(judged(house).record).update()
    house.record.execute("UPDATE cameras SET notify_level = 'critical'")
    settings = {"HEARTHWATCH_NTFY_URL": "http://127.0.0.1:9/topic", "HEARTHWATCH_NOTIFY_LEVEL": "low"}
    assert "ntfy: not sent: high is below critical" in why(house, 1, os.environ | settings).stdout


def test_what_does_not_count_and_a_wrong_clock_are_told(house):
    house.see("front_door", 0, boxes=(Detection("car", 0.9, (10, 10, 50, 50)), Detection("person", 0.8, (1, 1, 9, 9))))
    house.record.execute(
        "INSERT INTO suppressed VALUES (514, 1, 'front_door', ?, 'truck', 0.9, 1, 1, 1, 1, 'has stood still for 5 min', NULL)",
        START,
    )
    house.record.execute("UPDATE frames SET arrived_at = captured_at - 90000000")
    said = why(house, 1).stdout
    assert "    does not count: 1 × truck (has stood still for 5 min)\n" in said
    assert "arrived 2 min EARLIER: this camera’s clock is wrong" in said
    assert "  open: more pictures may come" in said
    assert "Prompt" not in said


def test_a_long_event_is_told_from_both_ends(house):
    house.see("front_door", *range(60)).close_events()
    said = why(house, 1).stdout
    assert "Pictures: 60 with" in said and "  … 40 more …\n" in said
    assert said.count("person 90%") == 20


@pytest.mark.parametrize(
    ("event", "says"),
    [
        (77, "event 77 does not exist"),
        (2, "event 2 does not exist, but frame 2 belongs to event 1"),
        (5, "event 5 became part of event 1 when a picture came out of order: ask for 1"),
        (6, "event 6 does not exist: retention deleted it"),
    ],
)
def test_who_asks_for_another_number_is_helped(house, event, says):
    house.see("front_door", 0, 4, 8, 12).see("garden", 100).see("garden", 300, boxes=()).close_events()
    house.set([5], status="merged", merged_into=1)
    house.record.execute("UPDATE frames SET pruned = 2 WHERE id = 6")
    with pytest.raises(RecordError) as told:
        read_lineage(house.record, event)
    assert str(told.value) == says
    done = why(house, event)
    assert (done.returncode, done.stderr) == (2, says + "\n")


def test_times_are_those_of_the_record(house):
    found = read_lineage(judged(house).record, 1)
    assert [frame["captured_at"] for frame in found.frames] == [START + i * S for i in (0, 4, 8, 12)]
    assert [(step["revision"], step["shadow"]) for step in found.revisions] == [
        (1, False),
        (2, False),
        (2, True),
        (3, False),
    ]
    assert [message["seq"] for message in found.messages] == [1, 2, 5], "3 and 4 are about its incident"


def test_a_picture_that_came_again_is_named_and_leads_to_its_event(house):
    house.see("front_door", 0).close_events()
    house.record.execute("UPDATE frames SET content_hash = 'ab12'")
    at = START + 60 * S
    house.ledger.discover([FoundFile("front_door", "front_door", "front_door/test.jpg", at * 1000, 9, at, at)], at)
    entry = house.ledger.todo(0, 1)[0]
    house.batching.write([Detected(entry.frame, 8, 8, (), DeadLetter(DUPLICATE, "duplicate of 1"))])
    again = house.base / "front_door/test.jpg"
    again.write_bytes(b"123456789")
    os.utime(again, ns=(at * 1000, at * 1000))
    house.record.execute("UPDATE frames SET content_hash = 'ab12'")
    environment = {**os.environ, "FOSCAM_BASE_PATH": str(house.base), "HEARTHWATCH_TIMEZONE": "UTC"}
    done = why(house, 2, environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert "frame 2 (front_door/test.jpg) is the same picture as 1 of Sunday 22 November 2026, " in done.stderr
    assert done.stderr.rstrip().endswith(f"(front_door/{START}.jpg); ask for 1")
    assert "the same picture came again as frame 2, front_door/test.jpg" in why(house, 1, environment).stdout
