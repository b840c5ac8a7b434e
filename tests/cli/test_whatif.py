"""Promise: `hearthwatch whatif` finds what other zones, windows or policies change in recorded detections, and says why; what did not
change gives no difference; and a run over the record gives what the pipeline's own batching would have given."""

import json
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from hearthwatch.cli import app
from hearthwatch.cli.whatif import Run, compare
from hearthwatch.flows.graph import Graph
from hearthwatch.record import Record
from hearthwatch.record.batching import Batching
from hearthwatch.record.feedback import learned
from hearthwatch.record.ledger import FoundFile, Ledger
from hearthwatch.schemas import Detected, Detection, Tick
from hearthwatch.schemas.case import Sighting, Surroundings
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.items import from_microseconds
from hearthwatch.schemas.settings import reload
from hearthwatch.stages.batch import judge_by_rules
from tests.support.context import context
from tests.support.linking import link

S = 1_000_000
NIGHT = 1_795_312_800 * S  # 2026-11-22 02:00 UTC
LEFT = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]
RIGHT = [[0.5, 0], [1, 0], [1, 1], [0.5, 1]]


def zone(kind, points=LEFT, name="street"):
    return {"name": name, "kind": kind, "points": points}


def person(x, y=100):
    return Detection("person", 0.9, (x, y, 40, 100))


def decide(path, frames, zones=None, behind=None):
    """A record of these frames, (camera, captured, arrived, boxes) in order of arrival, seconds after NIGHT, as the pipeline writes it.

    The files are old, so that no camera's clock is learned from those that show nothing.
    """
    record = Record(path)
    record.execute("PRAGMA synchronous = OFF")
    ledger = Ledger(record)
    for n, (camera, captured, arrived, _) in enumerate(frames):
        at, mark = NIGHT + round(arrived * S), behind[n] if behind else 0
        ledger.discover(
            [FoundFile(camera, camera, f"{camera}/{n}.jpg", n * 1000, 1, NIGHT + round(captured * S), at, behind=mark)],
            at,
        )
    for camera, rows in (zones or {}).items():
        record.execute("UPDATE cameras SET zones = ? WHERE id = ?", json.dumps(rows), camera)
    batching = Batching(record, judge_by_rules(context(path.parent, zone=ZoneInfo("UTC"))))
    entries = [entry.frame for entry in ledger.todo(0, 10_000)]
    for frame, (*_, boxes) in zip(entries, frames, strict=True):
        batching.write([Tick(frame.arrived_at), Detected(frame, 640, 360, tuple(boxes))])
    if entries:
        batching.write([Tick(from_microseconds(NIGHT + 10**6 * S))])
    link(record)
    return record


def visit(camera, start, seconds=20, left=True):
    """A person who walks through one half of the picture, a picture a second."""
    return [(camera, start + n, start + n, [person((20 if left else 340) + n * 12)]) for n in range(seconds)]


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FOSCAM_BASE_PATH", str(tmp_path / "uploads"))
    monkeypatch.setenv("HEARTHWATCH_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("HEARTHWATCH_TIMEZONE", "UTC")
    reload()

    def call(*arguments, code=0, zones=None, flow=None, since="2026-11-01"):
        files = []
        if zones is not None:
            (tmp_path / "zones.json").write_text(zones if isinstance(zones, str) else json.dumps(zones))
            files += ["--zones", "zones.json"]
        if flow is not None:
            (tmp_path / "other.toml").write_text(f'extends = "default"\n{flow}')
            files += ["other.toml"]
        done = CliRunner().invoke(app, ["whatif", *files, "--since", since, *arguments])
        if isinstance(done.exception, UserError):
            return str(done.exception)
        assert done.exit_code == code, done.output
        return json.loads(done.output) if "--json" in arguments else done.output

    yield SimpleNamespace(path=tmp_path / "hearthwatch.db", call=call)
    reload()


def differences(report, what="events"):
    return [
        (row["kind"], [r["id"] for r in row["before"]], [r["id"] for r in row["after"]])
        for row in report["differences"][what]
    ]


def test_an_ignored_zone_makes_its_events_vanish_with_their_incidents_and_notifications(home):
    decide(home.path, visit("gate", 0) + visit("gate", 1000, left=False)).close()
    report = home.call("--json", zones={"gate": [zone("ignore")]})
    assert report["changes"] == ["zones of gate"] and report["frames"] == 40
    assert differences(report) == [("vanishes", [1], [])]
    (event,) = report["differences"]["events"]
    assert event["why"] == ["in ignored zone street (20 boxes)"]
    assert event["before"][0]["thumbnail"].startswith("/api/media/") and event["before"][0]["frame_count"] == 20
    (incident,), (rang,) = report["differences"]["incidents"], report["differences"]["notifications"]
    assert (incident["kind"], incident["why"]) == (rang["kind"], rang["why"]) == ("vanishes", event["why"])
    assert rang["before"][0]["at"].startswith("2026-11-22T02:00:") and rang["before"][0]["incident"] == 1
    assert (report["before"]["events"], report["after"]["events"]) == (2, 1)


def test_what_was_ignored_appears_without_the_zone(home):
    decide(home.path, visit("gate", 0), {"gate": [zone("ignore")]}).close()
    report = home.call("--json", "--camera", "gate", zones=[])
    assert differences(report) == [("appears", [], [1])] and report["stored_differ"] == 0
    assert report["differences"]["events"][0]["why"] == ["no longer in ignored zone street (20 boxes)"]


def test_other_places_raise_and_lower_the_level_and_the_terms_say_why(home):
    decide(home.path, visit("gate", 0)).close()
    (up,) = home.call("--json", zones={"gate": [zone("private")]})["differences"]["events"]
    (down,) = home.call("--json", zones={"gate": [zone("public")]})["differences"]["events"]
    assert up["kind"] in ("rises", "changes") and down["kind"] == "falls"
    assert up["after"][0]["risk_score"] > up["before"][0]["risk_score"] > down["after"][0]["risk_score"]
    for row in (up, down):  # the terms that came and went are those of the reasons
        came, went = row["after"][0]["reasoning"], row["before"][0]["reasoning"]
        for term in row["why"]:
            assert term.removeprefix("no longer ") in (went if term.startswith("no longer ") else came)
        assert any(term.startswith("no longer ") for term in row["why"]) and not row["why"][0].startswith("no longer ")


def test_another_window_cuts_differently_and_another_reach_joins_incidents(home):
    decide(home.path, visit("gate", 0, 25) + visit("gate", 100, 10)).close()
    report = home.call("--json", flow="[batch]\nwindow_seconds = 10\n")
    ((kind, *cut),) = differences(report)
    assert kind in ("cut", "falls") and cut == [[1], [1, 11, 21]], "shorter events may also have a lower level"
    assert report["differences"]["events"][0]["why"] == ["window_seconds 90.0 → 10.0"] == report["changes"]
    report = home.call("--json", flow="[incident]\nsame_camera_seconds = 20\n")
    assert differences(report) == [] and differences(report, "incidents") == [("cut", [1], [1, 26])]
    assert report["differences"]["incidents"][0]["why"] == ["same_camera_seconds 180.0 → 20.0"]


@pytest.mark.parametrize(
    ("flow", "why"),
    [("quiet_hours = \"01:00-03:00\"\nquiet_below = \"high\"", "quiet_hours None → 01:00-03:00"), ("level = \"critical\"", "level medium → critical")],
)  # fmt: skip
def test_the_policy_of_a_notifier(home, flow, why, monkeypatch):
    monkeypatch.setenv("HEARTHWATCH_NTFY_URL", "https://ntfy.example/a-long-topic")
    reload()
    decide(home.path, visit("gate", 0, 10)).close()
    report = home.call("--json", flow=f"[ntfy]\n{flow}\n")
    assert (differences(report), differences(report, "incidents")) == ([], [])
    (row,) = report["differences"]["notifications"]
    assert (row["kind"], row["notifier"], row["after"]) == ("vanishes", "ntfy", []) and row["why"] == [why]
    assert report["changes"] == [f"ntfy: {why}"] and "a-long-topic" not in json.dumps(report)


def test_stored_verdicts_of_others_are_counted_apart(home):
    record = decide(home.path, visit("gate", 0))
    record.execute("UPDATE events SET risk_level = 'low', risk_score = 3")
    record.close()
    report = home.call("--json", zones={"gate": []})
    assert report["stored_differ"] == 1 and not any(report["counts"].values())


def test_only_what_starts_in_the_period_counts_but_what_stood_still_before_is_known(home):
    statue = [("gate", t, t, [person(100)]) for t in range(0, 3000, 20)]
    decide(home.path, visit("gate", -9000) + statue).close()
    report = home.call("--json", zones={"gate": [zone("ignore")]}, since="2026-11-22T02:30")
    assert not any(report["counts"].values()), "it has stood there since before the period, so nothing of it is new"
    assert report["before"]["events"] == 0


def test_the_table_names_what_differs(home):
    decide(home.path, visit("gate", 0)).close()
    text = home.call(zones={"gate": [zone("ignore")]})
    assert text.startswith("Changed: zones of gate. 20 pictures with boxes since 2026-11-01T00:00:00Z.")
    assert "| events | 1 | 0 | 0 | 1 | 0 | 0 | 0 | 0 |" in text
    assert (
        "| event vanishes | 2026-11-22T02:00:00Z | gate | " in text
        and "→ – | in ignored zone street (20 boxes) |" in text
    )


def test_what_is_wrong_is_said_in_words(home):
    assert "there is no record yet" in home.call(zones={})
    decide(home.path, visit("gate", 0)).close()
    assert home.call() == "whatif needs what would be different: a flow file, or --zones FILE"
    assert home.call(zones={"back": []}) == "back: there is no such camera; there are gate"
    assert home.call("--camera", "yard", zones=[]) == "yard: there is no such camera; there are gate"
    wrong = [zone("ignore"), zone("garden")]
    assert "zones.json: camera gate: zone 2: `kind` is one of public, " in home.call(zones={"gate": wrong})
    assert "not 'garden'" in home.call(zones={"gate": wrong})
    assert "a list needs --camera" in home.call(zones=[])
    assert home.call(zones="{").startswith("--zones zones.json: Expecting")
    assert home.call(zones={}, since="2026-11-23").startswith(
        "--since 2026-11-23: no picture with a box was recorded since 2026-11-23T"
    )
    assert home.call("--json", zones={}, since="2026-11-23")["frames"] == 0
    assert "other.toml" in home.call(flow="[batch]\nwindow = 3\n")


# -- properties

boxes = st.lists(st.builds(person, st.sampled_from((0, 90, 260, 420, 600)), st.sampled_from((40, 200))), max_size=3)
moments = st.tuples(
    st.sampled_from(("gate", "yard")), st.integers(0, 40), st.sampled_from((0, 0, 0, 3, 50, 400)), boxes
)
kinds = st.sampled_from(("ignore", "public", "private", "own_door"))
drawn = st.lists(st.builds(zone, kinds, st.sampled_from((LEFT, RIGHT))), max_size=2)


def timeline(story):
    """Pauses as given between captures, some of them late."""
    at, out = 0, []
    for camera, pause, late, found in story:
        at += pause
        out.append((camera, at - late, at, found))
    return out


def stored(record):
    tables = {
        "events": "SELECT id, camera_id, started_at, last_at, frame_count, risk_score, reasoning FROM main.events WHERE status <> 'merged' ORDER BY id",
        "suppressed": "SELECT id, reason FROM main.suppressed ORDER BY id",
        "incidents": "SELECT id, cameras, event_count, risk_score FROM main.incidents WHERE status <> 'merged' ORDER BY id",
    }
    return {name: record.rows(sql) for name, sql in tables.items()}


@given(st.lists(moments, max_size=25), drawn, st.data())
@settings(max_examples=8, deadline=None)
def test_a_run_gives_what_the_pipeline_gives_and_the_same_twice_no_difference(tmp_path_factory, story, zones, data):
    frames = timeline(story)
    behind = data.draw(st.lists(st.sampled_from((0, 0, 0, 1, 2)), min_size=len(frames), max_size=len(frames)))
    check(tmp_path_factory.mktemp("whatif"), frames, zones, behind)


def test_a_backlog_that_ends_at_a_frame_without_boxes_seals_its_events(tmp_path):
    old = [("gate", second, 1000, [person(20 + second)]) for second in (20, 45, 70, 95, 109)]
    frames = [*old, ("gate", 2000, 2000, []), ("gate", 0, 2001, [person(300)])]
    assert len(check(tmp_path, frames, [], [2, 2, 2, 2, 2, 0, 2])["events"]) == 2
    folder = tmp_path / "not sealed"
    folder.mkdir()
    events = check(folder, frames[:5] + frames[6:], [], [2] * 6)["events"]
    assert [count for *_, count, _, _ in events] == [4, 2], "what is not sealed is cut again"


@pytest.mark.parametrize(("answer", "shift"), [("fine", -6), ("right", 6)])
def test_a_judgement_is_not_shared_where_the_owner_answered_otherwise(tmp_path, answer, shift):
    decide(tmp_path / "hearthwatch.db", visit("gate", 0)).close()
    known, scores = {}, []
    plain = Surroundings("gate", NIGHT, 640, 360)
    run = Run(graph_of(tmp_path), tmp_path / "hearthwatch.db", {}, known)
    boxes = (Sighting(512, NIGHT, "person", 0.9, 100, 100, 40, 100),)

    def judged(surroundings):
        judge = run.writer.judge(surroundings)
        judge.add(NIGHT, {"person": 1}, lambda: boxes)
        return judge

    answers = ((judged(plain).signature(), answer, 1.0),)
    for surroundings in (plain, plain, replace(plain, learned=partial(learned, answers), hints=answers)):
        scores.append(judged(surroundings).score())
    run.record.db.close()
    assert scores == [scores[0], scores[0], scores[0] + shift]
    assert len([question for question, _ in known if question == "score"]) == 2, "where all is equal, it is"


def check(folder, frames, zones, behind):
    """Compare a run with these zones with the pipeline's own record, and the configuration with itself."""
    decide(folder / "hearthwatch.db", frames, behind=behind).close()
    other = {camera: zones for camera in ("gate", "yard") if any(frame[0] == camera for frame in frames)}
    real = decide(folder / "other.db", frames, other, behind)
    graph = graph_of(folder)
    run = Run(graph, folder / "hearthwatch.db", other, {})
    run.begin()
    run.play(0, None)
    assert stored(run.record) == stored(real)
    report = compare(graph, graph, {}, 0)
    assert not any(report["counts"].values()) and report["before"] == report["after"]
    levels = real.rows("SELECT risk_level, count(*) FROM events WHERE status <> 'merged' GROUP BY 1")
    assert compare(graph, graph, other, 0)["after"]["levels"] == dict(levels), (
        "answers of judges that both runs share are the same"
    )
    run.record.db.close()
    out = stored(real)
    real.close()
    return out


def graph_of(folder):
    return Graph(context(folder, zone=ZoneInfo("UTC")))
