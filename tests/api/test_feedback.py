"""Promise: an answer is given once, holds for such events from then on, and can be revoked; a link gives one answer and nothing else."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hearthwatch.api.models import LearnedBaseline
from hearthwatch.record import now
from hearthwatch.record.baselines import BaselineRow, write_baselines
from hearthwatch.record.signed_links import answer_paths, read_token
from hearthwatch.record.units import DAY
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


def test_what_is_normal_is_listed_by_camera(home, api):
    assert api.get("/api/baselines").json() == {"baselines": []}
    hours = [BaselineRow("front_door", "", "", hour, True, 10.0, 10) for hour in range(24)]
    people = BaselineRow("front_door", "person", "", 9, True, 10.0, 10, seen=15.0, seen_days=9)
    write_baselines(home.record, now(), [*hours, people])
    (row,) = api.get("/api/baselines").json()["baselines"]
    assert LearnedBaseline.model_validate(row)
    assert (row["camera_id"], row["days"], row["per_day"]) == ("front_door", 10, {"person": 1.5})


# -- signed links

TOKEN = "a-long-enough-token"


@pytest.fixture
def locked(home):
    """A client without the token of a server that needs one."""
    with serve(home.settings(HEARTHWATCH_API_TOKEN=TOKEN)) as served, served.client() as client:
        yield client


def answers(home):
    return home.record.rows("SELECT event_id, answer FROM feedback ORDER BY id")


def test_a_link_answers_once_without_the_token_and_opening_it_changes_nothing(home, locked):
    links = answer_paths(home.data, 1, now())
    for _ in range(3):
        shown = locked.get(links["fine"])
        assert shown.status_code == 200 and "<button" in shown.text and "<script" not in shown.text
        assert locked.head(links["fine"]).status_code == 200
    assert answers(home) == [] and home.record.one("SELECT reviewed FROM events WHERE id = 1") == (0,)
    foreign = {"Origin": "null", "Sec-Fetch-Site": "cross-site"}  # a messenger's browser, and ntfy's web page
    assert locked.post(links["fine"], headers=foreign).status_code == 201
    assert answers(home) == [(1, "fine")] and home.record.one("SELECT reviewed FROM events WHERE id = 1") == (1,)
    for answer in links:
        for again in (locked.get(links[answer]), locked.post(links[answer])):
            assert again.status_code == 409 and "nswered already: fine" in again.text
    assert answers(home) == [(1, "fine")]
    assert locked.get("/api/events/1").status_code == locked.get("/api/feedback").status_code == 401
    assert locked.delete("/api/feedback/1").status_code == 401
    assert locked.post("/api/events/1/feedback", json={"answer": "right"}).status_code == 401


def test_a_link_that_was_changed_expired_or_is_of_another_house_answers_nothing(home, locked, tmp_path):
    fine, other = answer_paths(home.data, 1, now())["fine"], answer_paths(home.data, 2, now())["fine"]
    late = answer_paths(home.data, 1, now() - 7 * DAY)["fine"]
    foreign = tmp_path / "elsewhere"
    foreign.mkdir()
    forged = [
        fine.replace("/1.", "/2."), fine.replace("fine", "right"), fine[:-1] + ("A" if fine[-1] != "A" else "B"), fine.rpartition(".")[0],
        other.rpartition(".")[0] + "." + fine.rpartition(".")[2], answer_paths(foreign, 1, now())["fine"], "api/feedback/x", "api/feedback/1",
        fine.replace(fine.split(".")[2], str(int(fine.split(".")[2]) + 1)),
    ]  # fmt: skip
    for path in forged:
        assert (locked.get(path).status_code, locked.post(path).status_code) == (404, 404), path
    assert (locked.get(late).status_code, locked.post(late).status_code) == (410, 410)
    assert locked.post(answer_paths(home.data, 999_999, now())["fine"]).status_code == 404
    assert answers(home) == []


def test_only_what_was_signed_is_read(tmp_path):
    @given(st.integers(0, 1 << 40), st.text(max_size=20))
    @settings(max_examples=25)
    def check(event, text):
        for answer, path in answer_paths(tmp_path, event, 0).items():
            token = path.rpartition("/")[2]
            assert read_token(tmp_path, token, 0) == (event, answer, False)
            assert read_token(tmp_path, token, 7 * DAY) == (event, answer, True)
            assert text == "" or read_token(tmp_path, text + token, 0) is read_token(tmp_path, text, 0) is None

    check()


def test_the_key_is_for_its_owner_alone_and_the_first_process_decides(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        links = list(pool.map(lambda _: answer_paths(tmp_path, 1, 0)["fine"], range(8)))
    assert len(set(links)) == 1
    assert [(path.name, path.stat().st_mode & 0o777) for path in tmp_path.iterdir()] == [("feedback.key", 0o600)]


def test_the_public_name_of_the_page_is_answered(home):
    with serve(home.settings(HEARTHWATCH_PUBLIC_URL="https://home.example")) as served, served.client() as client:
        link = answer_paths(home.data, 1, now())["right"]
        assert client.get(link, headers={"Host": "home.example"}).status_code == 200
        assert client.get(link, headers={"Host": "evil.example"}).status_code == 400
