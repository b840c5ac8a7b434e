"""Promises: page and API show the cells of a data dir as one, page by page and live; a change goes to the record that it is about."""

import json

import duckdb
import pytest
from typer.testing import CliRunner

from hearthwatch.api.dependencies import AppState
from hearthwatch.cli import app
from hearthwatch.cli.cells import incidents_path
from hearthwatch.cli.sql import answer
from hearthwatch.record.baselines import BaselineRow, write_baselines
from hearthwatch.record.cells import find_cells, prepare_cell
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.settings import reload
from tests.support.api_record import Home, serve, wait_for
from tests.support.linking import link


@pytest.fixture
def homes(tmp_path):
    """Two cells of one data dir, each with events of one camera, one after the other in time."""
    first, second = Home(tmp_path), Home(tmp_path / "unused")
    first.open()
    cell = find_cells("2", first.path, first.data, first.base)[1]
    prepare_cell(cell)
    second.base, second.data, second.path, second.at = first.base, cell.data_dir, cell.record_path, first.at
    for n in range(3):
        first.picture("North", 7000 - n * 1000, "person")
        second.picture("South", 6500 - n * 1000, "car")
    for home in (first, second):
        home.tick()
    yield first, second
    for home in (first, second):
        home.close()


@pytest.fixture
def client(homes):
    with serve(homes[0].settings(HEARTHWATCH_CELLS="2")) as served, served.client() as client:
        yield client


def get(client, path, **params):
    answer = client.get(path, params=params)
    assert answer.status_code == 200, (path, answer.text)
    return answer.json()


@pytest.mark.parametrize(
    ("cells", "said"), [("11", []), ("13", ["the API and the page show 11 of 13 cells, not 11, 12"])]
)
def test_cells_that_the_page_cannot_show_are_named(homes, caplog, cells, said):
    AppState(homes[0].settings(HEARTHWATCH_CELLS=cells))
    assert [record.getMessage() for record in caplog.records] == said


def test_all_cells_are_one_list_page_by_page_in_order_of_time(client):
    events, cursor = [], None
    while cursor or not events:
        page = get(client, "/api/events", limit=2, **({"cursor": cursor} if cursor else {}))
        events, cursor = events + page["events"], page["next_cursor"]
    assert [e["camera_id"] for e in events] == ["south", "north"] * 3 and page["count"] == 6
    assert len({e["id"] for e in events}) == 6 and {e["id"] >> 36 for e in events} == {0, 1}
    assert get(client, "/api/events", camera_id="south")["count"] == 3
    assert [c["id"] for c in get(client, "/api/cameras")["cameras"]] == ["north", "south"]
    stats = get(client, "/api/system/stats")
    assert (stats["total_cameras"], stats["total_events"], stats["ledger"]["settled"]) == (2, 6, 6)
    for path in ("/api/events/stats", "/api/timeline", "/api/detections", "/api/frames", "/api/calendar?month=2026-01", "/health",
                 "/api/incidents", "/api/status", "/api/feedback", "/api/baselines", "/api/system/quarantine"):  # fmt: skip
        get(client, path)


def test_pictures_and_changes_are_of_the_cell_that_has_them(client, homes):
    (event,) = get(client, "/api/events", camera_id="south", limit=1)["events"]
    assert event["id"] >> 36 == 1
    (box,) = get(client, f"/api/events/{event['id']}/detections")["detections"]
    image = client.get(f"/api/detections/{box['id']}/image")
    assert image.content.startswith(b"\xff\xd8") and list(homes[1].data.glob("thumbnails/*/*.jpg"))
    assert client.get("/api/cameras/south/snapshot").status_code == 200
    assert client.patch(f"/api/events/{event['id']}", json={"notes": "seen"}).json()["notes"] == "seen"
    assert client.post(f"/api/events/{event['id']}/feedback", json={"answer": "fine"}).status_code == 201
    rows = "SELECT count(*) FROM events WHERE notes = 'seen'", "SELECT min(id) >> 36 FROM feedback"
    assert [home.record.one(sql)[0] for home in homes for sql in rows] == [0, None, 1, 1]
    assert client.patch("/api/cameras/south", json={"name": "Yard"}).json()["name"] == "Yard"
    assert client.post("/api/cameras", json={"name": "South"}).status_code == 409
    assert client.patch("/api/events", json={"reviewed": True, "risk_level": event["risk_level"]}).json()["count"] == 2
    assert client.get(f"/api/events/{9 << 36}").status_code == 404


def test_a_camera_is_merged_into_one_of_another_cell_and_is_one_camera_everywhere(client, homes):
    first = homes[0]
    zones = [{"name": "path", "kind": "public", "points": [[0, 0], [1, 0], [1, 1]]}]
    assert client.patch("/api/cameras/south", json={"notes": "the yard", "zones": zones}).status_code == 200
    mine = {event["id"]: event for event in get(client, "/api/events", camera_id="north")["events"]}
    assert client.post("/api/cameras/north/merge", json={"into": "nowhere"}).status_code == 404
    assert client.post("/api/cameras/nowhere/merge", json={"into": "south"}).status_code == 404
    for _ in range(2):
        answer = client.post("/api/cameras/north/merge", json={"into": "south"})
        assert (answer.status_code, answer.json()["id"], answer.json()["folder_path"]) == (200, "south", "South")
    assert client.post("/api/cameras/south/merge", json={"into": "north"}).status_code == 409
    (camera,) = get(client, "/api/cameras")["cameras"]
    assert (camera["folder_path"], camera["notes"]) == ("South", "the yard")
    assert get(client, "/api/cameras", status=camera["status"])["count"] == 1
    events = get(client, "/api/events", camera_id="south")["events"]
    assert len(events) == 6 and {event["camera_name"] for event in events} == {"South"}
    moved = {event["id"]: event for event in events if event["id"] in mine}
    same = ("started_at", "detection_ids", "thumbnail_url", "revision", "risk_score", "incident_id", "batch_id")
    assert {id: [e[key] for key in same] for id, e in moved.items()} == {
        id: [e[key] for key in same] for id, e in mine.items()
    }
    for event in events:
        (frame,) = get(client, f"/api/events/{event['id']}")["frames"]
        for url in (event["thumbnail_url"], frame["image_url"]):
            assert url is None or client.get(url).content.startswith(b"\xff\xd8"), url
    assert get(client, "/api/system/stats")["total_cameras"] == 1
    assert set(get(client, "/api/system/health")["services"]["cameras"]["details"]) == {"south"}
    (row,) = get(client, "/api/timeline", hours=6)["cameras"]
    assert (row["camera_id"], sum(cell["events"] for cell in row["cells"])) == ("south", 6)
    assert len(pages(client, "/api/frames", "frames", camera_id="south")[0]) == 6
    assert get(client, "/api/search", q="south", camera_id="south")["count"] == 6
    assert client.get("/api/cameras/south/snapshot").status_code == 200
    first.picture("North", 60, "person")
    first.tick()
    assert get(client, "/api/events", camera_id="south", limit=1)["events"][0]["id"] >> 36 == 0
    assert client.patch("/api/cameras/south", json={"name": "Yard", "folder_path": "South"}).json()["name"] == "Yard"
    rows = [home.record.rows("SELECT id, name, folder_path, notes, zones IS NULL FROM cameras") for home in homes]
    assert rows == [[("south", "Yard", folder, "the yard", 0)] for folder in ("North", "South")]
    preview = client.post("/api/cameras/south/zones/preview", json=[])
    assert preview.status_code == 200, preview.text
    assert client.delete("/api/cameras/south").status_code == 204
    assert get(client, "/api/cameras")["count"] == get(client, "/api/events")["count"] == 0


def test_the_live_stream_has_all_cells_and_one_position(client, homes):
    def listen(after, count):
        got = []
        with client.stream("GET", "/api/live", headers={"last-event-id": after}) as stream:
            for line in stream.iter_lines():
                if line.startswith("id: "):
                    got.append([line[4:], None])
                elif line.startswith("data: ") and got and got[-1][1] is None:
                    got[-1][1] = line[6:]
                    if len(got) == count:
                        return got
        return got

    total = sum(home.record.one("SELECT count(*) FROM feed")[0] for home in homes)
    messages = listen("0", total)
    assert len({text for _, text in messages}) == total
    again = listen(messages[3][0], total - 4)
    assert again == messages[4:], "a position is behind the messages of all cells"
    homes[1].picture("South", 1, "person")
    ((position, text),) = listen(messages[-1][0], 1)
    assert '"south"' in text and position.count("-") == 1


def test_sql_and_the_catalogue_read_the_lakes_of_all_cells(homes, monkeypatch):
    first, _ = homes
    for name, value in (
        first.settings(HEARTHWATCH_CELLS="2").model_dump(include={"hearthwatch_data_dir", "hearthwatch_cells"}).items()
    ):
        monkeypatch.setenv(name.upper(), str(value))
    reload()
    try:
        query = "SELECT camera_id, count(*) AS n, min(id >> 36) AS cell FROM events GROUP BY 1 ORDER BY 1"
        assert answer(query).to_pylist() == [
            {"camera_id": "north", "n": 3, "cell": 0}, {"camera_id": "south", "n": 3, "cell": 1},
        ]  # fmt: skip
    finally:
        monkeypatch.undo()
        reload()
    with duckdb.connect(first.data / "analytics.duckdb", read_only=True) as db:
        assert db.execute("SELECT sum(detections) FROM hourly").fetchall() == [(6,)]
        assert db.execute("SELECT count(*) FROM cameras").fetchall() == [(2,)]


def test_a_cell_that_comes_later_is_read_too(tmp_path):
    home = Home(tmp_path).open()
    home.picture("North", 100, "person")
    with serve(home.settings(HEARTHWATCH_CELLS="2")) as served, served.client() as client:
        assert get(client, "/api/events")["count"] == 1
        other = Home(tmp_path / "unused")
        cell = find_cells("2", home.path, home.data, home.base)[1]
        prepare_cell(cell)
        other.base, other.data, other.path = home.base, cell.data_dir, cell.record_path
        other.picture("South", 50, "person")
        wait_for(lambda: get(client, "/api/events")["count"] == 2)
        other.close()
    home.close()


def pages(client, path, what, **params):
    """All pages of a list by its cursors."""
    found, cursor = [], None
    while cursor or not found:
        page = get(client, path, limit=2, **params, **({"cursor": cursor} if cursor else {}))
        found, cursor = found + page[what], page["next_cursor"]
        if not cursor:
            return found, page
    raise AssertionError(path)


@pytest.mark.parametrize(("sort", "key"), [("newest", "started_at"), ("inbox", "risk_score")])
def test_pages_by_cursor_and_by_offset_are_the_whole_list_in_its_order(client, sort, key):
    whole = get(client, "/api/events", sort=sort)["events"]
    assert [row[key] for row in whole] == sorted((row[key] for row in whole), reverse=True) and len(whole) == 6
    assert pages(client, "/api/events", "events", sort=sort)[0] == whole
    by_offset = [get(client, "/api/events", sort=sort, limit=2, offset=n)["events"] for n in (0, 2, 4)]
    assert [row for page in by_offset for row in page] == whole
    frames = [row["captured_at"] for row in pages(client, "/api/frames", "frames")[0]]
    assert frames == sorted(frames, reverse=True) and len(set(frames)) == 6
    boxes = get(client, "/api/detections", limit=5, offset=1)["detections"]
    assert [row["detected_at"] for row in boxes] == frames[1:]


def test_a_search_finds_the_events_of_all_cells_page_by_page(client):
    whole = get(client, "/api/search", q="at")
    assert [e["camera_id"] for e in whole["events"]] == ["south", "north"] * 3 and whole["count"] == 6
    found, last = pages(client, "/api/search", "events", q="at")
    assert found == whole["events"] and last["count"] == 6
    assert [e["camera_id"] for e in get(client, "/api/search", q="car")["events"]] == ["south"] * 3
    assert (
        get(client, "/api/search", q="south")["count"]
        == get(client, "/api/search", q="at", camera_id="south")["count"]
        == 3
    )


def test_events_of_one_second_in_two_cells_are_each_on_one_page_of_a_search(homes, client):
    for home, camera in zip(homes, ("North", "South"), strict=True):
        for n in range(3):
            home.picture(camera, 90 - 0.1 * n, "dog")
        home.tick()
    found, last = pages(client, "/api/search", "events", q="dog")
    assert len({e["id"] for e in found}) == len(found) == last["count"] == 2


def test_a_cell_that_is_down_is_seen_in_health_status_and_metrics(homes, client):
    second = homes[1]
    for home in homes:
        home.beat()
    assert wait_for(lambda: get(client, "/api/system/health")["services"]["pipeline"]["status"] == "healthy")
    second.record.execute("UPDATE heartbeat SET at = at - 60000000")
    wait_for(lambda: get(client, "/api/system/health")["status"] == "degraded")
    health = get(client, "/api/system/health")
    assert [(name, cell["alive"]) for name, cell in health["cells"].items()] == [("0", True), ("1", False)]
    assert health["conditions"][0]["kind"] == "pipeline_down"
    assert health["conditions"][0]["message"].startswith("cell 1: no heartbeat since")
    assert (
        health["services"]["lake"]["message"].startswith("cell 1: ")
        or health["services"]["lake"]["status"] == "disabled"
    )
    assert set(health["services"]["cameras"]["details"]) == {"north", "south"}
    assert health["services"]["database"]["details"]["settled"] == 6
    assert get(client, "/api/status")["problem"]["message"].startswith("cell 1: ")
    metrics = client.get("/metrics").text
    assert 'hearthwatch_cell_up{cell="0"} 1.0' in metrics and 'hearthwatch_cell_up{cell="1"} 0.0' in metrics
    assert "hearthwatch_pictures_total 6.0" in metrics and 'hearthwatch_ledger{state="settled"} 6.0' in metrics
    second.beat()
    assert wait_for(lambda: get(client, "/api/system/health")["cells"]["1"]["alive"])


def test_what_is_wrong_in_every_cell_is_one_condition_and_messages_come_in_order_of_time(homes, client):
    for home in homes:
        home.beat()
        home.wrong("watch_off", "new folders are found late")
    homes[1].wrong(
        "camera_silent", "south has sent no picture for 2 days", subject="south", severity="error", camera="south"
    )
    wait_for(lambda: get(client, "/api/system/health")["conditions"])
    found = [c["message"] for c in get(client, "/api/system/health")["conditions"]]
    assert found == ["cell 1: south has sent no picture for 2 days", "new folders are found late"]
    for home, at in ((homes[0], 1), (homes[1], 2), (homes[0], 3)):
        home.record.execute(
            "INSERT INTO feed(kind, subject_id, revision, type, payload, at) VALUES ('system', ?, 1, 'system.behind', ?, ?)", 99 + at,
            json.dumps({"schema": "hearthwatch.system.v1", "seq": at, "type": "system.behind", "kind": "behind", "state": "on", "severity": "warning",
                        "camera_id": None, "subject": "", "message": str(at), "since": "2026-01-01T00:00:00Z", "at": "2026-01-01T00:00:00Z"}), at,
        )  # fmt: skip
    assert [m["message"] for m in pages(client, "/api/system/messages", "messages")[0]] == ["3", "2", "1"]


def test_what_consumers_have_to_deliver_is_summed_over_cells(homes, client):
    for home, left in zip(homes, (1, 2), strict=True):
        (last,) = home.record.one("SELECT max(seq) FROM feed")
        home.record.execute("INSERT INTO cursors VALUES ('redis', ?)", last - left)
        home.record.execute(
            "INSERT INTO deliveries(consumer, delivered, failed, delivered_at) VALUES ('redis', 5, 1, ?)", left
        )
    metrics = client.get("/metrics").text
    assert 'hearthwatch_consumer_lag{consumer="redis"} 3.0' in metrics
    assert 'hearthwatch_consumer_delivered_total{consumer="redis"} 10.0' in metrics
    details = get(client, "/api/system/health")["services"]["consumers"]["details"]["redis"]
    assert (details["lag"], details["last_success"]) == (3, "1970-01-01T00:00:00.000002Z")


def test_a_cell_that_never_ran_is_seen(tmp_path):
    home = Home(tmp_path).open()
    home.beat()
    with serve(home.settings(HEARTHWATCH_CELLS="2")) as served, served.client() as client:
        health = get(client, "/api/system/health")
        assert [cell["alive"] for cell in health["cells"].values()] == [True, False]
        assert health["status"] == "degraded" and health["conditions"][0]["message"].startswith(
            "cell 1: has not run yet"
        )
    home.close()


def test_cells_that_are_not_shown_are_a_condition(homes):
    with serve(homes[0].settings(HEARTHWATCH_CELLS="13")) as served, served.client() as client:
        health = get(client, "/api/system/health")
        assert "cells_not_shown" in [c["kind"] for c in health["conditions"]] and len(health["cells"]) == 13


@pytest.fixture
def command(homes, monkeypatch):
    """Run a command on the data dir of both cells: (exit code, its output)."""
    given = homes[0].settings(HEARTHWATCH_CELLS="2").model_dump()

    def run(*words):
        for name in ("hearthwatch_data_dir", "foscam_base_path", "hearthwatch_cells"):
            monkeypatch.setenv(name.upper(), str(given[name]))
        monkeypatch.setenv("DATABASE_URL", "")
        reload()
        done = CliRunner().invoke(app, words)
        text = done.output + (str(done.exception) if isinstance(done.exception, UserError) else "")
        return 2 if isinstance(done.exception, UserError) else done.exit_code, text

    yield run
    monkeypatch.undo()
    reload()


def test_a_command_works_on_all_cells_or_on_the_one_that_is_named(homes, command):
    event = homes[1].record.one("SELECT max(id) FROM events")[0]
    code, text = command("why", str(event))
    assert code == 0 and f"Event {event}, South" in text
    code, text = command("prune", "--dry-run")
    assert code == 0 and text.index("cell 0") < text.index("uploads would stay") < text.index("cell 1")
    code, text = command("retry")
    assert code == 0 and text.count("0 of 0 quarantined") == 2
    assert command("retry", "--camera", "south") == command("retry", "--cell", "1")
    code, text = command("verify", "--cell", "1")
    assert "3 pictures = 3 settled" in text and "cell 0" not in text
    code, text = command("doctor")
    assert "cell 0: " in text and "cell 1: " in text and text.count("3 pictures") == 2
    assert command("retry", "--cell", "9") == (2, "--cell 9: there is no such cell; there are 0, 1")
    for words in (("backfill", str(homes[0].base)), ("whatif", "--zones", "-", "--json")):
        code, text = command(*words)
        assert code == 2 and "--cell" in text
    code, text = command("backfill", str(homes[0].base), "--cell", "1")
    assert code == 2 and "hearthwatch run" in text


def test_a_command_for_a_cell_knows_whose_record_has_the_incidents(homes, command):
    for cell, path in (("1", homes[0].path), ("0", None)):
        assert command("retry", "--cell", cell)[0] == 0
        assert incidents_path() == path


def test_what_is_normal_is_listed_for_the_cameras_of_all_cells(homes, client):
    for days, (home, cameras) in enumerate(zip(homes, (("north", "gate"), ("south", "gate")), strict=True), 1):
        write_baselines(home.record, days, [BaselineRow(c, "", "", 8, True, 1.0, days) for c in cameras])
    found = get(client, "/api/baselines")["baselines"]
    assert [(row["camera_id"], row["days"]) for row in found] == [("gate", 2), ("north", 1), ("south", 2)]


def test_verify_finds_a_picture_that_no_cell_took_in_and_no_picture_of_another_cell(homes, command):
    for home in homes:
        home.record.execute("INSERT OR REPLACE INTO heartbeat VALUES ('see', 1, ?, '{}')", home.at + 10**12)
    assert "uploads     ok" in command("verify")[1] and "not in the ledger" not in command("verify")[1]
    (homes[0].base / "South" / "missed.jpg").write_bytes(next((homes[0].base / "South").glob("*.jpg")).read_bytes())
    assert "South/missed.jpg was uploaded while the pipeline ran" in command("verify")[1]


def test_incidents_of_all_cells_are_one_list_and_have_events_of_any_cell(homes, client):
    first, second = homes
    for home in homes:
        link(home.record, 0)
    whole = get(client, "/api/incidents", sort="inbox")
    assert whole["count"] == 6 and [i["risk_score"] for i in whole["incidents"]] == [70, 70, 70, 10, 10, 10]
    assert [i["cameras"] for i in get(client, "/api/incidents")["incidents"]] == [["south"], ["north"]] * 3
    assert pages(client, "/api/incidents", "incidents", sort="inbox")[0] == whole["incidents"]
    mine, (of_south,) = whole["incidents"][0], second.record.rows("SELECT * FROM events ORDER BY id LIMIT 1")
    second.record.execute("UPDATE events SET incident_id = ? WHERE id = ?", mine["id"], of_south[0])
    first.record.execute(
        'UPDATE incidents SET gravest_event_id = ?, cameras = \'["north","south"]\' WHERE id = ?',
        of_south[0],
        mine["id"],
    )
    detail = get(client, f"/api/incidents/{mine['id']}")
    assert {e["camera_id"] for e in detail["events"]} == {"north", "south"}
    assert detail["thumbnail_url"] == get(client, f"/api/events/{of_south[0]}")["thumbnail_url"]
    (whole_visit,) = [i for i in get(client, "/api/incidents", camera_id="south")["incidents"] if i["id"] == mine["id"]]
    assert whole_visit["camera_names"] == ["North", "South"]
