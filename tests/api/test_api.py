"""Promise: the read API answers as the contract says, in any combination of filters, with or without a pipeline or a record."""

import csv
import io
import itertools
import json
import re
import shutil
import sqlite3
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from pydantic import BaseModel

from hearthwatch.api import models
from hearthwatch.api.app import create
from hearthwatch.flows.graph import Graph
from hearthwatch.gpu.decode import open_picture
from hearthwatch.record import Record
from hearthwatch.record.cameras import SILENT_NEW, mark_silent_cameras
from hearthwatch.record.graph_description import store_description
from hearthwatch.record.ledger import FoundFile
from hearthwatch.record.paths import camera_id
from hearthwatch.record.read import status as pulse
from hearthwatch.record.timings import StepHistograms
from hearthwatch.schemas import DeadLetter, Detected
from hearthwatch.schemas.items import from_microseconds, iso
from hearthwatch.schemas.settings import load
from hearthwatch.sources.duplicates import DuplicateFinder
from tests.support.api_record import Home, S, serve, start, story, wait_for
from tests.support.invariants import check_conservation
from tests.support.linking import link
from tests.support.pipeline import Pipeline
from tests.support.pipeline import name as taken
from tests.support.ports import free_port

LEVELS = ("low", "medium", "high", "critical")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = story(Home(tmp_path_factory.mktemp("home")))
    link(home.record)
    home.beat()
    yield home
    home.close()


@pytest.fixture(scope="module")
def api(home):
    with serve(home.settings()) as served, served.client() as client:
        yield client


@pytest.fixture
def own(tmp_path):
    """A home and its client that a test may change."""
    home = story(Home(tmp_path))
    with serve(home.settings()) as served, served.client() as client:
        yield home, client
    home.close()


def get(client, url, code=200, **params):
    answer = client.get(url, params=params)
    assert answer.status_code == code, answer.text
    return answer.json()


def ids(page):
    return [event["id"] for event in page["events"]]


# -- shape


def test_every_answer_is_what_the_documentation_says(api, home):
    here = {"event_id": 1, "incident_id": 1, "camera_id": "front_door", "detection_id": 512}
    routes = [r for r in all_routes(create(home.settings())) if "GET" in r.methods and r.response_model]
    assert len(routes) >= 14
    for route in routes:
        body = get(api, route.path.format(**here))
        assert issubclass(route.response_model, BaseModel)
        route.response_model.model_validate(body, strict=False)


def all_routes(app):
    """The routes of the application, also those behind included routers."""
    found, todo = [], list(app.routes)
    while todo:
        route = todo.pop()
        if isinstance(route, APIRoute):
            found.append(route)
        todo += getattr(route, "routes", None) or getattr(getattr(route, "original_router", None), "routes", [])
    return found


def test_every_route_and_parameter_is_described(api):
    document = get(api, "/openapi.json")
    operations = [(path, op) for path, methods in document["paths"].items() for op in methods.values()]
    assert len(operations) >= 30
    for path, operation in operations:
        assert operation["description"] and operation["tags"], path
        undescribed = [
            p["name"] for p in operation.get("parameters", ()) if p["in"] != "header" and not p.get("description")
        ]
        assert not undescribed, (path, undescribed)
    assert "/api/events/{event_id}" in api.get("/docs").text and "<script" not in api.get("/docs").text


def test_every_field_and_example_of_the_documentation_is_described_and_true(home):
    app = create(home.settings())
    document = app.openapi()
    undescribed = [
        f"{name}.{field}"
        for name, schema in document["components"]["schemas"].items()
        for field, value in schema.get("properties", {}).items()
        if not value.get("description")
    ]
    assert not undescribed
    shown = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            where = f"{method} {path}"
            assert operation.get("summary") and operation.get("description"), where
            assert all(p.get("description") for p in operation.get("parameters", ())), where
            shown |= dict.fromkeys(named(operation), where)
    assert {"EventDetail", "EventUpdate", "SystemHealth", "ErrorResponse"} <= set(shown)
    for name, where in shown.items():
        given = document["components"]["schemas"][name].get("examples")
        assert given, f"{where} shows no example of {name}"
        for example in given:
            getattr(models, name).model_validate(example)


def named(operation):
    """The models of an operation's body and answers."""
    contents = [operation.get("requestBody", {}), *operation["responses"].values()]
    schemas = [content["schema"] for c in contents for content in c.get("content", {}).values() if "schema" in content]
    return [schema["$ref"].rpartition("/")[2] for schema in schemas if "$ref" in schema]


def test_every_route_is_in_the_manual(api):
    text = (Path(__file__).parents[2] / "docs/api.md").read_text()
    missing = [
        path for path in get(api, "/openapi.json")["paths"] if path.replace("{filename}", "{filename:path}") not in text
    ]
    assert not missing and "/ws/events" in text


def test_an_event_has_the_fields_of_the_contract_and_utc_times(api):
    wanted = (
        "id,batch_id,camera_id,camera_name,started_at,ended_at,status,risk_score,risk_level,summary,reasoning,evidence,analyzer,"
        "analysis_status,model,prompt_version,revision,reviewed,notes,frame_count,detection_count,detection_ids,objects,thumbnail_url"
    ).split(",")
    event = get(api, "/api/events/1")
    assert wanted == list(event)[: len(wanted)]
    assert event["started_at"].endswith("Z") and len(event["started_at"]) == 27
    assert (event["frame_count"], event["detection_count"], event["objects"]) == (2, 3, {"dog": 1, "person": 1})
    assert event["detection_ids"] == [512, 513, 1024]
    assert [r["type"] for r in event["history"]] == ["event.opened", "event.closed"]
    assert [[d["object_type"] for d in f["detections"]] for f in event["frames"]] == [["person", "dog"], ["person"]]
    assert event["latencies"]["analyzed"] is None and event["latencies"]["closed"] >= event["latencies"]["opened"] >= 0


def test_detections_carry_boxes_in_pixels_of_the_original(api):
    page = get(api, "/api/events/1/detections")
    assert page["count"] == 3 and page["detections"][0]["id"] == 512
    assert [page["detections"][0][f"bbox_{name}"] for name in ("x", "y", "width", "height")] == [0, 5, 20, 30]


# -- lists


def test_newest_come_first_with_totals_of_every_level(api):
    page = get(api, "/api/events")
    assert ids(page) == [8, 7, 4, 3, 1]
    assert (page["count"], page["limit"], page["offset"], page["next_cursor"]) == (5, 50, 0, None)
    assert page["levels"] == {"low": 1, "medium": 1, "high": 2, "critical": 1}
    assert get(api, "/api/events", risk_level="high,critical")["levels"] == page["levels"]


def test_the_inbox_is_by_risk_then_time_and_the_reviewed_come_last(own):
    _home, client = own
    assert ids(get(client, "/api/events", sort="inbox")) == [4, 8, 1, 7, 3]
    client.patch("/api/events/4", json={"reviewed": True}), client.patch("/api/events/7", json={"reviewed": True})
    assert ids(get(client, "/api/events", sort="inbox")) == [8, 1, 3, 7, 4]
    for sort in ("inbox", "newest"):
        whole = ids(get(client, "/api/events", sort=sort))
        assert [ids(get(client, "/api/events", sort=sort, limit=1, offset=n))[0] for n in range(5)] == whole
        seen, cursor = [], None
        while True:
            page = get(client, "/api/events", sort=sort, limit=2, **({"cursor": cursor} if cursor else {}))
            seen, cursor = seen + ids(page), page["next_cursor"]
            if cursor is None:
                break
        assert seen == whole


@pytest.mark.slow
def test_filters_in_any_combination_give_what_filtering_by_hand_gives(api, home):
    everything = get(api, "/api/events", limit=1000)["events"]
    middle = everything[2]["started_at"]
    choices = {
        "camera_id": [None, "front_door", "nobody"],
        "risk_level": [None, "high", "low,critical"],
        "object_type": [None, "person", "unicorn"],
        "start_date": [None, middle],
        "end_date": [None, middle],
        "reviewed": [None, "false", "true"],
        "q": [None, "PERSON at", "%"],
        "sort": ["newest", "inbox"],
    }
    for values in itertools.product(*choices.values()):
        given = {name: value for name, value in zip(choices, values, strict=True) if value is not None}
        page = get(api, "/api/events", **given)
        wanted = [e for e in everything if by_hand(e, given)]
        assert sorted(ids(page)) == sorted(e["id"] for e in wanted), given
        assert page["count"] == len(wanted), given
        levels = [e["risk_level"] for e in everything if by_hand(e, given | {"risk_level": ",".join(LEVELS)})]
        assert page["levels"] == {level: levels.count(level) for level in LEVELS}, given


def by_hand(event, f):
    return (
        event["camera_id"] == f.get("camera_id", event["camera_id"])
        and event["risk_level"] in f.get("risk_level", event["risk_level"]).split(",")
        and f.get("object_type", next(iter(event["objects"]))) in event["objects"]
        and f.get("start_date", "") <= event["started_at"] < f.get("end_date", "9")
        and str(event["reviewed"]).lower() == f.get("reviewed", str(event["reviewed"]).lower())
        and f.get("q", "").lower() in f"{event['summary']}\n{event['reasoning']}".lower()
    )


def test_a_day_alone_means_the_whole_day_and_a_zone_is_understood(api, home):
    at = from_microseconds(home.at - 3600 * S)
    assert 7 in ids(get(api, "/api/events", start_date=f"{at:%Y-%m-%d}", end_date=f"{at:%Y-%m-%d}"))
    there = (at + timedelta(hours=2)).replace(tzinfo=None).isoformat() + "+02:00"
    assert ids(get(api, "/api/events", end_date=there, start_date=iso(at - timedelta(seconds=1)))) == []
    assert 7 in ids(get(api, "/api/events", start_date=there))


@pytest.mark.parametrize(
    "wrong",
    [
        "limit=0", "limit=1001", "limit=x", "offset=-1", "offset=99999999999999999999", "sort=oldest", "risk_level=huge", "start_date=soon",
        "end_date=2026-13-01", "reviewed=perhaps", "cursor=n.1", "cursor=i.1.2.3.4", "cursor=%00", "start_date=0001-01-01T00:00:00%2B23:59",
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_with_its_place(api, wrong):
    answer = api.get(f"/api/events?{wrong}")
    if "0001-01-01" in wrong:
        assert answer.status_code == 200  # before all time is a fine beginning
        return
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"][-1 if "risk" not in wrong else 1] == wrong.partition("=")[0]


@pytest.mark.parametrize("id", [999, 0, -1, 2**63, 10**30])
def test_an_unknown_event_is_404_in_the_words_of_the_contract(api, id):
    assert get(api, f"/api/events/{id}", 404) == {"detail": f"Event with id {id} not found"}
    assert api.patch(f"/api/events/{id}", json={"reviewed": True}).status_code == 404
    assert get(api, f"/api/events/{id}/detections", 404)["detail"].endswith("not found")


def test_a_merged_event_names_what_it_went_into(tmp_path):
    home = Home(tmp_path).open()
    first, late = home.picture("Door", 200, "person"), home.picture("Door", 169, "person")
    home.picture("Door", 185, "person")  # arrives last, and bridges the gap between the two
    with serve(home.settings()) as served, served.client() as client:
        assert get(client, f"/api/events/{late}", 404) == {
            "detail": f"Event with id {late} not found",
            "merged_into": first,
        }
        assert ids(get(client, "/api/events")) == [first] and get(client, "/api/events")["count"] == 1
        assert client.patch(f"/api/events/{late}", json={"reviewed": True}).json()["merged_into"] == first
    balanced(home.record)
    home.close()


def test_detections_are_listed_and_counted_under_every_filter(api):
    everything = get(api, "/api/detections", limit=1000)
    assert everything["count"] == len(everything["detections"]) == 8
    for camera, kind, sure in itertools.product([None, "front_door"], [None, "person", "bear"], [None, 0.85, 0.8501]):
        given = {
            k: v for k, v in {"camera_id": camera, "object_type": kind, "min_confidence": sure}.items() if v is not None
        }
        page = get(api, "/api/detections", **given)
        wanted = [
            d for d in everything["detections"]
            if d["camera_id"] == (camera or d["camera_id"]) and d["object_type"] == (kind or d["object_type"]) and d["confidence"] >= (sure or 0)
        ]  # fmt: skip
        assert (page["detections"], page["count"]) == (wanted, len(wanted)), given
    assert get(api, "/api/detections", min_confidence="nan", code=422)["detail"]


def test_totals_by_level_and_camera(api):
    stats = get(api, "/api/events/stats")
    assert stats["total_events"] == 5 and stats["events_by_risk_level"]["high"] == 2
    assert {c["camera_id"]: c["event_count"] for c in stats["events_by_camera"]} == {"driveway": 2, "front_door": 3}
    assert get(api, "/api/events/stats", start_date="2100-01-01")["total_events"] == 0


def test_the_heat_strip_tells_events_risk_and_gaps_in_the_pictures(api, home):
    strip = get(api, "/api/timeline", hours=24, tz_offset_minutes=330)
    begin = datetime.fromisoformat(strip["from"])
    assert (begin.minute, strip["step_seconds"], {len(c["cells"]) for c in strip["cameras"]}) == (30, 3600, {24})
    door = next(c["cells"] for c in strip["cameras"] if c["camera_id"] == "front_door")
    assert sum(c["events"] for c in door) == 3 and sum(c["pictures"] for c in door) == 4
    assert door[-1] == {"events": 1, "max_risk": 70, "pictures": 1} or door[-1]["events"] <= 1
    assert door[0] == {"events": 0, "max_risk": None, "pictures": 0}
    assert {len(c["cells"]) for c in get(api, "/api/timeline", hours=168, step=21600)["cameras"]} == {28}


# -- review


def test_reviewed_and_notes_are_set_cleared_and_left_alone(own):
    _, client = own
    assert client.patch("/api/events/1", json={"reviewed": True, "notes": "neighbour"}).json()["notes"] == "neighbour"
    assert client.patch("/api/events/1", json={}).json()["reviewed"] is True
    assert client.patch("/api/events/1", json={"reviewed": False}).json()["notes"] == "neighbour"
    changed = client.patch("/api/events/1", json={"notes": None}).json()
    assert (changed["notes"], changed["reviewed"]) == (None, False)
    for wrong in ({"reviewed": "perhaps"}, {"notes": 5}, {"note": "typo"}, {"notes": "x" * 10_001}, [], "x"):
        assert client.patch("/api/events/1", json=wrong).status_code == 422


def test_all_of_a_level_are_marked_at_once_and_the_undo_knows_which(own):
    _, client = own
    assert client.patch("/api/events", json={"reviewed": True, "risk_level": "high"}).json() == {
        "count": 2,
        "ids": [1, 8],
    }
    assert client.patch("/api/events", json={"reviewed": True, "risk_level": "high"}).json() == {"count": 0, "ids": []}
    assert client.patch("/api/events", json={"reviewed": False, "ids": [8, 999]}).json() == {"count": 1, "ids": [8]}
    assert sorted(ids(get(client, "/api/events", reviewed="false"))) == [3, 4, 7, 8]
    assert client.patch("/api/events", json={"reviewed": True}).status_code == 422


# -- cameras


def test_cameras_tell_what_they_saw_last_and_whether_they_are_silent(own):
    _home, client = own
    listed = get(client, "/api/cameras")
    assert [c["id"] for c in listed["cameras"]] == ["driveway", "front_door"] and listed["count"] == 2
    driveway, door = listed["cameras"]
    assert (driveway["silent"], driveway["status"]) == (True, "offline")
    assert (door["silent"], door["status"], door["name"]) == (False, "online", "Front Door")
    assert get(client, "/api/cameras", status="offline")["count"] == 1
    assert client.get(door["last_image_url"]).content == client.get("/api/cameras/front_door/snapshot").content
    assert get(client, "/api/cameras", 422, status="asleep")
    assert get(client, "/api/cameras/unknown", 404)["detail"] == "Camera with id unknown not found"


def test_a_camera_that_always_sleeps_at_night_is_not_silent_in_the_morning(tmp_path):
    home = Home(tmp_path).open()
    for day in range(6, 0, -1):
        for hour in range(12):
            home.picture("Porch", day * 86_400 - hour * 3600)
    with serve(home.settings()) as served, served.client() as client:
        assert get(client, "/api/cameras/porch")["silent"] is False  # twelve hours without a picture, as every night
    assert mark_silent_cameras(home.record, home.at) == []
    home.close()


def test_a_silent_camera_is_offline_in_the_table_too_until_its_next_picture(tmp_path):
    home = Home(tmp_path).open()
    status = "SELECT status FROM cameras WHERE id = 'porch'"
    home.picture("Porch", 3 * 86_400)
    assert mark_silent_cameras(home.record, home.at - 3 * 86_400 * S + SILENT_NEW) == []
    changes = home.record.db.total_changes
    assert mark_silent_cameras(home.record, home.at - 3 * 86_400 * S + SILENT_NEW + 1) == ["porch"]
    assert (
        mark_silent_cameras(home.record, home.at) == [] and home.record.db.total_changes == changes + 1
    )  # written once
    assert home.record.one(status) == ("offline",)
    home.picture("Porch", 0)
    assert home.record.one(status) == ("online",)
    home.close()


@pytest.mark.slow
def test_the_pipeline_notes_who_is_silent_and_describes_its_graph(tmp_path):
    home = story(Home(tmp_path / "home"))
    home.close()
    folders = {"HEARTHWATCH_DATA_DIR": str(home.data), "FOSCAM_BASE_PATH": str(home.base)}
    p = Pipeline(tmp_path / "flow", batch="window_seconds = 10", **folders)
    p.data, p.base, p.path = home.data, home.base, home.path
    try:
        p.start().until(
            lambda: (
                p.rows("SELECT id, status FROM cameras ORDER BY id")
                == [("driveway", "offline"), ("front_door", "online")]
                and p.rows("SELECT 1 FROM meta WHERE key = 'graph'")  # discovery may be the first of the two
            )
        ).stop()
    finally:
        p.kill()
    with serve(home.settings()) as served, served.client() as client:
        assert get(client, "/api/system/config")["batch_window_seconds"] == 10
        assert [node["name"] for node in get(client, "/api/system/graph")["nodes"]] == [
            "files",
            "detect",
            "batch",
            "incident",
        ]


def test_a_camera_is_made_before_its_first_picture(own):
    home, client = own
    made = client.post("/api/cameras", json={"folder_path": f"{home.base}/Side-Gate #1", "notes": "by the bins"})
    assert made.status_code == 201
    assert {k: made.json()[k] for k in ("id", "name", "folder_path", "status", "notes")} == {
        "id": "side_gate_1", "name": "Side-Gate #1", "folder_path": "Side-Gate #1", "status": "offline", "notes": "by the bins",
    }  # fmt: skip
    assert client.post("/api/cameras", json={"name": "side gate 1"}).status_code == 409
    assert home.picture("Side-Gate #1", 1, "person") and get(client, "/api/cameras/side_gate_1")["events_today"] >= 0
    for wrong in (
        {},
        {"name": ""},
        {"name": " "},
        {"folder_path": "../x"},
        {"folder_path": "/etc/passwd"},
        {"folder_path": "a/b"},
        {"name": "!!!"},
        {"name": "a\0b"},
    ):
        assert client.post("/api/cameras", json=wrong).status_code == 422, wrong


def test_a_camera_is_renamed_and_its_zones_are_set(own):
    _, client = own
    zone = {"name": "street", "kind": "public", "points": [[0, 0], [1, 0], [1, 0.5]]}
    changed = client.patch("/api/cameras/front_door", json={"name": "Main entrance", "zones": [zone]}).json()
    assert (changed["name"], changed["zones"]) == ("Main entrance", [zone])
    assert get(client, "/api/events/1")["camera_name"] == "Main entrance"
    assert client.patch("/api/cameras/front_door", json={"notes": "x"}).json()["name"] == "Main entrance"
    assert client.patch("/api/cameras/front_door", json={"folder_path": "Driveway"}).status_code == 422
    assert (
        client.patch(
            "/api/cameras/front_door", json={"zones": [{"name": "x", "kind": "public", "points": [[0, 2]]}]}
        ).status_code
        == 422
    )
    assert client.patch("/api/cameras/nobody", json={"name": "x"}).status_code == 404


def test_all_zones_of_a_camera_are_replaced_and_0_1s_ignored_ones_still_set(own):
    _, client = own
    url, corners = "/api/cameras/front_door", [[0, 0], [1, 0], [1, 0.5]]
    street, flag, tree = (
        {"name": name, "kind": kind, "points": corners}
        for name, kind in (("street", "public"), ("flag", "ignore"), ("tree", "ignore"))
    )
    assert client.put(f"{url}/zones", json=[street, flag]).json() == get(client, url)
    assert get(client, url)["zones"] == [street, flag]
    ignored = {"name": "tree", "points": corners}
    assert client.patch(url, json={"ignore_zones": [ignored]}).json()["zones"] == [street, tree]
    assert client.patch(url, json={"ignore_zones": [ignored], "zones": [flag]}).json()["zones"] == [tree]
    assert client.patch(url, json={"ignore_zones": None}).json()["zones"] is None
    assert client.put(f"{url}/zones", json=[flag]).json()["zones"] == [flag]
    assert client.put(f"{url}/zones", json=[]).json()["zones"] is None
    assert client.put("/api/cameras/nobody/zones", json=[]).status_code == 404
    for wrong, word in (
        (street | {"kind": "garden"}, "'public', 'private'"),
        (street | {"points": corners[:2]}, "at least 3"),
        (street | {"points": [[0, 0], [1, 0], [1, 1.5]]}, "less than or equal to 1"),
        ({"kind": "public", "points": corners}, "required"),
    ):
        answer = client.put(f"{url}/zones", json=[flag, wrong])
        assert answer.status_code == 422 and word in answer.text and '"body",1' in answer.text
    assert client.put(f"{url}/zones", json=[street] * 101).status_code == 422
    assert get(client, f"{url}/zones/suggestions") == {"zones": []}
    assert client.get("/api/cameras/nobody/zones/suggestions").status_code == 404


def test_zones_written_by_hand_that_cannot_be_read_are_none_and_break_no_route(own):
    home, client = own
    url, flag = "/api/cameras/front_door", {"name": "flag", "points": [[0, 0], [1, 0], [1, 0.5]]}
    not_a_number = '[{"kind": "public", "points": [[0, 0], [1, 1], [NaN, 1]]}]'
    for written in ("no JSON", '"a"', "{}", "7", "[7]", '[{"kind": "garden"}]', not_a_number, "[" * 100_000, b"\xff"):
        home.record.execute("UPDATE cameras SET zones = ? WHERE id = 'front_door'", written)
        assert {c["id"]: c["zones"] for c in get(client, "/api/cameras")["cameras"]}["front_door"] == [], written
        assert get(client, url)["zones"] == [] and get(client, f"{url}/zones/suggestions") == {"zones": []}
        assert client.patch(url, json={"ignore_zones": [flag]}).json()["zones"] == [flag | {"kind": "ignore"}]


def test_a_zone_written_by_hand_without_a_name_or_with_half_a_character_in_it_is_shown(own):
    home, client = own
    corners = {"kind": "public", "points": [[0, 0], [1, 0], [1, 0.5]]}
    text = json.dumps([corners, corners | {"name": "a\ud800"}])
    home.record.execute("UPDATE cameras SET zones = ? WHERE id = 'front_door'", text)
    assert [zone["name"] for zone in get(client, "/api/cameras/front_door")["zones"]] == ["zone 1", "a?"]


def test_zones_are_previewed_over_the_last_week_and_nothing_is_saved(own):
    home, client = own
    url = "/api/cameras/front_door"
    everything = {"name": "all", "kind": "ignore", "points": [[0, 0], [1, 0], [1, 1], [0, 1]]}
    with ThreadPoolExecutor(3) as pool:
        answers = [*pool.map(lambda _: client.post(f"{url}/zones/preview", json=[everything]), range(3))]
    (answer,) = [answer.json() for answer in answers if answer.status_code == 200]
    assert [answer.text for answer in answers if answer.status_code == 503] == [
        '{"detail":"another preview is being computed: try again"}'
    ] * 2
    models.ZonesPreview.model_validate(answer, strict=False)
    (events,) = home.record.one("SELECT count(*) FROM events WHERE camera_id = 'front_door' AND status <> 'merged'")
    assert answer["counts"] == {"vanishes": events} and len(answer["events"]) == events > 0
    assert answer["after"]["incidents"] == 0 < answer["before"]["incidents"] <= events
    assert all(e["after"] is None and e["why"][0].startswith("in ignored zone all (") for e in answer["events"])
    assert get(client, f"/api/events/{answer['events'][0]['event_id']}")["thumbnail_url"] is not None
    assert get(client, url)["zones"] is None
    assert client.post(f"{url}/zones/preview", json=[]).json()["counts"] == {}
    assert client.post("/api/cameras/nobody/zones/preview", json=[]).status_code == 404
    assert client.post(f"{url}/zones/preview", json=[everything | {"kind": "garden"}]).status_code == 422


def test_a_removed_camera_is_forgotten_its_uploads_stay_and_are_not_taken_in_again(own):
    home, client = own
    home.waiting("Front Door")
    uploads = sorted(home.base.rglob("*.jpg"))
    thumbnail = get(client, "/api/events/1")["thumbnail_url"]
    assert client.get(thumbnail).status_code == 200
    keys = {tuple(row) for row in home.record.rows("SELECT path, mtime_ns, size FROM frames")}
    assert client.delete("/api/cameras/front_door").status_code == 204
    assert client.delete("/api/cameras/front_door").status_code == 404
    assert [c["id"] for c in get(client, "/api/cameras")["cameras"]] == ["driveway"]
    assert ids(get(client, "/api/events")) == [4, 3] and get(client, "/api/events")["count"] == 2
    assert get(client, "/api/detections")["count"] == 2 and client.get(thumbnail).status_code == 404
    assert sorted(home.base.rglob("*.jpg")) == uploads and home.ledger.find_known(keys) == keys
    balanced(home.record)
    home.batching.due = -1
    event = home.picture("Front Door", 0, "person")
    assert ids(get(client, "/api/events", camera_id="front_door")) == [event]
    balanced(home.record)


def move(home, old, new):
    """Move a picture as `mv` does, and take it in as its duplicate."""
    (home.base / new).parent.mkdir(parents=True, exist_ok=True)
    (home.base / old).rename(home.base / new)
    found = (home.base / new).stat()
    folder = new.partition("/")[0]
    home.ledger.discover(
        [
            FoundFile(
                camera_id(folder), folder, new, found.st_mtime_ns, found.st_size, found.st_mtime_ns // 1000, home.at
            )
        ],
        home.at,
    )
    entry = home.ledger.todo(0, 1)[0]
    ready = DuplicateFinder(home.record, home.base).take(deque([(entry, open_picture(home.base / new))]), 1)
    frame = replace(entry.frame, opened=ready[0][1])
    home.batching.write([Detected(frame, 64, 48, (), frame.opened.error)])
    return home.record.one("SELECT error FROM frames WHERE id = ?", frame.id)[0]


def test_what_was_moved_is_shown_from_where_it_is(own):
    home, client = own
    frame = get(client, "/api/events/1")["frames"][0]
    content = client.get(frame["image_url"]).content
    thumbnail = client.get(frame["thumbnail_url"]).content
    assert move(home, frame["path"], "Front Door/archive/1.jpg") == "duplicate of 1"
    assert move(home, "Front Door/archive/1.jpg", "Entrance/1.jpg") == "duplicate of 1"
    shutil.rmtree(home.data / "thumbnails")
    assert client.get(frame["image_url"]).content == content
    assert client.get(frame["image_url"].partition("?")[0]).content == content
    assert client.get("/api/media/cameras/front_door/archive/1.jpg").content == content
    assert client.get(frame["thumbnail_url"]).content == thumbnail
    assert client.get(f"/api/detections/{frame['detections'][0]['id']}/image").content == thumbnail
    newest = home.record.one(
        "SELECT path FROM frames WHERE camera_id = 'front_door' ORDER BY captured_at DESC LIMIT 1"
    )[0]
    content = (home.base / newest).read_bytes()
    move(home, newest, "Entrance/2.jpg")
    assert client.get("/api/cameras/front_door/snapshot").content == content
    home.picture("Front Door", 3, "person", name=Path(frame["path"]).name)  # another picture took the first one's place
    assert client.get(frame["image_url"]).content != (home.base / frame["path"]).read_bytes()
    (home.base / "Entrance/1.jpg").unlink()
    gone = client.get(frame["image_url"])
    assert (gone.status_code, gone.json()["detail"]["error"]) == (404, "a newer upload replaced this file")


def test_a_renamed_folder_is_declared_the_same_camera(own):
    home, client = own
    move(home, get(client, "/api/events/1")["frames"][0]["path"], "Front Gate/1.jpg")
    home.picture("Front Gate", 5, "bear")
    home.waiting("Front Gate")
    events = {event["id"] for event in get(client, "/api/events")["events"]}
    into = {"into": "front_door"}
    merge = "/api/cameras/front_gate/merge"
    assert client.post(merge, json={"into": "front_gate"}).status_code == 422
    assert client.post(merge, json={}).status_code == 422
    assert client.post(merge, json={"into": "unknown"}).json()["detail"] == "Camera with id unknown not found"
    assert client.post("/api/cameras/unknown/merge", json=into).status_code == 404
    for _ in range(2):  # the second call says the same
        merged = client.post(merge, json=into)
        assert (merged.status_code, merged.json()["id"], merged.json()["folder_path"]) == (
            200,
            "front_door",
            "Front Door",
        )
    assert (
        client.post(merge, json={"into": "driveway"}).json()["detail"] == "Camera front_gate was merged into front_door"
    )
    assert client.post("/api/cameras/driveway/merge", json={"into": "front_gate"}).status_code == 409
    assert client.post("/api/cameras", json={"name": "Front Gate"}).status_code == 409
    assert [c["id"] for c in get(client, "/api/cameras")["cameras"]] == ["driveway", "front_door"]
    assert {event["id"] for event in get(client, "/api/events")["events"]} == events
    for frame in get(client, f"/api/events/{max(events)}")["frames"]:  # its own folder's, under either name
        assert client.get(frame["image_url"]).status_code == 200
        assert client.get(frame["image_url"].replace("front_door", "front_gate")).status_code == 200
    assert home.record.one("SELECT count(*) FROM frames WHERE camera_id = 'front_gate'") == (0,)
    assert get(client, "/api/detections", camera_id="front_gate")["count"] == 0
    balanced(home.record)
    home.batching.write([Detected(home.ledger.todo(0, 1)[0].frame, 1, 1, (), DeadLetter("decode", "it waited"))])
    home.picture("Front Gate", 1, "person")  # its folder delivers to the other camera
    newest = home.record.one("SELECT camera_id, path FROM frames ORDER BY id DESC LIMIT 1")
    assert newest[0] == "front_door" and newest[1].startswith("Front Gate/")
    assert [c["folder_path"] for c in get(client, "/api/cameras")["cameras"]] == ["Driveway", "Front Door"]
    assert client.delete("/api/cameras/front_door").status_code == 204
    home.picture("Front Gate", 0, "person")
    assert [c["id"] for c in get(client, "/api/cameras")["cameras"]] == ["driveway", "front_gate"]
    balanced(home.record)


def balanced(record):
    """What is true at every commit; and every counter is what counting gives."""
    counters, one = record.counters(), lambda sql: record.one(sql)[0]
    states = {"settled": 0, "discovered": 0, "quarantined": 0} | dict(
        record.rows("SELECT state, count(*) FROM frames GROUP BY 1")
    )
    assert {name: counters[name] for name in states} == states
    assert counters["detections"] == one("SELECT count(*) FROM detections")
    assert counters["events"] == one("SELECT count(*) FROM events WHERE status <> 'merged'")
    assert (
        one(
            "SELECT count(*) FROM frames f WHERE (event_id IS NOT NULL) <> EXISTS (SELECT 1 FROM detections WHERE frame_id = f.id)"
        )
        == 0
    )
    assert (
        one(
            "SELECT count(*) FROM detections d JOIN frames f ON f.id = d.frame_id WHERE d.event_id IS NOT f.event_id OR f.state <> 'settled'"
        )
        == 0
    )
    assert one("SELECT count(*) FROM frames f JOIN events e ON e.id = f.event_id WHERE e.status = 'merged'") == 0
    assert record.rows("SELECT * FROM pictures ORDER BY 1, 2") == record.rows(
        "SELECT coalesce(camera_id, ''), captured_at / 900000000, count(*) FROM frames GROUP BY 1, 2 ORDER BY 1, 2"
    )
    assert record.rows("SELECT * FROM detection_counts ORDER BY 1, 2, 3") == record.rows(
        "SELECT detected_at / 86400000000, camera_id, object_type, count(*) FROM detections GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
    )
    assert record.rows("SELECT * FROM facets ORDER BY 1, 2, 3") == record.rows(
        "SELECT '', started_at, id, camera_id, risk_level, reviewed FROM events WHERE status <> 'merged' AND risk_level IS NOT NULL UNION ALL "
        "SELECT key, started_at, events.id, camera_id, risk_level, reviewed FROM events, json_each(objects) WHERE status <> 'merged' AND "
        "risk_level IS NOT NULL ORDER BY 1, 2, 3"
    )
    assert record.rows("SELECT * FROM event_counts ORDER BY 1, 2, 3, 4, 5") == record.rows(
        "SELECT object_type, started_at / 86400000000, camera_id, risk_level, reviewed, count(*) FROM facets GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5"
    )
    check_conservation(record)


# -- looking back


def test_a_search_finds_by_words_and_says_what_it_took_as_filters(own):
    _, client = own
    found = get(client, "/api/search", q="dogs person")
    assert (ids(found), found["count"], found["filters"], found["q"]) == ([1], 1, [], "dogs person")
    assert found["events"] == get(client, "/api/events", q="dog")["events"]
    client.patch("/api/events/4", json={"notes": "the neighbour's bears"})
    found = get(client, "/api/search", q="bear driveway Neighbour")
    assert ids(found) == [4] and [f["text"] for f in found["filters"]] == ["driveway"]
    assert found["filters"][0] | {"kind": "camera", "camera_ids": ["driveway"], "hours": None} == found["filters"][0]
    client.patch("/api/cameras/front_door", json={"name": "Porch"})
    assert (
        ids(get(client, "/api/search", q="person porch"))
        == [8, 1]
        == ids(get(client, "/api/search", q="person", camera_id="front_door"))
    )
    first = get(client, "/api/search", limit=2)
    second = get(client, "/api/search", limit=3, cursor=first["next_cursor"])
    assert (
        ids(first) + ids(second) == ids(get(client, "/api/events"))
        and second["next_cursor"] is None
        and first["count"] == 5
    )
    assert ids(get(client, "/api/search", q="last night and 1990-01-01")) == []
    assert get(client, "/api/search", cursor="n.1.1", code=422)["detail"][0]["loc"] == ["query", "cursor"]


def test_all_pictures_are_listed_by_time(api, home):
    every = get(api, "/api/frames")
    settled = home.record.rows("SELECT id FROM frames WHERE state = 'settled' ORDER BY captured_at DESC, id DESC")
    assert ([f["id"] for f in every["frames"]], every["count"]) == ([id for (id,) in settled], 7)
    pages, cursor = [], None
    while True:
        page = get(api, "/api/frames", camera_id="driveway", limit=2, **({"cursor": cursor} if cursor else {}))
        pages, cursor = pages + page["frames"], page["next_cursor"]
        if not cursor:
            break
    assert [f["event_id"] for f in pages] == [None, 4, 3] and {f["camera_id"] for f in pages} == {"driveway"}
    assert api.get(pages[0]["image_url"]).headers["content-type"] == "image/jpeg" and pages[1]["detections"]
    one = get(
        api, "/api/frames", camera_id="driveway", start_date=pages[1]["captured_at"], end_date=pages[0]["captured_at"]
    )
    assert [f["id"] for f in one["frames"]] == [pages[1]["id"]] and get(api, "/api/frames", camera_id="none")[
        "frames"
    ] == []
    assert get(api, "/api/frames", cursor=every["next_cursor"] or "s.1", code=422)


def test_a_month_says_what_its_days_had(api, home):
    month = get(api, "/api/calendar")
    assert len(month["days"]) in (28, 29, 30, 31) and month["days"][0]["date"] == f"{month['month']}-01"
    months = {iso(from_microseconds(home.at - hours * 3600 * S))[:7] for hours in (0, 2)} | {month["month"]}
    days = [day for name in sorted(months) for day in get(api, "/api/calendar", month=name)["days"]]
    for key, n in {"incidents": 5, "unreviewed": 5, "events": 5, "unreviewed_events": 5, "pictures": 8}.items():
        assert sum(day[key] for day in days) == n, key
    some = [day for name in months for day in get(api, "/api/calendar", month=name, camera_id="driveway")["days"]]
    assert sum(day["events"] for day in some) == 2 and sum(day["pictures"] for day in some) == 4
    for day in days:
        assert get(api, "/api/events", start_date=day["start"], end_date=day["end"])["count"] == day["events"]
    assert get(api, "/api/calendar", month="2026-13", code=422)


# -- quarantine, export, system


def test_a_bad_picture_is_listed_with_its_reason_and_taken_in_again(own):
    home, client = own
    (bad,) = get(client, "/api/system/quarantine")["frames"]
    assert (bad["stage"], bad["reason"], bad["attempt"], bad["retried"]) == ("decode", "truncated", 1, False)
    answer = client.post(f"/api/system/quarantine/{bad['id']}/retry").json()
    assert answer["retry_of"] == bad["id"] and home.ledger.todo(0, 9)[0].frame.id == answer["frame_id"]
    assert get(client, "/api/system/quarantine")["frames"][0]["retried"] is True
    assert client.post("/api/system/quarantine/1/retry").status_code == 409
    assert client.post("/api/system/quarantine/999/retry").status_code == 404
    balanced(home.record)


def test_the_export_has_every_event_and_no_formula(own):
    _home, client = own
    client.patch("/api/events/1", json={"notes": '=HYPERLINK("http://evil")'})
    client.patch("/api/events/3", json={"notes": '\t@SUM(A1), "quoted"'})
    answer = client.get("/api/events/export")
    assert "attachment" in answer.headers["content-disposition"] and answer.headers["content-type"].startswith(
        "text/csv"
    )
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["id"] for row in rows] == ["8", "7", "4", "3", "1"]
    assert rows[4]["notes"] == '\'=HYPERLINK("http://evil")' and rows[3]["notes"] == '\'\t@SUM(A1), "quoted"'
    assert len(list(csv.DictReader(io.StringIO(client.get("/api/events/export?camera_id=driveway").text)))) == 2


def test_the_first_line_tells_who_is_needed_and_what_the_day_was(api, home):
    status = get(api, "/api/status")
    assert status["needs_person"] == {"event_id": 4, "level": "critical", "camera_id": "driveway"}
    assert (status["to_review"], status["cameras_online"], status["cameras_total"]) == (5, 1, 2)
    assert status["llm"] == "disabled" and status["watching"] == str(home.base)


def test_system_routes(api):
    stats = get(api, "/api/system/stats")
    assert (stats["total_cameras"], stats["total_events"], stats["total_detections"]) == (2, 5, 8)
    assert stats["ledger"] == {"files": 8, "settled": 7, "discovered": 0, "quarantined": 1}
    assert len(stats["images_per_s_history"]) == 60 and [s["name"] for s in stats["stages"]] == [
        "detect",
        "open",
        "close",
        "analyze",
    ]
    assert get(api, "/api/system/config")["app_name"] == "Hearthwatch"
    assert set(get(api, "/api/system/gpu").values()) == {None}


def test_the_graph_and_its_options_are_those_of_the_flow_file_that_ran(own):
    home, client = own
    assert get(client, "/api/system/graph") == {"nodes": [], "edges": [], "options": {}}
    assert get(client, "/api/system/config")["batch_window_seconds"] == 90
    flow = 'extends = "default"\n[settings]\nretention_days = 5\n[batch]\nwindow_seconds = 10\n'
    description = Graph.from_toml(flow).describe()
    store_description(home.record, description)
    shown = get(client, "/api/system/graph")
    assert shown == description and models.GraphDescription.model_validate(shown)
    assert {"from": "batch", "port": None, "to": "analyze", "durable": True} in shown["edges"]
    config = get(client, "/api/system/config")
    assert (config["batch_window_seconds"], config["batch_idle_timeout_seconds"], config["retention_days"]) == (
        10,
        30,
        5,
    )
    assert get(client, "/api/system/stats")["disk"]["retention_days"] == 5


def test_settings_are_listed_and_only_a_notifier_is_tested(own):
    home, client = own
    answer = get(client, "/api/system/settings")
    models.SettingsInForce.model_validate(answer, strict=False)
    sizes = {row["name"]: row for row in answer["settings"]}
    assert sizes["FOSCAM_BASE_PATH"]["value"] == str(home.base) and answer["data_bytes"] > 100_000
    store_description(home.record, Graph.from_toml("extends = 'default'").describe())
    assert client.post("/api/system/notifiers/batch/test").status_code == 404
    assert client.post("/api/system/notifiers/--help/test").status_code == 404


def test_samples_of_the_gpu_come_oldest_first(own):
    home, client = own
    home.record.many(
        "INSERT INTO gpu_stats(recorded_at, gpu_utilization, memory_used) VALUES (?,?,?)",
        [(n * S, n, 2**33) for n in range(1, 6)],
    )
    assert get(client, "/api/system/gpu")["gpu_utilization"] == 5
    history = get(client, "/api/system/gpu/history", limit=3)
    assert [s["gpu_utilization"] for s in history["samples"]] == [3, 4, 5] and history["count"] == 3
    assert get(client, "/api/system/gpu/history", since="1970-01-01T00:00:05Z")["count"] == 1


def test_a_pipeline_that_lives_and_gets_nothing_done_is_stalled(own, monkeypatch):
    home, client = own

    def pipeline():
        return get(client, "/api/system/health")["services"]["pipeline"]

    home.waiting("Front Door")
    home.beat()
    wait_for(lambda: pipeline()["details"]["backlog"] == 1)
    assert (pipeline()["status"], pipeline()["details"]["stalled"]) == ("healthy", False)
    monkeypatch.setattr(pulse, "STALLED", 0)  # a minute has passed
    wait_for(lambda: pipeline()["details"]["stalled"])
    assert pipeline()["status"] == "unhealthy" and "none was processed" in pipeline()["message"]
    wait_for(lambda: get(client, "/api/status")["stalled"])


def test_metrics_balance_with_the_record(own):
    home, client = own
    home.picture("Front Door", 0, "person")
    text = client.get("/metrics").text
    for line in (
        'hearthwatch_ledger{state="settled"} 8.0', 'hearthwatch_dead_letters{stage="decode"} 1.0', 'hearthwatch_events{level="critical"} 1.0',
        "hearthwatch_pictures_total 9.0", "hearthwatch_detect_seconds_count 0.0", "hearthwatch_up 1.0",
    ):  # fmt: skip
        assert line in text, line


@pytest.mark.slow
def test_the_steps_times_are_the_pipelines_own_and_outlive_the_server(tmp_path):
    """They begin anew with the pipeline, not with the server; each histogram counts what it says."""
    p = Pipeline(
        tmp_path, options="boxes = 1", batch="window_seconds = 1\nidle_timeout_seconds = 1\nlateness_seconds = 0"
    )
    settings = load(None, {"FOSCAM_BASE_PATH": str(p.base), "HEARTHWATCH_DATA_DIR": str(p.data)})

    def counts():
        with serve(settings) as served, served.client() as client:
            return dict(re.findall(r"hearthwatch_(\w+)_seconds_count (\d+)", client.get("/metrics").text))

    def beaten(pictures, closed):
        told = "json_extract(counters, '$.seconds.detect.le.+Inf'), json_extract(counters, '$.seconds.close.le.+Inf')"
        return p.rows(f"SELECT {told} FROM heartbeat WHERE pid = ?", p.pid) == [(pictures, closed)]

    try:
        for second in (1, 1.5, 30):
            p.upload("front", taken(1_700_000_000 + second))
        p.start().until_quiet(3).until(lambda: beaten(3, 2)).stop()
        first = counts()
        assert {step: int(first[step]) for step in ("wait", "decode", "detect")} == {
            "wait": 3,
            "decode": 3,
            "detect": 3,
        }
        assert first["open"] == first["close"] == "2" and int(first["decide"]) >= 1
        assert first["verdict"] == first["draw"] == "0"  # no language model, no thumbnails in this graph
        assert counts() == first
        p.upload("front", taken(1_700_000_060)).start().until_quiet(4).until(lambda: beaten(1, 1)).stop()
        assert counts()["detect"] == "1"
    finally:
        p.kill()


@pytest.mark.parametrize(("seconds", "at_most"), [(0.0, "0.001"), (0.001, "0.001"), (0.0011, "0.0025"), (99.0, "+Inf")])
def test_a_value_is_counted_in_every_bucket_that_it_fits(seconds, at_most):
    timings = StepHistograms()
    timings.add("detect", [seconds])
    told = timings.summary("see")["detect"]
    bounds = list(told["le"])
    assert [bound for bound in bounds if told["le"][bound]] == bounds[bounds.index(at_most) :]
    assert told["sum"] == seconds and "verdict" not in timings.summary("see")


# -- without a record, a pipeline, a port


GETS = (
    "/api/cameras /api/events /api/events?sort=inbox /api/detections /api/events/stats /api/events/export /api/timeline /api/system/health "
    "/api/system/gpu /api/system/gpu/history /api/system/config /api/system/graph /api/system/stats /api/system/quarantine /api/status /metrics /health /"
).split()


def test_before_there_is_a_record_everything_is_empty_and_then_it_is_there(tmp_path):
    home = Home(tmp_path)
    with serve(home.settings()) as served, served.client() as client:
        for url in GETS:
            assert client.get(url).status_code == 200, url
        health = get(client, "/api/system/health")
        assert (health["status"], health["services"]["pipeline"]["status"]) == ("degraded", "unhealthy")
        assert not home.path.exists()
        story(home)
        assert get(client, "/api/events")["count"] == 5
    home.close()


def test_a_record_that_is_broken_is_told_and_comes_back(own):
    home, client = own
    files = {file: file.with_name(f"{file.name}.away") for file in home.data.glob("hearthwatch.db*")}
    for file, away in files.items():
        file.rename(away)
    home.path.write_text("no database " * 100)
    answer = get(client, "/api/events", 503)
    assert "record cannot be used" in answer["detail"]
    wait_for(lambda: get(client, "/api/system/health")["services"]["database"]["status"] == "unhealthy")
    assert get(client, "/api/system/health")["status"] == "unhealthy"
    assert "hearthwatch_up 0.0" in client.get("/metrics").text
    for file, away in files.items():
        away.rename(file)
    assert get(client, "/api/events")["count"] == 5


def test_a_locked_record_can_be_read(own):
    home, client = own
    other = sqlite3.connect(home.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert get(client, "/api/events")["count"] == 5
    other.execute("ROLLBACK")
    other.close()


@pytest.mark.slow
def test_the_server_says_where_it_is_and_stops_with_listeners(tmp_path):
    home = story(Home(tmp_path))
    home.close()
    port = free_port()
    server = start(home, HEARTHWATCH_API_PORT=str(port))
    try:
        assert server.stdout.readline() == f"Hearthwatch is at http://127.0.0.1:{port}\n"
        import httpx

        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False)
        wait_for(lambda: answers(client))
        second = start(home, HEARTHWATCH_API_PORT=str(port))
        out, error = second.communicate(timeout=20)
        assert second.returncode == 2 and out == ""
        assert (
            error
            == f"port {port} on 127.0.0.1 is in use by another program: stop it, or set HEARTHWATCH_API_PORT to another port\n"
        )
        with client.stream("GET", "/api/live") as stream:
            lines = stream.iter_lines()
            next(lines)
            server.terminate()
            list(lines)  # ends
        client.close()
        assert server.wait(20) == 0
        assert server.stderr.read() == ""
    finally:
        server.kill()
        server.communicate()


def answers(client):
    import httpx

    try:
        return client.get("/health").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.slow
def test_others_are_let_in_only_with_a_token(tmp_path):
    server = start(Home(tmp_path), HEARTHWATCH_API_HOST="0.0.0.0")
    out, error = server.communicate(timeout=20)
    assert (server.returncode, out) == (2, "")
    assert "HEARTHWATCH_API_TOKEN" in error and "Traceback" not in error


@pytest.mark.slow
def test_a_database_of_somebody_else_is_refused(tmp_path):
    home = Home(tmp_path)
    home.data.mkdir()
    other = sqlite3.connect(home.path)
    other.execute("CREATE TABLE theirs(x)")
    other.close()
    server = start(home, HEARTHWATCH_API_PORT="0")
    _, error = server.communicate(timeout=20)
    assert server.returncode == 2
    server = start(home, HEARTHWATCH_API_PORT="18765")
    _, error = server.communicate(timeout=20)
    assert server.returncode == 2 and "not a Hearthwatch record" in error


def test_an_older_record_is_brought_up_to_date_with_right_counters(tmp_path):
    from hearthwatch.record.migrate import upgrade

    home = story(Home(tmp_path / "a"))
    names = ("cameras", "frames", "detections", "events")
    rows = {name: home.record.rows(f"SELECT * FROM {name}") for name in names}
    old = sqlite3.connect(tmp_path / "old.db", isolation_level=None)
    upgrade(old, 2)
    for name in names:
        width = len(old.execute(f"SELECT * FROM {name} LIMIT 0").description)
        old.executemany(f"INSERT INTO {name} VALUES ({','.join('?' * width)})", [row[:width] for row in rows[name]])
    old.executemany(
        "UPDATE counters SET n = ? WHERE name = ?", [(n, name) for name, n in home.record.counters().items()]
    )
    old.execute("INSERT INTO meta VALUES ('store_id', 'x')")
    old.close()
    record = Record(tmp_path / "old.db", upgrade=True)
    balanced(record)
    record.close()
    home.close()


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "/api/events/1", {"reviewed": 0}),
        ("PATCH", "/api/events", {"reviewed": "no", "risk_level": "high"}),
        ("PATCH", "/api/events", {"reviewed": True, "ids": [False]}),
        ("PATCH", "/api/incidents", {"reviewed": 1}),
        ("PATCH", "/api/incidents/1", {"reviewed": "yes"}),
        (
            "PUT",
            "/api/cameras/driveway/zones",
            [{"name": "a", "kind": "public", "points": [[0, False], [0, 1], [1, 1]]}],
        ),
    ],
)
def test_a_value_of_another_type_than_the_document_says_is_refused(api, method, path, body):
    answer = api.request(method, path, json=body)
    assert answer.status_code == 422, answer.text


def test_suggestions_for_a_camera_without_zones_warn_of_nothing(api, caplog):
    assert api.get("/api/cameras/driveway/zones/suggestions").status_code == 200
    assert not [record for record in caplog.records if "zones" in record.getMessage()]


def test_a_link_that_is_too_long_is_refused_in_the_form_that_the_document_has(api):
    answer = api.get(f"/api/feedback/{'0' * 300}")
    documented = api.get("/openapi.json").json()["paths"]["/api/feedback/{token}"]["get"]["responses"]
    assert answer.status_code == 422 and set(documented["422"]["content"]) == {answer.headers["content-type"]}
    assert set(documented["404"]["content"]) == {"text/html"}
