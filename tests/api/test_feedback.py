"""Promise: an answer is given once, holds for such events from then on, and can be revoked; a link gives one answer and nothing else."""

import pytest

from tests.support.api_record import Home, serve, story


@pytest.fixture
def home(tmp_path):
    home = story(Home(tmp_path))
    yield home
    home.close()


@pytest.fixture
def api(home):
    with serve(home.settings()) as served, served.client() as client:
        yield client


def test_an_answer_is_learned_listed_and_revoked(api):
    made = api.post("/api/events/1/feedback", json={"answer": "fine"})
    assert made.status_code == 201 and api.get("/api/events/1").json()["reviewed"]
    row = made.json()
    assert (row["event_id"], row["answer"], row["points"]) == (1, "fine", -6)
    assert api.get("/api/feedback").json() == {"feedback": [row]}
    assert api.delete(f"/api/feedback/{row['id']}").status_code == 204
    assert api.get("/api/feedback").json() == {"feedback": []}
    assert api.delete(f"/api/feedback/{row['id']}").status_code == 404


def test_what_makes_no_sense_is_refused_in_words(api):
    assert api.post("/api/events/1/feedback", json={"answer": "maybe"}).status_code == 422
    assert api.post("/api/events/999999/feedback", json={"answer": "fine"}).json() == {
        "detail": "Event with id 999999 not found"
    }
    assert api.post("/api/events/1/feedback", json={"answer": "right"}).status_code == 201
    again = api.post("/api/events/1/feedback", json={"answer": "right"})
    assert again.status_code == 409 and again.json()["detail"] == "event 1 is answered already: right"
