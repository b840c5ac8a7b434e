"""Promise: functions of the graph's author judge beside or instead of the built-in rules and of the language model; each term
is printed with its points and its function; what a function raises costs nothing but its own words, and health names it.
"""

import re
import sys
import textwrap

import pytest

from hearthwatch.flows.graph import Graph
from hearthwatch.schemas import Case, Event, Facts, Term
from hearthwatch.schemas.case import Sighting
from hearthwatch.schemas.context import Failures
from hearthwatch.stages.own_rules import OwnRule
from hearthwatch.stages.rules import RulesJudge, judge, replay, surroundings_of
from tests.support.pipeline import ROOT, Nursery, Pipeline, name

SECOND = 1_000_000
SOON = "idle_timeout_seconds = 1\nlateness_seconds = 0.1"  # events close a second after the last picture
OWN = """
from hearthwatch.schemas import Term, Verdict


def regular(facts, surroundings):
    return [Term(-7, f"a regular at {facts.camera_name}")] if len(facts.sightings) > 1 else []


def broken(facts, surroundings):
    return facts.plates


def wordy(facts, surroundings):
    return [Term(5000, "of all time")]


def known(case):
    if case.attempts < 1:
        raise LookupError("the book is not open")
    return Verdict(3, "The neighbour.", "in the book", case.event.verdict.evidence)


def nothing(case):
    return None
"""


@pytest.fixture(autouse=True)
def _module(tmp_path, monkeypatch):
    (tmp_path / "own_rules_of_mine.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("own_rules_of_mine", None)


def visit(pictures=3):
    """A person for some seconds by day."""
    boxes = [
        Sighting(512 * n, n * SECOND + 43_200 * SECOND, "person", 0.9, 40 * n, 50, 60, 170)
        for n in range(1, pictures + 1)
    ]
    return Facts(1, "door", "Door", boxes[0].at, boxes[-1].at, pictures, 640, 480, tuple(boxes))


def judged(*functions, built_in=True, facts=None):
    failures, facts = Failures(), facts or visit()
    own = [OwnRule(f"own_rules_of_mine:{one}", failures) for one in functions]
    return replay(facts, RulesJudge(surroundings_of(facts), own=own, is_built_in=built_in)), facts, failures


# -- a rule


def test_an_own_rule_adds_to_the_score_and_is_printed_with_its_points_and_name():
    rules, facts, failures = judged("regular")
    plain, verdict = judge(facts), rules.verdict(facts)
    assert verdict.risk_score == plain.risk_score - 7
    assert "a regular at door (own_rules_of_mine:regular) −7" in verdict.reasoning
    assert verdict.summary == plain.summary and rules.score() == verdict.risk_score and not failures.recent()


def test_own_rules_may_judge_alone():
    rules, facts, _ = judged("regular", built_in=False)
    assert rules.terms() == [Term(-7, "a regular at door (own_rules_of_mine:regular)")]
    assert judged(built_in=False)[0].verdict(facts).reasoning == "nothing: 0 of 100, by the rules"


def test_an_own_rule_is_asked_again_when_the_event_grows():
    """As the pipeline asks: after each picture, and of an event that is read from the record the same."""
    growing, facts, _ = judged("regular", facts=visit(1))
    assert growing.terms() == judged(facts=facts)[0].terms()
    more = visit(2).sightings[1]
    growing.add(more.at, {"person": 1}, lambda: [more])
    assert growing.terms() == judged("regular", facts=visit(2))[0].terms()
    assert growing.terms()[-1].points == -7


@pytest.mark.parametrize(
    ("function", "says"), [("broken", "AttributeError: "), ("wordy", "is no term: return `Term(points, why)`")]
)
def test_a_rule_that_fails_costs_its_own_terms(function, says):
    rules, facts, failures = judged(function, "regular")
    verdict = rules.verdict(facts)
    assert verdict.risk_score == judge(facts).risk_score - 7
    assert f"own_rules_of_mine:{function} failed with " in verdict.reasoning
    assert says in failures.recent()[f"own_rules_of_mine:{function}"]


def test_the_guides_rule_and_judge_know_a_plate():
    guide = (ROOT / "docs" / "plugins.md").read_text()
    parts = {}
    for block in re.findall(r"```python\n(from hearthwatch.schemas import (?:Facts|Case).*?)```", guide, re.DOTALL):
        exec(block, parts)
    facts = visit(1)
    known = facts._replace(sightings=tuple(s._replace(attributes_json='{"plate": "B HW 17"}') for s in facts.sightings))
    for seen, points, score in ((facts, [], 40), (known, [-20], 5)):
        assert [term.points for term in parts["regulars"](seen, surroundings_of(seen))] == points
        event = Event(1, "", "door", "event.closed", 2, None, None, "closed", 1, {}, judge(seen), ())
        assert parts["judge"](Case(event, seen)).risk_score == score


# -- in a flow file

MISTAKES = {
    "no module": ("rules = ['own_ruls:x']", "cannot import `own_ruls` (ModuleNotFoundError: No module named 'own_ruls'): put `own_ruls.py` into the folder"),
    "no function": ("rules = ['own_rules_of_mine:regulars']", "`own_rules_of_mine` has no function `regulars`. Did you mean `regular`?"),
    "no colon": ("rules = ['own_rules_of_mine.regular']", "names no function: write `module:function`"),
    "a module that fails": ("rules = ['own_rules_failing:x']", "cannot import `own_rules_failing` (ZeroDivisionError: division by zero): correct `own_rules_failing`"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_function_that_is_not_there_is_named_with_what_to_do(tmp_path, mistake):
    (tmp_path / "own_rules_failing.py").write_text("1 / 0\n")
    option, says = MISTAKES[mistake]
    (line,) = Graph.from_toml(f'extends = "default"\n[batch]\n{option}\n').check()
    assert "batch (batch): `rules" in line and says in line, line
    (line,) = Graph.from_toml(
        f'extends = "default"\n[analyze]\n{option.replace("rules = [", "judge = ").replace("]", "")}\n'
    ).check()
    assert "analyze (nemotron): `judge`" in line and says in line, line


@pytest.fixture(scope="module")
def nursery():
    with Nursery() as nursery:
        yield nursery


ANALYZE = """
[analyze]
use = "nemotron"
from = "batch"
judge = "own_rules_of_mine:{judge}"
attempts = {attempts}

[sqlite]
use = "sqlite"
from = ["batch", "analyze"]
"""


def house(folder, nursery, judge="known", attempts=3):
    p = Pipeline(
        folder, nursery=nursery, options="boxes = 2", more=ANALYZE.format(judge=judge, attempts=attempts),
        batch=f'{SOON}\nrules = ["own_rules_of_mine:regular", "own_rules_of_mine:broken"]',
        TUNE="hearthwatch.flows.monitor.CHECK_SECONDS=0.1,hearthwatch.stages.llm_queue.RETRY_SECONDS_MAX=0.1",
    )  # fmt: skip
    (p.folder / "own_rules_of_mine.py").write_text(textwrap.dedent(OWN))
    return p


SQL = "SELECT status, risk_score, summary, reasoning, analyzer, model, analysis_status FROM events"


def test_own_rules_and_an_own_judge_in_a_running_graph(tmp_path, nursery):
    p = house(tmp_path, nursery).upload("door", name(0)).upload("door", name(0.5)).start()
    p.until(lambda: p.rows(SQL) and p.rows(SQL)[0][-1] == "done")
    p.until(lambda: len(p.rows("SELECT 1 FROM conditions WHERE kind = 'judge_failed' AND state = 'on'")) == 2).stop()
    assert p.rows(SQL) == [
        ("closed", 3, "The neighbour.", "in the book", "nemotron", "own_rules_of_mine:known", "done")
    ]
    (closed,) = p.rows("SELECT reasoning FROM event_history WHERE type = 'event.closed'")
    assert "a regular at door (own_rules_of_mine:regular) −7" in closed[0]
    assert "own_rules_of_mine:broken failed with AttributeError" in closed[0]
    says = dict(p.rows("SELECT subject, message FROM conditions WHERE kind = 'judge_failed'"))
    assert says["batch"].startswith("own_rules_of_mine:broken failed: AttributeError: ")
    assert "LookupError: the book is not open" in says.get("analyze", says["batch"])


def test_a_judge_without_a_verdict_leaves_that_of_the_rules(tmp_path, nursery):
    p = house(tmp_path, nursery, "nothing", attempts=1).upload("door", name(0)).start()
    p.until(lambda: p.rows(SQL) and p.rows(SQL)[0][-1] == "failed").stop()
    ((status, score, summary, reasoning, analyzer, model, _),) = p.rows(SQL)
    assert (status, analyzer, model) == ("closed", "rules", None) and "by the rules" in reasoning and score > 0, summary
    assert "it returned NoneType: return a `Verdict`" in p.said()
