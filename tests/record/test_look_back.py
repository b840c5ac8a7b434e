"""Promise: a search finds what a scan of the events finds, whatever was written, changed, deleted, merged or rolled back before."""

from datetime import UTC, date, datetime
from itertools import count, product
from math import nextafter
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hearthwatch.record import cameras
from hearthwatch.record.events import delete_events
from hearthwatch.record.read import look_back
from hearthwatch.record.read.events import Filter
from hearthwatch.record.reviews import edit_event, review
from hearthwatch.record.units import HOUR, SECOND
from hearthwatch.schemas import Detection
from tests.support.data_dir import START, House, in_memory
from tests.support.invariants import check_search

BERLIN = ZoneInfo("Europe/Berlin")
NOW = int(datetime(2026, 11, 25, 12, tzinfo=BERLIN).timestamp() * SECOND)  # a Wednesday
CAMERAS = [("front_door", "Front door"), ("door", "Door"), ("gate", "Café gate"), ("yard", "Yard")]
LAST = (1 << 63) - 1


def find(record, q, f=Filter(), limit=1000, zone=UTC, now=NOW, after=(LAST, LAST)):  # noqa: B008
    search = look_back.parse_search(q, record.rows("SELECT id, name FROM cameras"), zone, now)
    return look_back.search(record, search, f, zone, limit, after)


steps = st.lists(
    st.tuples(
        st.sampled_from(["see", "see", "note", "review", "delete", "rename", "merge", "late", "undone"]),
        st.integers(0, 9),
        st.sampled_from(["cat", "dogs dog", "Étage", "", "cat bicycle"]),
    ),
    min_size=3, max_size=12,
)  # fmt: skip

# a hundred times 0.29 and 0.57 is less than 29 and 57 in binary, and 0.07 more than 7
CONFIDENCES = 0.29, 0.57, nextafter(0.57, 0), 0.07, 1.0


@settings(max_examples=25, deadline=None)
@given(steps)
def test_the_index_is_in_step_with_the_record(steps):
    with in_memory() as folder:
        house, second = House(folder), count(0, 200)
        record = house.record
        for what, n, text in steps:
            events = [id for (id,) in record.rows("SELECT id FROM events WHERE status <> 'merged' ORDER BY id")]
            event = events[n % len(events)] if events else 0
            camera = CAMERAS[n % 3][0]
            if what in ("see", "late"):
                at = next(second) - 30 * (what == "late")
                house.see(
                    camera, at, at + 3, boxes=[Detection(["cat", "dog"][n % 2], CONFIDENCES[n % 5], (1, 2, 3, 4))]
                )
            elif what == "note":
                edit_event(record, event, {"notes": text or None})
            elif what == "review":
                review(record, n % 2 == 0, [event], None, None)
            elif what == "delete":
                frames = [id for (id,) in record.rows("SELECT id FROM frames WHERE event_id = ?", event)]
                record.transact(lambda event=event, frames=frames: delete_events(record, [event], frames))
            elif what == "rename":
                cameras.edit_camera(record, camera, {"name": text or "Door"})
            elif what == "merge":
                cameras.merge_camera(record, camera, "yard")
            else:
                with pytest.raises(ZeroDivisionError):
                    record.transact(lambda event=event, text=text: edit_event_and_fail(record, event, text))
            check_search(record)
        names = dict(record.rows("SELECT id, name FROM cameras"))
        scanned = [
            (id, look_back.split_words(" ".join([*texts, names.get(camera, "")])))
            for id, camera, *texts in record.rows(
                "SELECT id, camera_id, summary, reasoning, coalesce(notes, ''), objects FROM events "
                "WHERE status <> 'merged' ORDER BY started_at / 1000000 DESC, id DESC"
            )
        ]
        for q in ('"bicycle"', '"door"', '"ETAGE"', '"cat bicycle"', '"bicycle" "cat"', '"gate"'):
            wanted = [id for id, words in scanned if all(word in words for word in look_back.split_words(q))]
            assert find(record, q)[0] == wanted, q
        pages, after = [], (LAST, LAST)
        while after is not None:
            ids, n, after = find(record, "", limit=2, after=after)
            pages += ids
            assert n == len(scanned)
        assert pages == [id for id, _ in scanned]
        house.close()


def edit_event_and_fail(record, event, text):
    record.execute("UPDATE events SET notes = ?, started_at = started_at + 1 WHERE id = ?", text, event)
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("q", "start", "end"),
    [
        ("last night", "24T22:00", "25T06:00"),
        ("yesterday", "24T00:00", "25T00:00"),
        ("today", "25T00:00", "26T00:00"),
        ("this morning", "25T06:00", "25T12:00"),
        ("tonight", "25T22:00", "26T06:00"),
        ("wednesday", "25T00:00", "26T00:00"),
        ("last Wednesday", "18T00:00", "19T00:00"),
        ("monday evening", "23T18:00", "23T22:00"),
        ("2026-11-22", "22T00:00", "23T00:00"),
        ("yesterday 22–06", "24T22:00", "25T06:00"),
        ("22-06 monday", "23T22:00", "24T06:00"),
        ("8:30-9 2026-11-22", "22T08:30", "22T09:00"),
    ],
)
def test_times_are_understood_by_the_clocks_of_the_cameras(q, start, end):
    search = look_back.parse_search(f"dog {q} ", CAMERAS, BERLIN, NOW)
    local = [datetime.fromtimestamp(at / SECOND, BERLIN).strftime("%dT%H:%M") for at in (search.start, search.end)]
    assert (local, search.hours, search.match) == ([start, end], None, '("dog")')
    rest = f"dog {q} "
    for chip in search.filters():
        assert chip["kind"] == "time" and chip["text"] in rest
        rest = rest.replace(chip["text"], "")
    assert look_back.parse_search(rest, CAMERAS, BERLIN, NOW).chips == [], "without its words, a filter is gone"


@pytest.mark.parametrize(
    ("q", "chips", "words"),
    [
        ("person at the front door", ["front door"], ["person"]),
        ("DOOR person", ["DOOR"], ["person"]),
        ("front_door", ["front_door"], []),
        ("Café-Gate", ["Café-Gate"], []),
        ("front person", [], ["front", "person"]),
        ('"front door" person', [], ["front", "door", "person"]),
        ("2026-13-45 25-26 5-5", [], ["2026", "13", "45", "25", "26", "5", "5"]),
        ("the", [], ["the"]),
        ("people", [], ["person"]),
        ("yardstick overnight", [], ["yardstick", "overnight"]),
    ],
)
def test_names_of_cameras_are_filters_and_all_else_is_words(q, chips, words):
    search = look_back.parse_search(q, CAMERAS, BERLIN, NOW)
    assert [chip.text for chip in search.chips] == chips
    assert [word for word in words if f'"{word}"' in search.match] == words
    assert search.match.count(" AND ") == len(words) + len(chips) - 1


@settings(max_examples=40, deadline=None)
@given(q=st.text(max_size=40) | st.text("0123456789-–: \"'*()ANDORNEARlastnight^{}", max_size=30))
def test_no_text_is_an_error(empty, q):
    assert find(empty, q)[0] == []


@pytest.fixture(scope="module")
def empty():
    with in_memory() as folder:
        house = House(folder)
        yield house.record
        house.close()


def test_hours_are_those_of_the_clocks_before_and_after_they_are_changed():
    with in_memory() as folder:
        house = House(folder)
        days = [datetime(2026, 10, 24, 21, 30, tzinfo=BERLIN), datetime(2026, 10, 24, 22, 30, tzinfo=BERLIN),
                datetime(2026, 10, 25, 5, 30, tzinfo=BERLIN), datetime(2026, 10, 25, 6, 30, tzinfo=BERLIN),
                datetime(2026, 10, 25, 21, 30, tzinfo=BERLIN), datetime(2026, 10, 25, 22, 30, tzinfo=BERLIN)]  # fmt: skip
        for day in days:
            house.see("gate", day.timestamp() - START / SECOND)
        ids = [id for (id,) in house.rows("SELECT id FROM events ORDER BY started_at")]
        assert find(house.record, "22-06", zone=BERLIN)[0] == [ids[5], ids[2], ids[1]]
        assert find(house.record, "6-22", zone=BERLIN)[0] == [ids[4], ids[3], ids[0]]
        assert find(house.record, "2026-10-24 22-06", zone=BERLIN)[0] == [ids[2], ids[1]]
        (autumn,) = look_back.calendar(house.record, [date(2026, 10, 25)], BERLIN, None)
        assert autumn["start"] == "2026-10-24T22:00:00.000000Z" and autumn["end"] == "2026-10-25T23:00:00.000000Z"
        assert (autumn["events"], autumn["unreviewed_events"], autumn["pictures"]) == (4, 4, 4)
        house.close()


def test_other_filters_and_days_count_what_a_scan_counts():
    with in_memory() as folder:
        house = House(folder)
        for n in range(12):
            house.see(("gate", "yard")[n % 2], n * 7000)
        house.see("gate", 84_000, boxes=()).close_events(300_000)
        record = house.record
        events = record.dicts("SELECT id, camera_id, started_at, risk_level FROM events ORDER BY started_at DESC")
        review(record, True, [e["id"] for e in events[::3]], None, None)
        reviewed = {e["id"] for e in events[::3]}
        for f in (Filter(reviewed=False), Filter(camera_id="gate"), Filter(object_type="dog"), Filter(object_type="cat"),
                  Filter(start=START + 2 * HOUR, end=START + 9 * HOUR), Filter(risk_levels=("critical",)), Filter("yard", reviewed=True)):  # fmt: skip
            wanted = [
                e["id"] for e in events
                if f.camera_id in (None, e["camera_id"]) and f.object_type in (None, "dog") and f.start <= e["started_at"] < f.end
                and f.reviewed in (None, e["id"] in reviewed) and e["risk_level"] in (f.risk_levels or [e["risk_level"]])
            ]  # fmt: skip
            assert find(record, "", f)[:2] == (wanted, len(wanted)), f
        days = [date(2026, 11, day) for day in (21, 22, 23, 24)]
        zones = [UTC, BERLIN, ZoneInfo("America/Los_Angeles"), ZoneInfo("Asia/Kolkata"), ZoneInfo("Pacific/Kiritimati")]
        for camera, zone in product((None, "gate"), zones):
            found = look_back.calendar(record, days, zone, camera)
            by_day = [
                [
                    e
                    for e in events
                    if datetime.fromtimestamp(e["started_at"] / SECOND, zone).date() == day
                    and camera in (None, e["camera_id"])
                ]
                for day in days
            ]
            assert [d["events"] for d in found] == [len(some) for some in by_day]
            assert [d["unreviewed_events"] for d in found] == [
                len([e for e in some if e["id"] not in reviewed]) for some in by_day
            ]
            assert [d["incidents"] for d in found] == [len(some) for some in by_day]
            assert [d["unreviewed"] for d in found] == [d["unreviewed_events"] for d in found]
        pictures, after = [], (LAST, LAST)
        while after:
            some, after = look_back.pictures(record, Filter(), 3, after)
            pictures += some
        times = "SELECT id FROM frames ORDER BY captured_at DESC, id DESC"
        assert [p["id"] for p in pictures] == [id for (id,) in record.rows(times)]
        assert (
            look_back.count_pictures(record, Filter()) == 13
            and pictures[-1]["detections"]
            and not pictures[0]["detections"]
        )
        gate, more = look_back.pictures(record, Filter("gate", start=START, end=START + 1), 5, (LAST, LAST))
        assert ([p["event_id"] for p in gate], more) == ([1], None)
        house.close()
