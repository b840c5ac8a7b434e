"""Promise: what a stage adds to a detection is in the record, the messages, the API and the lake, the same after every kill;
attributes that cannot be stored are an error of their picture that names the stage and the attribute.
"""

import io
import json
import pickle
import re
import shutil
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from zoneinfo import ZoneInfo

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from hearthwatch.flows.guard import DeclaredTypes, Process
from hearthwatch.record.batching import Batching
from hearthwatch.record.cameras import merge_camera, remove_camera
from hearthwatch.record.events import ATTRIBUTES_MAX
from hearthwatch.record.feed import Feed
from hearthwatch.record.incidents import Incidents
from hearthwatch.record.read import verify
from hearthwatch.record.read.detections import list_detections
from hearthwatch.record.read.events import Filter
from hearthwatch.schemas import Alert, DeadLetter, Detected, Detection, Stage
from hearthwatch.schemas.items import find_attribute_error, from_microseconds, iso
from hearthwatch.schemas.testing import detected, frame
from hearthwatch.stages.rules import RulesJudge
from tests.support.api_record import Home, serve
from tests.support.data_dir import PERSON, START, House, S, lake_differs
from tests.support.invariants import check
from tests.support.pipeline import ROOT, Ended, Nursery, Pipeline, content, name

SOON = "idle_timeout_seconds = 1\nlateness_seconds = 0.1"  # events close a second after the last picture
EXAMPLE = ROOT / "examples" / "colours"
PAINTED = {"red": (190, 40, 40), "white": (250, 245, 240), "blue": (50, 80, 190), "green": (30, 160, 70), "orange": (225, 125, 40)}  # fmt: skip
VALUE = st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9)  # fmt: skip
ATTRIBUTES = st.dictionaries(st.text(min_size=1, max_size=5), VALUE, max_size=4)


def box(**attributes):
    return Detection("person", 0.9, (10, 20, 30, 40), attributes)


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path)
    yield house
    house.close()


def test_a_detection_without_attributes_is_what_it_was():
    plain = Detection("person", 0.9, (1, 2, 3, 4))
    assert plain == Detection("person", 0.9, (1, 2, 3, 4), {}) and hash(plain) == hash(replace(plain))
    assert plain != replace(plain, attributes={"colour": "red"})
    assert pickle.loads(pickle.dumps(box(colour="red"))) == box(colour="red")


# -- stored, read, published


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(attributes=st.lists(ATTRIBUTES, min_size=1, max_size=3))
def test_the_record_returns_what_was_stored(house, attributes):
    boxes = tuple(replace(box(**found), bbox=(n, 0, 9, 9)) for n, found in enumerate(attributes))
    count = house.rows("SELECT count(*) FROM frames")[0][0]
    house.see("door", count * 1000, boxes=boxes)
    stored = house.ledger.decision(frame(count + 1)).detections
    assert stored == boxes
    kinds = [{name: type(value) for name, value in found.attributes.items()} for found in stored]
    assert kinds == [{name: type(value) for name, value in found.items()} for found in attributes]


def test_messages_the_api_and_the_lake_have_them_and_others_stay_as_they_are(house):
    house.see("door", 0, boxes=(box(colour="red", plate="B 1"), box()))
    house.see("door", 5, boxes=(box(colour="blue", plate="B 1"),))
    house.see("yard", 8, boxes=(box(),))
    house.close_events()
    closed = {m.event.camera_id: m for m in Feed(house.record).after(0, 99) if m.type == "event.closed"}
    assert closed["door"].event.attributes == {"colour": ("red", "blue"), "plate": ("B 1",)}
    assert closed["door"].as_dict()["attributes"] == {"colour": ["red", "blue"], "plate": ["B 1"]}
    assert "attributes" not in closed["yard"].as_dict()
    assert house.rows("SELECT payload LIKE '%attributes%' FROM feed WHERE kind = 'event' AND type = 'event.opened'") == [(1,), (0,)]  # fmt: skip
    found = list_detections(house.record, Filter(), 0, 9, 0)
    assert [row["attributes"] for row in found] == [{}, {"colour": "blue", "plate": "B 1"}, {}, {"colour": "red", "plate": "B 1"}]  # fmt: skip
    house.export()
    assert not lake_differs(house)
    rows = [
        row for file in house.lake.files("detections") for row in pq.read_table(file, partitioning=None).to_pylist()
    ]
    assert sorted(row["attributes"] or "" for row in rows)[2:] == ['{"colour": "blue", "plate": "B 1"}', '{"colour": "red", "plate": "B 1"}']  # fmt: skip


def test_a_message_holds_so_many_values_and_no_more(house):
    house.see("door", 0, boxes=tuple(box(plate=f"B {n}") for n in range(40)))
    (message,) = Feed(house.record).after(0, 9)
    assert message.event.attributes == {"plate": tuple(f"B {n}" for n in range(ATTRIBUTES_MAX))}


def test_a_box_that_stands_still_keeps_its_attributes(house):
    house.batching = Batching(house.record, partial(RulesJudge, zone=ZoneInfo("UTC")))
    house.see("door", *range(0, 300, 30), boxes=(box(colour="red"),))
    last, attributes = house.rows("SELECT frame_id, attributes FROM suppressed ORDER BY id DESC")[0]
    assert attributes == '{"colour": "red"}'
    assert house.ledger.decision(frame(last)).detections == (box(colour="red"),)


def test_the_api_is_as_documented(tmp_path):
    home = Home(tmp_path)
    home.picture("Front Door", 30, "person")
    sql = """UPDATE detections SET attributes = '{"colour": "red", "sure": 0.5, "known": true}'"""
    home.record.transact(lambda: home.record.execute(sql))
    with serve(home.settings()) as here, here.client() as client:
        (row,) = client.get("/api/detections").json()["detections"]
        assert row["attributes"] == {"colour": "red", "sure": 0.5, "known": True}
        (picture,) = client.get("/api/events/1").json()["frames"]
        assert picture["detections"][0] == row
    home.close()


# -- what cannot be stored


@pytest.mark.parametrize(
    "attributes, says",
    [
        ({"colour": ["red"]}, "attribute `colour` is a list"),
        ({"colour": None}, "attribute `colour` is a NoneType"),
        ({"colour": "x" * 201}, "attribute `colour`: a text has at most 200 characters"),
        ({"colour": "\ud800"}, "attribute `colour`"),
        (
            {"sure": float("nan")},
            "attribute `sure`: a text has at most 200 characters, a number is finite and has 64 bits",
        ),
        ({"sure": 2**63}, "attribute `sure`"),
        ({"x" * 201: 1}, "an attribute's name is 'xxxx"),
        ({"": 1}, "an attribute's name is ''"),
        ({"\ud800": 1}, "an attribute's name is '\\ud800'"),
        ({7: 1}, "an attribute's name is a int"),
        ({str(n): n for n in range(17)}, "there are 17 attributes, and 16 may be"),
        ("red", "attributes are a str"),
    ],
)
def test_wrong_attributes_are_an_error_of_their_picture(attributes, says):
    class Adds(Stage):
        accepts = Detected
        emits = Detected

        def process(self, items):
            return [replace(i, detections=(replace(i.detections[0], attributes=attributes),)) if i.frame.id == 2 else i for i in items]  # fmt: skip

    assert says in find_attribute_error(attributes)
    items = [detected(n) for n in (1, 2, 3)]
    for out in (Process("adds", Adds(), Adds())(items), DeclaredTypes("adds", Detected)(Adds().process(items))):
        assert [item.error and item.error.stage for item in out] == [None, "adds", None]
        assert says in out[1].error.reason and out[1].detections == ()
        assert out[0] is items[0]


def test_what_just_fits_is_stored():
    assert find_attribute_error({"n" * 199 + str(n): "x" * 200 for n in range(9)} | {"sure": 1e308, "n": 2**63 - 1, "yes": True}) is None  # fmt: skip


# -- alerts


ALONE = (1 << 35) + 1  # the incident of the first alert


def at(second):
    return from_microseconds(START + second * S)


def alert(**more):
    what = {"camera": "door", "at": datetime(2026, 11, 28, tzinfo=UTC), "kind": "plate", "score": 70, "summary": "B 1"}
    return Alert(**what | more)


def alerts(house):
    return house.rows("SELECT camera_id, kind, score, summary, incident_id FROM alerts ORDER BY id")


def linked(house):
    """The messages of the incidents that are new since, as (type, id, score, events, alerts)."""
    found = house.close_events(0).rows("SELECT payload FROM feed WHERE kind = 'incident' ORDER BY seq")
    rows = [json.loads(row) for (row,) in found]
    return [(m["type"], m["incident_id"], m["risk_score"], m["events"], m.get("alert_counts")) for m in rows]


def test_an_alert_alone_is_an_incident_once_and_never_an_event(house):
    house.see("door", 0, boxes=(), alerts=(alert(), alert(kind="face", score=90)))
    house.see("door", 5, boxes=(), alerts=(alert(),))
    house.see("door", 9, error=DeadLetter("colours", "no"), alerts=(alert(summary="B 3"),))
    assert linked(house)[0] == ("incident.opened", ALONE, 90, [], {"face": 1, "plate": 1})
    assert alerts(house) == [("door", "plate", 70, "B 1", ALONE), ("door", "face", 90, "B 1", ALONE)]
    incident = "SELECT id, summary, risk_level, cameras, event_count, gravest_event_id FROM incidents"
    assert house.rows(incident) == [(ALONE, "B 1", "critical", '["door"]', 0, None)]
    assert house.rows("SELECT count(*) FROM events") == [(0,)]
    assert [*verify.rows(house.record)] == []


def test_an_alert_joins_the_incident_of_its_camera_and_raises_it(house):
    house.see("door", 0)
    score = linked(house)[0][2]
    house.see("door", 5, alerts=(alert(at=at(5), score=99),))
    house.see("door", 9, boxes=(), alerts=(alert(at=at(9), kind="face", score=1),))
    house.see("yard", 900, boxes=(), alerts=(alert(camera="yard", at=at(900), score=5),))
    assert linked(house) == [
        ("incident.opened", 1, score, [1], None),
        ("incident.raised", 1, 99, [1], {"face": 1, "plate": 1}),
        ("incident.opened", ALONE + 2, 5, [], {"plate": 1}),
    ]
    assert [*verify.rows(house.record)] == []


@pytest.mark.parametrize("chunk", [1, 2, 5])
def test_an_alert_before_the_events_gives_the_same_incident(house, chunk):
    """The alert's own incident is merged into that of the event, which has the smaller id."""
    pictures = [
        (0, (alert(at=at(0)),), ()),
        (10, (), PERSON),
        (100, (alert(at=at(100), score=40),), ()),
        (200, (), PERSON),
    ]
    for n, (second, warned, boxes) in enumerate(pictures):
        house.see("door", second, boxes=boxes, alerts=warned)
        if n % chunk == 0:
            linked(house)
    linked(house)
    visits = "SELECT event_count, risk_score, alert_counts, started_at FROM incidents WHERE status <> 'merged'"
    assert house.rows(visits) == [(2, 70, '{"plate":2}', START)], "the second alert connects the two events"
    assert {row[-1] for row in alerts(house)} == {2}
    assert [*verify.rows(house.record)] == []


def test_retention_and_cameras_delete_and_move_alerts_with_their_incidents(house):
    for n, camera in enumerate(("door", "yard", "shed")):
        house.see(camera, n * 1000, boxes=(), alerts=(alert(camera=camera, at=at(n * 1000)),))
    linked(house)
    assert merge_camera(house.record, "shed", "yard")
    incidents = Incidents(house.record)
    while incidents.link_waiting():
        pass
    assert [row[0] for row in alerts(house)] == ["door", "yard", "yard"]
    assert house.rows("SELECT cameras FROM incidents ORDER BY id") == [('["door"]',), ('["yard"]',), ('["yard"]',)]
    house.keeper().deleter.delete_samples(START + 500 * S)
    assert [row[0] for row in alerts(house)] == ["yard", "yard"] and len(house.rows("SELECT 1 FROM incidents")) == 2
    remove_camera(house.record, "yard", house.data)
    assert not alerts(house) and not house.rows(
        "SELECT 1 FROM incidents UNION ALL SELECT 1 FROM feed WHERE kind = 'incident'"
    )
    assert [*verify.rows(house.record)] == []


def test_the_lake_and_the_page_have_alerts_and_a_review_marks_them(tmp_path):
    home = Home(tmp_path)
    house = House(tmp_path / "house")
    house.see("door", 0, boxes=(), alerts=(alert(at=at(0), evidence={"text": "B 1"}),))
    house.see("door", 2)
    linked(house)
    house.export()
    assert not lake_differs(house)
    (file,) = (file for file in house.lake.files("alerts") if pq.read_metadata(file).num_rows)
    (row,) = pq.read_table(file, partitioning=None).to_pylist()
    assert (row["kind"], row["evidence"], row["incident_id"]) == ("plate", '{"text": "B 1"}', 2)
    with serve(home.settings(HEARTHWATCH_DATA_DIR=str(house.data))) as here, here.client() as client:
        (visit,) = client.get("/api/incidents", params={"camera_id": "door"}).json()["incidents"]
        assert visit["alert_counts"] == {"plate": 1} and not visit["reviewed"]
        detail = client.get(f"/api/incidents/{visit['id']}").json()
        assert detail["alerts"] == [
            {"id": 1, "camera_id": "door", "at": iso(at(0)), "kind": "plate", "score": 70, "summary": "B 1", "evidence": {"text": "B 1"}}
        ]  # fmt: skip
        client.patch(f"/api/events/{visit['gravest_event_id']}", json={"reviewed": True})
        assert not client.get(f"/api/incidents/{visit['id']}").json()["reviewed"], "its alert is to be reviewed, too"
        assert client.patch(f"/api/incidents/{visit['id']}", json={"reviewed": True}).json()["reviewed"]
    house.close()
    home.close()


@pytest.mark.parametrize(
    "given, says",
    [
        (alert(evidence={"raw": object()}), "`evidence` of an alert: Object of type object is not JSON serializable"),
        (alert(evidence={"n": float("nan")}), "`evidence` of an alert: Out of range float"),
        (alert(evidence={"raw": "x" * 20_000}), "`evidence` of an alert may have 16384 bytes"),
        (alert(score=101), "`score` of an alert is 101"),
        (alert(score=True), "`score` of an alert is True"),
        (alert(at=datetime(2026, 11, 28)), "`at` of an alert is datetime"),
        (alert(summary=""), "`summary` of an alert is ''"),
        (alert(kind=7), "`kind` of an alert is 7"),
        ("B 1", "an alert is a str"),
        (None, "there are 9 alerts, and 8 may be"),
    ],
)
def test_a_wrong_alert_is_an_error_of_its_picture(given, says):
    class Adds(Stage):
        accepts = Detected
        emits = Detected

        def process(self, items):
            return [replace(item, alerts=(given,) if given else (alert(),) * 9) for item in items]

    (out,) = Process("adds", Adds(), Adds())([detected(1)])
    assert out.error.stage == "adds" and says in out.error.reason, out.error


# -- the example, run as people run it


BEHIND = """
[colours]
use = "colours:Colours"
from = "detect"

[warn]
use = "warn:Warn"
from = "colours"

[lines]
use = "jsonl"
from = "batch"
only = { type = ["incident.opened", "incident.raised", "incident.updated"] }
path = "incidents.jsonl"
"""
GUIDE = (ROOT / "docs" / "plugins.md").read_text()
WARN = re.findall(r"```python\n(from hearthwatch.schemas import Alert\n.*?)```", GUIDE, re.DOTALL)[0]


def painted(folder, nursery):
    """Pictures of one colour each, a detector that finds two boxes in each, behind it the example's stage and one with alerts."""
    p = Pipeline(folder, nursery=nursery, options="boxes = 2", batch=SOON, more=BEHIND)
    shutil.copy(EXAMPLE / "colours.py", p.folder)
    (p.folder / "warn.py").write_text(
        f"from dataclasses import replace\nfrom hearthwatch.schemas import Detected, Stage\n{WARN}"
    )
    flow = p.folder / "flow.toml"
    flow.write_text(flow.read_text().replace('"batch"\nfrom = "detect"', '"batch"\nfrom = "warn"'))
    for n, colour in enumerate(PAINTED):
        file = io.BytesIO()
        Image.new("RGB", (320, 320), PAINTED[colour]).save(file, "JPEG")
        p.upload("door", name(n / 5, colour), file.getvalue(), mtime=1_790_000_000 + n)
    return p


@pytest.fixture(scope="module")
def nursery():
    with Nursery() as nursery:
        yield nursery


def test_the_example_names_colours_and_a_kill_at_any_commit_changes_nothing(tmp_path, nursery):
    calm = painted(tmp_path / "calm", nursery)
    sql = "SELECT f.path, d.object_type, d.attributes ->> 'colour' FROM detections d JOIN frames f ON f.id = frame_id"
    found = calm.run().rows(sql)
    assert len(found) > 5 and {kind for _, kind, _ in found} >= {"person", "dog"}
    for path, kind, colour in found:
        assert colour is None if kind == "dog" else colour in path
    expected, alerts = stored(calm), published(calm)
    assert len(alerts) > 2
    for at in (4, 6):
        p = painted(tmp_path / str(at), nursery)
        with pytest.raises(Ended):
            p.start(resume=True, snapshot_seconds=0, DIE_AT=f"after:{at}").until_quiet()
        assert p.wait() == 9
        p.run(resume=True, snapshot_seconds=0)
        stored(p).is_that_of(expected)
        assert sorted(p.rows(sql)) == sorted(found)
        assert sorted(published(p)) == sorted(alerts)


def stored(p):
    with closing(p.record) as record:
        check(record)
        return content(record)


def published(p):
    """The alerts in the record, each once; the incidents that were sent count them."""
    sent = [json.loads(line) for line in (p.folder / "incidents.jsonl").read_text().splitlines()]
    found = p.rows("SELECT camera_id, at, kind, score, summary, evidence FROM alerts")
    assert len(set(found)) == len(found) and sent[-1]["alert_counts"] == {"colour": len(found)}
    return found


# -- a judge of one's own


def test_a_stage_that_judges_replaces_the_language_model(tmp_path, nursery):
    p = Pipeline(tmp_path, nursery=nursery, options="boxes = 1", batch=SOON, more=JUDGED)
    (p.folder / "my_parts.py").write_text(NEIGHBOURS)
    p.upload("door", name(0)).start()
    sql = "SELECT risk_score, summary, model, analysis_status FROM events"
    p.until(lambda: p.rows(sql) and p.rows(sql)[0][-1] == "done").stop()
    assert p.rows(sql) == [(40, "Not a known car.", "neighbours", "done")]
    assert p.rows("SELECT type FROM feed WHERE kind = 'event' ORDER BY seq DESC LIMIT 1") == [("event.analyzed",)]


NEIGHBOURS = """
from hearthwatch.schemas import Case, Event, Stage, Verdict


class Neighbours(Stage):
    accepts = Case
    emits = Event
    durable = True

    def process(self, items):
        verdict = Verdict(40, "Not a known car.", "no plate", analyzer="nemotron", model="neighbours")
        return [case.with_verdict(verdict) for case in items]
"""
JUDGED = """
[analyze]
use = "my_parts:Neighbours"
from = "batch"

[sqlite]
use = "sqlite"
from = ["batch", "analyze"]
"""
