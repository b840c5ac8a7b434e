"""Promise: the API lists, filters and marks incidents as it does events, and a mark of either is one of both."""

import itertools
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.api_record import Home, serve
from tests.support.linking import link


@pytest.fixture
def home(tmp_path):
    """Seven events in five incidents; the visit of three is on two cameras."""
    home = Home(tmp_path)
    for camera, ago, *labels in (
        ("Driveway", 7200, "car"), ("Driveway", 5000, "person", "dog"), ("Front Door", 4960, "person"), ("Driveway", 4900, "bear"),
        ("Front Door", 3600, "package"), ("Front Door", 3000, "person"), ("Front Door", 2700, "dog"),
    ):  # fmt: skip
        home.picture(camera, ago, *labels)
    home.tick()
    link(home.record)
    yield home
    home.close()


@pytest.fixture
def api(home):
    with serve(home.settings()) as served, served.client() as client:
        yield client


def get(client, url, code=200, **params):
    answer = client.get(url, params=params)
    assert answer.status_code == code, answer.text
    return answer.json()


def every(client, size, **params):
    """All pages."""
    found, cursor = [], None
    while True:
        page = get(client, "/api/incidents", limit=size, **params, **({"cursor": cursor} if cursor else {}))
        found += page["incidents"]
        cursor = page["next_cursor"]
        if cursor is None:
            assert len(found) == page["count"]
            return found


def test_an_incident_is_its_cameras_events_and_gravest_picture(home, api):
    visit = max(get(api, "/api/incidents")["incidents"], key=lambda i: i["event_count"])
    whole = get(api, f"/api/incidents/{visit['id']}")
    assert visit == {key: value for key, value in whole.items() if key not in ("events", "alerts")}
    assert visit["cameras"] == ["driveway", "front_door"] and visit["camera_names"] == ["Driveway", "Front Door"]
    assert [e["risk_score"] for e in whole["events"]] == [70, 70, 95] and whole["risk_level"] == "critical"
    gravest = whole["events"][-1]
    assert (visit["gravest_event_id"], visit["thumbnail_url"]) == (gravest["id"], gravest["thumbnail_url"])
    assert visit["analyzer"] == gravest["analyzer"] and visit["objects"] == {"person": 1, "dog": 1, "bear": 1}
    assert {e["incident_id"] for e in whole["events"]} == {visit["id"]}
    only = get(api, "/api/events", incident_id=visit["id"])
    assert [e["id"] for e in only["events"]] == [e["id"] for e in whole["events"]][::-1] and only["count"] == 3
    assert get(api, "/api/events", incident_id=visit["id"], sort="inbox", risk_level="critical")["events"] == [gravest]
    assert get(api, "/api/events", incident_id=10**9)["count"] == 0


def test_a_merged_incident_names_what_it_went_into_and_is_not_listed(home, api):
    first, *_, last = (i["id"] for i in get(api, "/api/incidents")["incidents"][::-1])
    home.record.transact(
        lambda: home.record.execute("UPDATE incidents SET status = 'merged', merged_into = ? WHERE id = ?", first, last)
    )
    wrong = {"detail": f"Incident with id {last} not found", "merged_into": first}
    assert get(api, f"/api/incidents/{last}", 404) == wrong
    assert api.patch(f"/api/incidents/{last}", json={"reviewed": True}).json() == wrong
    assert last not in [i["id"] for i in get(api, "/api/incidents")["incidents"]]
    for unknown in (999, 1 << 70, -1):
        assert get(api, f"/api/incidents/{unknown}", 404) == {"detail": f"Incident with id {unknown} not found"}


def test_filters_in_any_combination_give_what_filtering_by_hand_gives(home, api):
    wholes = [get(api, f"/api/incidents/{i['id']}") for i in get(api, "/api/incidents")["incidents"]]
    api.patch(f"/api/incidents/{wholes[0]['id']}", json={"reviewed": True})
    wholes[0]["reviewed"] = True
    middle = wholes[1]["started_at"]
    for camera, kind, level, reviewed, q, (start, end) in itertools.product(
        (None, "driveway"), (None, "person"), (None, "critical,medium"), (None, "true", "false"), (None, "at Front"),
        ((None, None), (middle, None), (None, middle)),
    ):  # fmt: skip
        asked = {
            "camera_id": camera,
            "object_type": kind,
            "risk_level": level,
            "reviewed": reviewed,
            "q": q,
            "start_date": start,
            "end_date": end,
        }
        params = {name: value for name, value in asked.items() if value}

        def fits(e, camera=camera, kind=kind, q=q, start=start, end=end):
            right = (
                camera in (None, e["camera_id"])
                and (kind is None or kind in e["objects"])
                and (q or "").lower() in e["summary"].lower()
            )
            return right and (start or "") <= e["started_at"] < (end or "3")

        wanted = {
            w["id"] for w in wholes
            if any(fits(e) for e in w["events"]) and w["risk_level"] in (level or w["risk_level"])
            and reviewed in (None, str(w["reviewed"]).lower())
        }  # fmt: skip
        page = get(api, "/api/incidents", **params)
        assert {i["id"] for i in page["incidents"]} == wanted and page["count"] == len(wanted), params
        assert page["unreviewed"] == sum(not i["reviewed"] for i in page["incidents"])
    assert get(api, "/api/incidents", status="open")["count"] == 0
    assert get(api, "/api/incidents", status="closed")["count"] == len(wholes)
    for wrong in ({"status": "merged"}, {"sort": "risk"}, {"cursor": "x"}, {"limit": 0}):
        get(api, "/api/incidents", 422, **wrong)


def rank(incident, sort):
    place = (incident["started_at"], incident["id"])
    return place if sort == "newest" else (-1 if incident["reviewed"] else incident["risk_score"], *place)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(st.integers(0, 3), st.sampled_from([10, 40, 40, 90]), st.booleans()), max_size=14),
    size=st.integers(1, 6), sort=st.sampled_from(["newest", "inbox"]),
)  # fmt: skip
def test_pages_of_any_size_are_the_whole_list_in_order(home, api, rows, size, sort):
    """Equal times, scores and marks are where a cursor may skip or repeat."""

    def write():
        home.record.execute("DELETE FROM incidents")
        for id, (at, score, reviewed) in enumerate(rows):
            values = (
                id,
                "closed",
                1,
                at,
                at,
                at,
                None,
                score,
                "low",
                "",
                None,
                "[]",
                "{}",
                0,
                0,
                0,
                reviewed,
                None,
                0,
                "{}",
            )
            home.record.execute(f"INSERT INTO incidents VALUES ({','.join('?' * len(values))})", *values)

    home.record.transact(write)
    found = every(api, size, sort=sort)
    assert found == sorted(found, key=lambda i: rank(i, sort), reverse=True) and len(found) == len(rows)
    assert get(api, "/api/incidents", limit=1000, sort=sort, offset=3)["incidents"] == found[3:]


def test_a_mark_of_the_incident_is_one_of_all_its_events_and_the_other_way_round(home, api):
    visit = max(get(api, "/api/incidents")["incidents"], key=lambda i: i["event_count"])
    url, events = (
        f"/api/incidents/{visit['id']}",
        [e["id"] for e in get(api, f"/api/incidents/{visit['id']}")["events"]],
    )

    def marks():
        return [e["reviewed"] for e in get(api, url)["events"]], get(api, url)["reviewed"]

    assert api.patch(url, json={"reviewed": True}).json()["reviewed"] and marks() == ([True] * 3, True)
    assert api.patch(url, json={}).json()["reviewed"] and api.patch(url, json={"reviewed": None}).json()["reviewed"]
    api.patch(f"/api/events/{events[1]}", json={"reviewed": False})
    assert marks() == ([True, False, True], False)
    api.patch("/api/events", json={"reviewed": True, "ids": events})
    assert marks() == ([True] * 3, True)
    assert not api.patch(url, json={"reviewed": False}).json()["reviewed"] and marks() == ([False] * 3, False)
    assert get(api, "/api/events", reviewed="true")["count"] == 0, "the other incidents are as they were"
    assert api.patch(url, json={"reviewed": "perhaps"}).status_code == 422
    assert api.patch(url, json={"summary": "x"}).status_code == 422
    foreign = api.patch(url, json={"reviewed": True}, headers={"Sec-Fetch-Site": "cross-site"})
    assert foreign.status_code == 403 and marks() == ([False] * 3, False)


def test_an_event_that_joins_a_reviewed_incident_makes_it_one_to_review(home, api):
    home.picture("Driveway", -10, "person")
    link(home.record)
    url = f"/api/incidents/{get(api, '/api/incidents')['incidents'][0]['id']}"
    api.patch(url, json={"reviewed": True})
    home.picture("Front Door", -30, "person")
    link(home.record)
    assert not get(api, url)["reviewed"] and get(api, url)["event_count"] == 2


def test_events_that_were_reviewed_before_they_were_linked_are_a_reviewed_incident(tmp_path):
    home = Home(tmp_path)
    home.picture("Driveway", 100, "person")
    home.record.transact(lambda: home.record.execute("UPDATE events SET reviewed = 1"))
    link(home.record)
    assert home.record.rows("SELECT reviewed, status FROM incidents") == [(1, "open")]
    home.record.transact(lambda: home.record.execute("UPDATE events SET reviewed = 0"))
    assert home.record.one("SELECT reviewed FROM incidents") == (0,)
    home.close()


def test_all_that_match_a_filter_are_marked_at_once(home, api):
    found = api.get("/api/incidents?camera_id=front_door&reviewed=false&limit=1000").json()["incidents"]
    others = api.get("/api/status").json()["to_review"]
    marked = api.patch("/api/incidents?camera_id=front_door&reviewed=false", json={"reviewed": True}).json()
    assert marked["count"] == len(marked["ids"]) >= len(found) > 0
    assert api.get("/api/incidents?camera_id=front_door&reviewed=false").json()["count"] == 0
    assert api.get("/api/status").json()["to_review"] == others - marked["count"]
    assert api.patch("/api/events", json={"reviewed": False, "ids": marked["ids"]}).json()["count"] == marked["count"]
    assert api.patch("/api/incidents?risk_level=huge", json={"reviewed": True}).status_code == 422


def test_neighbours_and_the_level_of_notifications_are_set_and_cleared(home, api):
    url = "/api/cameras/driveway"
    assert (get(api, url)["neighbours"], get(api, url)["notify_level"]) == (None, None)
    changed = api.patch(url, json={"neighbours": ["front_door"], "notify_level": "high"}).json()
    assert (changed["neighbours"], changed["notify_level"]) == (["front_door"], "high")
    assert home.record.one("SELECT neighbours, notify_level FROM cameras WHERE id = 'driveway'") == (
        json.dumps(["front_door"]),
        "high",
    )
    assert api.patch(url, json={"neighbours": []}).json()["neighbours"] == []
    assert api.patch(url, json={"notify_level": "severe"}).status_code == 422
    changed = api.patch(url, json={"neighbours": None, "notify_level": None, "name": "Drive"}).json()
    assert (changed["neighbours"], changed["notify_level"], changed["name"]) == (None, None, "Drive")
