"""`hearthwatch evaluate`: labels come from stories and files, boxes from the real detector, what people are notified of from the
product's own code on a virtual clock, and the numbers in the docs are the ones that it computes."""

import itertools
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from hearthwatch.cli import app
from hearthwatch.demo.evaluate import (
    NO_FLOOR,
    Scenario,
    Simulation,
    apply_floors,
    auroc,
    from_story,
    judge_incident,
    judge_stories,
    read_scenarios,
    scenario_of,
    skip_pictures,
)
from hearthwatch.demo.scenes import PLOTS
from hearthwatch.demo.stories import LABELS, Story, draw_picture, parse, stories, sun, write
from hearthwatch.demo.weeks import ALARMS, HOUSEHOLDS, SCRIPTS, Habit, Household, play_script
from hearthwatch.gpu.detector import Detector
from hearthwatch.record.batching import Batching
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.items import Detection, Verdict, from_microseconds
from hearthwatch.schemas.settings import reload
from tests.support.judgement_page import blocks, output
from tests.support.judges import whole
from tests.support.llm_server import Standin, images, instance, schema_of

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FILE = ROOT / "demo/stories.jsonl"
PAGE = (ROOT / "docs/judgement.md").read_text()
BOTH = [*stories("tune"), *stories("test")]


def evaluate(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["evaluate", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def drawn(some, every: float = 0):
    return judge_stories([from_story(story, packages=True) for story in some], every)


def short(number: int) -> list[Story]:
    """So many short stories of each kind."""
    kinds = itertools.groupby(sorted(stories("tune"), key=lambda s: s.label), key=lambda s: s.label)
    return [s for _, some in kinds for s in sorted(some, key=lambda s: len(s.frames))[:number]]


# -- the stories


def test_no_story_to_tune_on_is_one_to_test_on_and_both_splits_have_all_labels():
    assert not {(s.camera, s.seed) for s in stories("tune")} & {(s.camera, s.seed) for s in stories("test")}
    for split in ("tune", "test"):
        assert {s.label for s in stories(split)} == {"routine", "odd", "alarming"}
        assert len({s.camera for s in stories(split)}) == 4
    assert {s.split for s in BOTH} == {"tune", "test"}


def test_every_plot_that_is_played_has_a_meaning():
    assert LABELS.keys() == PLOTS.keys() - {"scatter"}
    assert {plot for s in BOTH for plot in s.plots} <= LABELS.keys()


@pytest.mark.parametrize(
    ("plots", "start", "label"),
    [
        (["thief"], "2026-05-01T12:00", "alarming"),
        (["lingers"], "2026-05-01T12:00", "odd"),
        (["lingers"], "2026-05-01T22:00", "alarming"),
        (["courier"], "2026-06-21T20:40", "routine"),
        (["courier"], "2026-12-21T17:00", "odd"),
        (["courier", "lingers"], "2026-12-21T07:00", "alarming"),
        (["cat"], "2026-05-01T03:00", "routine"),
    ],
)
def test_a_label_comes_from_plot_and_sun_and_the_graver_counts(plots, start, label):
    assert Story("street", 1, "tune", tuple(plots), datetime.fromisoformat(start), ()).label == label


def test_stories_happen_at_every_hour_and_in_every_season():
    assert len({s.start.hour for s in BOTH}) == 24 and {s.start.month for s in BOTH} == set(range(1, 13))
    assert {(sun(s.start) < 0) == s.is_dark for s in BOTH} == {True, False}  # twilight is among them


def test_the_file_is_small_and_reads_as_it_was_written():
    lines = FILE.read_text().splitlines()
    assert FILE.stat().st_size < 300_000
    assert [write(parse(line)) for line in lines] == lines


def test_the_boxes_in_the_file_are_those_that_the_packaged_detector_finds():
    """A few may differ by the last bit of another processor's arithmetic."""
    from bench.stories import clips, line

    wanted = min(
        (s for s in stories("test") if len(s.plots) == 1 and s.camera == "street"), key=lambda s: len(s.frames)
    )
    ((clip, others),) = [c for c in clips("test") if (c[0].camera, c[0].seed) == (wanted.camera, wanted.seed)]
    again = parse(line("test", clip, others))
    assert again[:5] == wanted[:5]
    kinds = [[[d.object_type for d in frame] for frame in s.frames] for s in (again, wanted)]
    assert sum(a == b for a, b in zip(*kinds, strict=True)) >= 0.9 * len(wanted.frames)


# -- the virtual clock


def test_a_story_becomes_the_events_that_batching_cuts_with_all_its_boxes():
    some = short(3)
    for story, result in zip(some, drawn(some), strict=True):
        boxes = [(d.object_type, *d.bbox) for frame in story.frames for d in frame]
        assert [(s.object_type, *s[4:8]) for facts in result.facts for s in facts.sightings] == boxes
        assert {f.camera_name for f in result.facts} == {story.camera.replace("_", " ").title()}
        assert sum(f.frame_count for f in result.facts) == sum(map(bool, story.frames))


def test_a_pause_of_half_a_minute_makes_two_events_and_the_gravest_counts():
    cat, thief = (next(s for s in stories("tune") if s.plots == (plot,)) for plot in ("cat", "thief"))
    (result,) = drawn([cat._replace(frames=(*cat.frames, *[()] * 30, *thief.frames))])
    assert len(result.facts) == 2
    assert result.score == max(v.risk_score for v in result.verdicts) > min(v.risk_score for v in result.verdicts)


def test_a_story_that_the_detector_slept_through_counts_with_0():
    asleep = [s._replace(frames=((),) * 20) for s in short(1)]
    assert [(t.facts, t.score, t.seconds_to_high) for t in drawn(asleep)] == [((), 0, None)] * 3


PACES = [[n, [["person", 0.8, min(300, 33 * n) + 100 * (n // 10 % 2), 200, 40, 100]]] for n in range(80)]
STORY = {
    "camera": "Yard", "size": [640, 360], "start": "2026-02-03T01:00:00", "label": "alarming", "needs": ["movement"],
    "dark": True, "zones": [], "frames": PACES,
}  # fmt: skip
CAT = STORY | {
    "label": "routine",
    "needs": ["picture"],
    "frames": [[n, [["cat", 0.7, 9 * n, 300, 40, 30]]] for n in range(9)],
}
WALK = [[n, camera, [["person", 0.8, 9 * n, 200, 40, 100]]] for n in range(40) for camera in ("Gate", "Yard")]
VISIT = {
    "name": "walks to the door and back", "start": "2026-02-03T13:00:00", "sizes": {"Gate": [640, 360], "Yard": [640, 360]},
    "shots": WALK, "alerts_min": 0, "notifications_max": 1, "alert_within_s": None,
}  # fmt: skip
PROWLER = VISIT | {
    "name": "paces at night", "start": "2026-02-03T01:00:00", "alerts_min": 1, "notifications_max": 3, "alert_within_s": 60,
    "shots": [[second, "Yard", boxes] for second, boxes in PACES],
}  # fmt: skip


@pytest.fixture
def files(tmp_path):
    """Two stories and two incidents."""
    written = tmp_path / "stories.json", tmp_path / "incidents.json"
    for file, content in zip(written, ({"stories": [STORY, CAT]}, [VISIT, PROWLER]), strict=True):
        file.write_text(json.dumps(content))
    return tuple(map(str, written))


def test_stories_and_incidents_of_files_are_one_json_object(files):
    answer = json.loads(evaluate("--stories", files[0], "--incidents", files[1], "--json"))
    ends = {"recall_high_low": 1.0, "false_high_high": 0.0}
    rates = {"stories": 2, "auroc": 1.0, "auroc_low": 1.0, "recall_high": 1.0, "false_high": 0.0} | ends
    assert {key: answer[key] for key in rates} == rates
    only_one = {"stories": 1, "auroc": None, "auroc_low": None, "recall_high": 1.0, "false_high": None} | ends
    only_one["false_high_high"] = None
    assert answer["boxes_can_tell"] == only_one
    assert answer["levels"]["low"] == {"routine": 1, "odd": 0, "alarming": 0}
    assert sum(answer["levels"][level]["alarming"] for level in ("high", "critical")) == 1
    assert answer["needs"] == {"movement": {"stories": 1, "wrong": 0}, "picture": {"stories": 1, "wrong": 0}}
    assert 0 < answer["seconds_to_high"]["p50"] == answer["seconds_to_high"]["p95"] <= 95
    visit, prowler = answer["incidents"]
    assert visit == {
        "name": "walks to the door and back", "events": 2, "incidents": visit["incidents"], "notifications": 0, "alerts": 0,
        "first_alert_seconds": None, "ok": True,
    }  # fmt: skip
    assert prowler["alerts"] >= 1 and prowler["ok"] is (
        prowler["first_alert_seconds"] <= 60 and prowler["notifications"] <= 3
    )
    assert json.loads(evaluate("--incidents", files[1], "--json")) == {"incidents": answer["incidents"]}
    table = evaluate("--stories", files[0], "--incidents", files[1])
    assert "| auroc | 1 |" in table and "| walks to the door and back | 2 | 2 | 0 | 0 |  | True |" in table


def test_a_car_that_passed_long_before_is_no_delay_of_what_is_seen_of_a_person(tmp_path):
    cars = [[float(n), [["car", 0.8, 20 + 50 * n, 300, 90, 40]]] for n in range(8)]
    written = tmp_path / "stories.json"
    written.write_text(json.dumps([STORY | {"frames": [*cars, *([300 + second, boxes] for second, boxes in PACES)]}]))
    answer, alone = json.loads(evaluate("--stories", str(written), "--json")), tmp_path / "alone.json"
    alone.write_text(json.dumps([STORY]))
    paces = json.loads(evaluate("--stories", str(alone), "--json"))
    assert answer["seconds_in_sight"] == paces["seconds_in_sight"] == paces["seconds_to_high"]
    assert answer["seconds_to_high"]["p50"] == paces["seconds_to_high"]["p50"] + 300


def test_an_alert_before_its_time_does_not_count(files):
    _, prowler = read_scenarios(Path(files[1]), "incidents")
    early = judge_incident(prowler._replace(about=prowler.about | {"alert_after_s": 1, "alert_within_s": 95}))
    late = judge_incident(prowler._replace(about=prowler.about | {"alert_after_s": 100}))
    assert early["first_alert_seconds"] == judge_incident(prowler)["first_alert_seconds"] - 1 and early["ok"]
    assert late["alerts"] >= 1 and late["first_alert_seconds"] is None and not late["ok"]


@pytest.mark.parametrize(
    ("change", "expected"), [({"notifications_max": -1}, False), ({"alerts_min": 1}, False), ({}, True)]
)
def test_an_incident_is_ok_if_it_is_given_by_file_as_often_as_its_file_wants(files, change, expected):
    visit, _ = read_scenarios(Path(files[1]), "incidents")
    assert judge_incident(visit._replace(about=visit.about | change))["ok"] is expected


def test_what_a_file_says_of_places_sun_habits_and_notes_reaches_who_uses_it(files):
    story = read_scenarios(Path(files[0]), "stories")[0]
    known, simulation = [], Simulation()
    simulation.batching = Batching(
        simulation.record, lambda given: known.append(rules := simulation.judge(given)) or rules
    )
    door = {"name": "Door", "kind": "own_door", "points": [[0, 0], [1, 0], [1, 1]]}
    given_by_file = {"dark": False, "usual": "most days at this hour", "notes": "The cat is ours.", "zones": [door]}
    simulation.play(story._replace(about=story.about | given_by_file), week=3)
    given = known[0].surroundings
    assert [zone.kind for zone in given.zones] == ["own_door"]
    normal = given.normal(known[0].signature())
    assert normal.points < 0 and "on 24 of 28 watched nights" in normal.why
    assert simulation.record.one("SELECT notes FROM cameras") == ("The cat is ours.",)
    assert not any("dark" in event.verdict.reasoning for _, event in simulation.revisions)
    assert from_microseconds(given.started_at).weekday() == story.start.weekday()


def test_an_ignored_zone_of_a_story_counts_and_darkness_without_a_word_is_the_clocks(files):
    story = read_scenarios(Path(files[0]), "stories")[0]
    everywhere = [{"kind": "ignore", "points": [[0, 0], [1, 0], [1, 1], [0, 1]]}]
    changes = {"zones": everywhere}, {"dark": None}, {"dark": False}
    seen, ignored, by_clock, light = judge_stories(
        [story, *(story._replace(about=story.about | change) for change in changes)]
    )
    assert ignored.facts == () and seen.score == by_clock.score > light.score > 0


def test_quiet_hours_take_no_time():
    """Of a day with two passers-by only the minutes count in which something is open."""
    two = [(t, "street", (Detection("person", 0.9, (200, 150, 30, 80)),), (640, 360)) for t in (0.0, 86_000.0)]
    simulation, ticks = Simulation(), []
    simulation.ledger.tick = lambda at, tick=simulation.ledger.tick: ticks.append(at) or tick(at)
    simulation.play(Scenario(datetime(2026, 6, 1, tzinfo=UTC), tuple(two), {}))
    assert simulation.record.one("SELECT count(*) FROM incidents WHERE status = 'closed'") == (2,)
    assert len(ticks) < 200


def test_a_day_at_a_street_rings_for_two_burglars_and_for_no_one_else():
    """One camera, a person passes every 90 s, one burglar at night and one in the afternoon; scores are given."""
    passing = [
        (t + n, "street", (Detection("person", 0.9, (200 * n, 150, 30, 80)),), (640, 360))
        for t in range(0, 86_400, 90)
        for n in (0, 2)
    ]
    burglars = [
        (t + n, "street", (Detection("person", 0.9, (300 + n, 100, 90, 240)),), (640, 360))
        for t in (9_613, 50_413)
        for n in range(0, 60, 5)
    ]
    simulation = Simulation()
    judge = whole(lambda facts: Verdict(70 if any(s.height > 200 for s in facts.sightings) else 22, "", ""))
    simulation.batching = Batching(simulation.record, judge)
    simulation.play(Scenario(datetime(2026, 6, 1, tzinfo=UTC), tuple(sorted(passing + burglars)), {}))
    assert simulation.alerts == [(9_613, "high"), (50_413, "high")]
    incidents = simulation.record.rows("SELECT risk_level, count(*) FROM incidents WHERE status <> 'merged' GROUP BY 1")
    assert dict(incidents)["high"] == 2 and dict(incidents)["low"] > 800


def test_fewer_pictures_are_left_of_each_camera(files):
    (visit, _) = read_scenarios(Path(files[1]), "incidents")
    kept = skip_pictures(visit.pictures, 3)
    assert [(second, camera) for second, camera, *_ in kept[:4]] == [(0, "Gate"), (0, "Yard"), (3, "Gate"), (3, "Yard")]
    assert len(kept) == 28 and skip_pictures(visit.pictures, 0) == list(visit.pictures)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[{", "Expecting"),
        ("{}", "'stories' is missing"),
        ('[{"frames": [], "camera": "c", "size": [1, 1], "start": "2026-01-01"}]', "0 pictures"),
        ('[{"frames": [[0, []]], "camera": "c", "size": [1, 1]}]', "'start' is missing"),
    ],
)
def test_a_file_that_is_none_is_refused_in_words(tmp_path, text, said):
    (tmp_path / "f.json").write_text(text)
    with pytest.raises(UserError, match=f"f.json: no file of stories.*{said}"):
        evaluate("--stories", str(tmp_path / "f.json"))


@pytest.mark.parametrize(
    ("words", "points"),
    [
        ("most days at this hour", -1),
        ("every Tuesday at this hour", 0),
        ("house empty 8-16", 1),
        ("No one is here at this hour", 1),
        ("only people of the house are in the garden", 0),
        ("cars every day at this hour", 0),  # nothing about a person
    ],
)
def test_words_for_what_is_usual_count_as_the_weeks_that_they_describe(files, words, points):
    simulation, known = Simulation(), []
    simulation.batching = Batching(
        simulation.record, lambda given: known.append(rules := simulation.judge(given)) or rules
    )
    story = read_scenarios(Path(files[0]), "stories")[0]
    simulation.play(story._replace(about=story.about | {"usual": words}), week=0)
    normal = known[0].surroundings.normal(known[0].signature())
    assert (0 if normal is None else normal.points > 0 or -1) == points


# -- simulated weeks


def test_weeks_of_six_households_are_rows_of_figures(monkeypatch):
    """Only the household with the fewest pictures plays here; the page has all of them."""
    monkeypatch.setattr("hearthwatch.demo.weeks.HOUSEHOLDS", {"shift worker": HOUSEHOLDS["shift worker"]})
    rows = json.loads(evaluate("--weeks", "1", "--json"))["weeks"]
    keys = "week", "false_high_per_camera", "recall_high", "notifications_per_day", "review_minutes_per_day"
    assert [(tuple(row), row["week"]) for row in rows] == [(keys, 1)]
    assert evaluate("--weeks", "1", "--every", "4").count("\n") == 3


def test_an_owner_answers_every_other_false_high_and_an_alarming_story_comes_where_and_when_that_was(monkeypatch):
    monkeypatch.setattr("hearthwatch.demo.weeks.IN_SIGNATURE", 1)
    house = Household("smoker", 4)
    house.habits = (*house.habits, Habit("breaks in", 3, 0.1))  # an odd habit, which the rules cannot know
    false = house.play_week(0)[0]
    record = house.simulation.record
    answered = record.rows(
        "SELECT f.signature FROM feedback f JOIN events e ON e.id = f.event_id WHERE e.risk_score >= 60"
    )
    assert false == house.false_highs > 0 and len(answered) == (false + 1) // 2
    assert record.one("SELECT count(DISTINCT as_of) FROM baselines")[0] >= 1
    pictures, day = house._alarm()
    camera, _, _, from_own_door, hour, workday = json.loads(answered[-1][0]).values()
    assert {picture[1] for picture in pictures} == {camera} and (day < 5) == workday
    assert pictures[0][0] // 3600 == hour and (pictures[0][2][0].bbox[0] > 100 or not from_own_door)


def test_every_script_stays_at_its_camera_and_the_same_seed_gives_the_same_week():
    for script, (camera, kinds, _) in SCRIPTS.items():
        pictures = [*play_script(Random(1), script, 3)]
        assert pictures == [*play_script(Random(1), script, 3)] and {p[1] for p in pictures} == {camera}
        assert {d.object_type for p in pictures for d in p[2]} == {*kinds.split()} or not kinds
        assert pictures[0][0] >= 3 * 3600 and all(p[3] == (1280, 720) for p in pictures)
    assert {habit.script for habits in HOUSEHOLDS.values() for habit in habits} <= SCRIPTS.keys() - {*ALARMS.values()}


@pytest.mark.parametrize("every", ["-1", "1,x", ""])
def test_a_rate_that_is_none_is_refused_in_words(every):
    with pytest.raises(UserError, match=r"--every .*: seconds, or several separated by commas"):
        evaluate("--every", every)


def test_several_rates_are_one_table_and_one_object(files):
    both = "--stories", files[0], "--incidents", files[1], "--every"
    answer = json.loads(evaluate(*both, "1,30", "--json"))["every"]
    assert answer["30"] == json.loads(evaluate(*both, "30", "--json"))
    assert answer["1"]["recall_high"] == 1 and answer["30"]["recall_high"] == 0
    rows = [line for line in evaluate(*both, "1,30").splitlines() if not line.startswith("| ---")]
    assert [row.split(" | ")[0] for row in rows] == ["| every", "| 1", "| 30"] and "of 2 |" in rows[1]


def each(label, *scores):
    """Scores of as many scenarios."""
    return [(score, f"{label}{n}") for n, score in enumerate(scores)]


def test_auroc_is_the_chance_to_be_told_apart_and_a_tie_is_half():
    assert auroc(each("a", 9, 8), each("b", 1, 2)) == (1, 1)
    assert auroc(each("a", 1), each("b", 9)) == (0, 0)
    assert auroc(each("a", 5, 5), each("b", 5)) == (0.5, 0.5)
    assert auroc(each("a", 3, 1), each("b", 2, 0))[0] == 0.75
    assert auroc([], each("b", 1)) == (None, None)


@given(*[st.lists(st.integers(0, 100), min_size=1, max_size=8)] * 2)
@hypothesis_settings(max_examples=25, deadline=None)
def test_an_auroc_is_the_share_of_pairs_in_order_and_its_lower_end_is_not_above_it(above, below):
    area, low = auroc(each("a", *above), each("b", *below))
    wins = [(x > y) + (x == y) / 2 for x in above for y in below]
    assert area == round(sum(wins) / len(wins), 4) and 0 <= low <= 1 and low <= area


def test_the_interval_of_an_auroc_is_narrower_with_more_stories_not_with_more_of_one_scenario():
    above, below = each("a", 30, 50, 70, 90), each("b", 10, 40, 60)
    (area, few), (same, many) = (
        auroc(above, below),
        auroc(*(each(x[0][1], *[s for s, _ in x] * 20) for x in (above, below))),
    )
    copied, few_again = auroc(above * 20, below * 20)
    assert area == same == copied and few == few_again < many < area
    assert auroc(above, below) == (area, few)


def test_titles_that_differ_behind_a_comma_bracket_or_number_are_one_scenario():
    assert scenario_of({"title": "walks past (in rain)"}) == scenario_of({"title": "walks past, twice"}) == "walks past"
    assert scenario_of({"title": "rings", "scenario": "door"}) == "door" and scenario_of({}) == ""


# -- a language model


@pytest.fixture
def few(monkeypatch):
    """The command on a few stories only, with settings of its own."""
    monkeypatch.setattr("hearthwatch.cli.evaluate.drawn_stories", lambda split: short(4))
    reload()
    yield
    reload()


def test_a_model_that_always_says_20_tells_nothing_apart_and_the_floor_saves_what_is_stored(few):
    with Standin() as server:
        by_rules = json.loads(evaluate("--llm", server.url, "--json"))
    alone, kept = by_rules["llm"].values()
    assert (alone["auroc"], alone["recall_high"], alone["evidence"], alone["unanswered"]) == (0.5, 0, 1, 0)
    assert kept["auroc"] >= alone["auroc"] and kept["recall_high"] <= by_rules["recall_high"]
    assert len(server.questions) == sum(len(result.facts) for result in drawn(short(4)))


def test_a_model_that_reads_pictures_is_shown_those_of_the_drawn_yard(few, monkeypatch):
    monkeypatch.setattr("hearthwatch.cli.evaluate.drawn_stories", lambda split: short(1))

    def answer(question):
        kinds = {
            n: track["properties"]["sees"]["properties"]
            for n, track in schema_of(question)["properties"]["tracks"]["properties"].items()
        }
        tracks = {
            n: {"sees": dict.fromkeys(sees, "person"), "is": "person", "because": "as drawn"}
            for n, sees in kinds.items()
        }
        acts = [{"act": "passes by", "picture": 1}]
        return {"writing": "", "tracks": tracks, "acts": acts, "resident_likely": False, "cue": "", "against": "", "summary": "1 person.", "risk_score": 20}  # fmt: skip

    with Standin(otherwise=answer, pictures=True) as server:
        stored = [*json.loads(evaluate("--llm", server.url, "--json"))["llm"].values()][1]["pictures"]
        said = evaluate("--llm", server.url)
    assert all(images(question) for question in server.questions)
    assert stored["events"] == len(server.questions) / 2 and stored["verdicts"]["confirmed"] > stored["events"] / 2
    assert stored["veto_recall"] is None and stored["acts"]["passes by"] == {
        "rules": 0,
        "model": stored["events"],
        "rules and model": 0,
    }
    assert f"| passes by | 0 | {stored['events']} | 0 |" in said and "| pictures |" in said


def test_a_story_is_drawn_again_as_the_detector_saw_it():
    for story in short(1):
        second = next(n for n, boxes in enumerate(story.frames) if boxes)
        (found,) = Detector("yard", device="cpu", confidence=0.5).detect([draw_picture(story, second)])
        assert [(d.object_type, d.bbox) for d in found] == [(d.object_type, d.bbox) for d in story.frames[second]]


def test_a_file_of_stories_may_name_pictures_and_say_that_nothing_is_there(tmp_path, few):
    boxes = [["person", 0.55, 300, 100, 40, 90]]
    frames = [[float(n), boxes, f"{n}.jpg"] for n in range(8)]
    rows = [{"camera": "Yard", "size": [640, 360], "start": "2026-05-01T23:30:00", "label": "routine", "frames": frames, "nothing": True},
            {"camera": "Gate", "size": [640, 360], "start": "2026-05-02T23:30:00", "label": "odd", "frames": [frame[:2] for frame in frames]}]  # fmt: skip
    for n in range(8):
        Image.new("RGB", (640, 360), (90, 20 * n, 60)).save(tmp_path / f"{n}.jpg")
    (tmp_path / "stories.json").write_text(json.dumps(rows))

    def answer(question):
        if not images(question):
            return instance(schema_of(question))
        return instance(schema_of(question)) | {
            "tracks": {"1": {"sees": {"2": "nothing"}, "is": "nothing", "because": "a bush"}},
            "acts": [],
        }

    with Standin(otherwise=answer, pictures=True) as server:
        report = json.loads(evaluate("--llm", server.url, "--stories", str(tmp_path / "stories.json"), "--json"))
    assert [len(images(question)) for question in server.questions] in ([2, 0], [0, 2])
    figures = [*report["llm"].values()][1]["pictures"]
    assert (figures["events"], figures["veto_precision"], figures["veto_recall"]) == (1, 1, 1)


def test_a_question_that_fails_is_asked_again_and_what_stays_without_answer_is_counted(few, monkeypatch):
    with Standin(["garbage", 500, "drop"]) as server:
        assert json.loads(evaluate("--llm", server.url, "--json"))["llm"]["language model alone"]["unanswered"] == 0
    monkeypatch.setenv("HEARTHWATCH_NEMOTRON_CONCURRENCY", "1")
    reload()
    with Standin([{"risk_score": 20}] * 3) as server:
        said = evaluate("--llm", server.url)
    assert "| unanswered | 0 | 1 | 1 |" in said


def test_nobody_behind_the_url_is_said_in_words(few):
    with Standin() as server:
        gone = server.url
    with pytest.raises(UserError, match=f"{gone}: no language model answers there"):
        evaluate("--llm", gone)
    with Standin(otherwise="prose") as server, pytest.raises(UserError, match="gave no verdict on any of"):
        evaluate("--llm", server.url)


def test_what_is_stored_is_never_below_the_floor_of_hard_signs(files):
    story = read_scenarios(Path(files[0]), "stories")[0]
    walks = [(float(n), (30 * n, 200, 40, 100)) for n in range(10)]
    lies = [(float(n), (290, 270, 100, 38)) for n in range(10, 50)]
    falls = [(n, "Yard", (Detection("person", 0.8, box),), (640, 360)) for n, box in walks + lies]
    by_rules = judge_stories([story, story._replace(pictures=tuple(falls))], asks=True)
    alone = [t._replace(verdicts=(NO_FLOOR,) * len(t.verdicts)) for t in by_rules]
    kept = [t.score for t in apply_floors(alone)]
    assert kept == [max(asked.floor for asked in t.asked) for t in by_rules]
    assert "lies" in by_rules[1].verdicts[0].reasoning and kept[1] > kept[0] == 0


# -- the page


@pytest.mark.parametrize("command", [c for c in blocks() if "SHARED" not in c and "--weeks" not in c])
def test_the_numbers_in_the_docs_are_those_that_evaluate_computes(command):
    assert output(command) == blocks()[command]


def test_the_rules_tell_what_they_promise_on_stories_that_they_were_not_tuned_on():
    figures = dict(re.findall(r"^\| ([\w. ]+) \| ([\d.]+) \|$", output("evaluate"), re.MULTILINE))
    assert float(figures["with_packages.auroc"]) >= 0.95


def test_labels_in_the_docs_are_those_of_the_code():
    for plot, meaning in LABELS.items():
        assert plot == "quiet" or f"| `{plot}` | {meaning.day} | {meaning.dark} | {meaning.why} |" in PAGE
