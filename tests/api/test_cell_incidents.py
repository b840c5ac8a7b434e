"""Promises: an incident of several cells is one card; reviewing and answering it marks its events in all of them; its picture is found."""

from hearthwatch.record.cell_incidents import CellIncidents
from hearthwatch.record.cells import find_cells
from hearthwatch.record.feed import Feed
from hearthwatch.record.incidents import Incidents
from hearthwatch.record.thumbnails import bind_picture
from hearthwatch.schemas import IncidentMessage
from hearthwatch.schemas.context import Context
from tests.api.test_cells import client as client
from tests.api.test_cells import get
from tests.api.test_cells import homes as homes


def test_a_visit_to_two_cells_is_one_card_that_is_reviewed_answered_and_seen_as_one(client, homes):
    first, second = homes
    first.picture("North", 100, "cat")
    second.picture("South", 60, "person")
    for home in homes:
        home.tick()
    cells = find_cells("2", first.path, first.data, first.base)
    incidents = Incidents(first.record)
    work = CellIncidents(incidents, cells[1:])
    while work.take_in() or incidents.is_behind():
        incidents.update()
    work.write_links()
    assert get(client, "/api/incidents")["count"] == 7
    (card,) = get(client, "/api/incidents", limit=1)["incidents"]
    assert card["cameras"] == ["north", "south"] and card["camera_names"] == ["North", "South"]
    assert card["gravest_event_id"] >> 36 == 1 and client.get(card["thumbnail_url"]).content.startswith(b"\xff\xd8")
    path = f"/api/incidents/{card['id']}"
    assert [e["camera_id"] for e in get(client, path)["events"]] == ["north", "south"]

    def reviewed():
        whole = get(client, path)
        return [whole["reviewed"], *(e["reviewed"] for e in whole["events"])]

    for value in (True, False):
        assert client.patch(path, json={"reviewed": value}).json()["reviewed"] is value
        assert reviewed() == [value] * 3
    for event in get(client, path)["events"]:
        client.patch(f"/api/events/{event['id']}", json={"reviewed": True})
    assert reviewed() == [True] * 3
    client.patch("/api/events", json={"reviewed": False, "ids": [e["id"] for e in get(client, path)["events"]]})
    assert reviewed() == [False] * 3
    assert client.post(f"/api/events/{card['gravest_event_id']}/feedback", json={"answer": "fine"}).status_code == 201
    assert reviewed() == [True] * 3, "the gravest event speaks for the whole"

    context = Context(first.path, first.data, first.base, cells=cells, cell=cells[0])
    news = [
        m for m in Feed(first.record).after(0, 1000) if isinstance(m, IncidentMessage) and m.incident.id == card["id"]
    ]
    assert news[-1].incident.gravest_event_id == card["gravest_event_id"]
    assert bind_picture(news[-1], context).picture().startswith(b"\xff\xd8")
    assert Feed(second.record).last() and not second.record.rows("SELECT 1 FROM feed WHERE kind = 'incident'")
    work.close()
