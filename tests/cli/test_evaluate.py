"""`hearthwatch evaluate`: labels come from stories, boxes from the real detector, events from the real batching, and the
numbers in the docs are the ones that it computes."""

import itertools
import json
import re
from datetime import datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hearthwatch.cli import app
from hearthwatch.demo.evaluate import apply_floors, auroc, auroc_error, judge_by_rules, play, report
from hearthwatch.demo.scenes import PLOTS
from hearthwatch.demo.stories import LABELS, Story, parse, stories, write
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.settings import reload
from hearthwatch.stages import rules
from tests.support.llm_server import Standin

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FILE = ROOT / "demo/stories.jsonl"
PAGE = (ROOT / "docs/judgement.md").read_text()
BOTH = [*stories("tune"), *stories("test")]


def evaluate(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["evaluate", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


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
    ("plots", "hour", "label"),
    [
        (["thief"], 12, "alarming"),
        (["lingers"], 12, "odd"),
        (["lingers"], 22, "alarming"),
        (["courier"], 21, "routine"),
        (["courier"], 4, "odd"),
        (["courier", "lingers"], 4, "alarming"),
        (["cat"], 3, "routine"),
    ],
)
def test_a_label_comes_from_plot_and_hour_and_the_graver_counts(plots, hour, label):
    assert Story("street", 1, "tune", tuple(plots), datetime(2026, 5, 1, hour), ()).label == label


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


# -- the events


def test_a_story_becomes_the_events_that_batching_cuts_with_all_its_boxes():
    some = short(3)
    for story, events in zip(some, play(some), strict=True):
        boxes = [(d.object_type, *d.bbox) for frame in story.frames for d in frame]
        assert [(s.object_type, *s[4:]) for facts in events for s in facts.sightings] == boxes
        assert {(f.camera_id, f.camera_name) for f in events} == {
            (story.camera, story.camera.replace("_", " ").title())
        }
        assert sum(f.frame_count for f in events) == sum(map(bool, story.frames))


def test_a_pause_of_half_a_minute_makes_two_events_and_the_gravest_counts():
    cat, thief = (next(s for s in stories("tune") if s.plots == (plot,)) for plot in ("cat", "thief"))
    both = cat._replace(frames=(*cat.frames, *[()] * 30, *thief.frames))
    (told,) = judge_by_rules([both])
    assert len(told.facts) == 2
    assert told.score == max(v.risk_score for v in told.verdicts) > min(v.risk_score for v in told.verdicts)


def test_a_story_that_the_detector_slept_through_counts_with_0():
    asleep = [s._replace(frames=((),) * 20) for s in short(1)]
    assert [(t.facts, t.score) for t in judge_by_rules(asleep)] == [((), 0)] * 3


def test_auroc_is_the_chance_to_be_told_apart_and_a_tie_is_half():
    assert auroc([9, 8], [1, 2]) == 1
    assert auroc([1], [9]) == 0
    assert auroc([5, 5], [5]) == 0.5
    assert auroc([3, 1], [2, 0]) == 0.75
    assert auroc_error(0.9, 50, 50) == pytest.approx(0.0324, abs=1e-3)  # Hanley and McNeil, table II and formula 1


# -- a language model


@pytest.fixture
def few(monkeypatch):
    """The command on a few stories only, with settings of its own."""
    monkeypatch.setattr("hearthwatch.cli.evaluate.stories", lambda split: short(4))
    reload()
    yield
    reload()


def test_a_model_that_always_says_20_tells_nothing_apart_and_the_floor_saves_what_is_stored(few):
    with Standin() as server:
        told = json.loads(evaluate("--llm", server.url, "--json"))
    by_rules, alone, kept = told.values()
    assert (alone["auroc"], alone["recall"], alone["evidence"], alone["unanswered"]) == (0.5, 0, 1, 0)
    assert kept["auroc"] > 0.9 and kept["recall"] <= by_rules["recall"]
    assert len(server.questions) == sum(len(facts) for facts in play(short(4)))


def test_a_question_that_fails_is_asked_again_and_what_stays_without_answer_is_counted(few, monkeypatch):
    with Standin(["garbage", 500, "drop"]) as server:
        assert json.loads(evaluate("--llm", server.url, "--json"))["language model alone"]["unanswered"] == 0
    monkeypatch.setenv("HEARTHWATCH_NEMOTRON_CONCURRENCY", "1")
    reload()
    with Standin([{"risk_score": 20}] * 3) as server:
        said = evaluate("--llm", server.url)
    assert "| events without an answer: the rules' verdict counts | 0 | 1 | 1 |" in said


def test_nobody_behind_the_url_is_said_in_words(few):
    with Standin() as server:
        gone = server.url
    with pytest.raises(UserError, match=f"{gone}: no language model answers there"):
        evaluate("--llm", gone)
    with Standin(otherwise="prose") as server, pytest.raises(UserError, match="gave no verdict on any of"):
        evaluate("--llm", server.url)


def test_what_is_stored_is_never_below_the_floor_of_the_rules():
    by_rules = judge_by_rules(short(4))
    alone = [t._replace(verdicts=tuple(rules.Verdict(0, "", "") for _ in t.verdicts)) for t in by_rules]
    kept = [t.score for t in apply_floors(alone, by_rules)]
    assert kept == [60 if t.score >= 85 else 30 if t.score >= 60 else 0 for t in by_rules]


# -- the page


def test_the_numbers_in_the_docs_are_those_that_evaluate_computes():
    assert evaluate().strip() in PAGE
    assert evaluate("--split", "tune").strip() in PAGE
    rates = re.findall(r"^\| (\d+) s \| (.*?) \| (.*?) \| (.*?) \|$", PAGE, re.MULTILINE)
    assert [int(every) for every, *_ in rates] == [1, 2, 3, 5, 10]
    for every, *cells in rates:
        r = report(judge_by_rules(stories("test"), int(every)))
        assert cells == [f"{r.auroc:.3f} ± {r.auroc_error:.3f}", f"{r.recall:.0%}", f"{r.false_highs:.1f}"]


def test_the_rules_tell_what_they_promise_on_stories_that_they_were_not_tuned_on():
    assert report(judge_by_rules(stories("test"))).auroc >= 0.95


def test_labels_and_points_in_the_docs_are_those_of_the_code():
    for plot, meaning in LABELS.items():
        assert plot == "quiet" or f"| `{plot}` | {meaning.day} | {meaning.night} | {meaning.why} |" in PAGE
    points = {
        "each further one": (rules.MORE, rules.MORE_MAX),
        "in view for": tuple(n for _, n in reversed(rules.STAY)),
        "on the camera's clock": (rules.NIGHT_PERSON, rules.NIGHT_VEHICLE),
        "does not leave": (rules.LOITER, rules.LOITER_MORE, rules.LOITER_MAX),
        "the same at night": (rules.LOITER_NIGHT,),
        "a package that lay": (rules.PACKAGE_TAKEN,),
    }
    for term, numbers in points.items():
        (cell,) = re.findall(rf"^\| [^|]*{term}[^|]*\| ([^|]*) \|$", PAGE, re.MULTILINE)
        assert tuple(map(int, re.findall(r"\d+", cell))) == numbers, term
    (kinds,) = re.findall(r"^\| the gravest kind of object \| (.*) \|$", PAGE, re.MULTILINE)
    said = {
        kind: int(n)
        for names, n in re.findall(r"([a-z, ]+?) (\d+)", kinds)
        for kind in re.split(r", | and ", names.strip(", "))
    }
    assert said == rules.KIND | {"anything else": rules.OTHER}
