"""Promise: the questions for Datasette find something in a record; the Grafana dashboard and the alert rules are whole and ask for
metrics and labels that exist; a tree with too many cameras does not make too many series."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from hearthwatch.api import metrics
from hearthwatch.record.conditions import Conditions, Problem
from tests.support.api_record import Home, serve, story
from tests.support.linking import link

DEPLOY = Path(__file__).parents[2] / "deploy"
QUERIES = yaml.safe_load((DEPLOY / "datasette.yaml").read_text())["databases"]["hearthwatch"]["queries"]
RULES = [
    rule for group in yaml.safe_load((DEPLOY / "grafana/alerts.yaml").read_text())["groups"] for rule in group["rules"]
]
DASHBOARD = json.loads((DEPLOY / "grafana/dashboard.json").read_text())
GIVEN = {"event_id": 1, "from_hour": "00", "to_hour": "00"}
OURS = re.compile(r"\b(hearthwatch_\w+)(?:\{([^}]*)\})?")
OF_PROMETHEUS = {"instance", "job", "le"}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = story(Home(tmp_path_factory.mktemp("asked")))
    Conditions(home.record).report(home.at, [Problem("disk_low", "the disk is full", at_once=True)])
    home.beat()
    link(home.record)
    home.record.execute("INSERT INTO cursors VALUES ('redis', 0)")
    sql = "INSERT INTO feedback(event_id, at, answer, signature, expires_at) VALUES (1, ?, 'fine', '{}', ?)"
    home.record.execute(sql, home.at, home.at + 90 * 86_400_000_000)
    yield home
    home.close()


def test_there_are_twelve_questions_that_a_person_understands():
    assert len(QUERIES) == 12 and all(
        query["title"] and set(query) <= {"title", "sql", "params"} for query in QUERIES.values()
    )


@pytest.mark.parametrize("name", QUERIES)
def test_each_question_finds_something_and_times_are_text(home, name):
    query = QUERIES[name]
    assert set(re.findall(r"(?<!:):([a-z_]+)", query["sql"])) == set(query.get("params", ()))
    cursor = home.record.db.execute(query["sql"], {key: GIVEN[key] for key in query.get("params", ())})
    rows = [dict(zip((column[0] for column in cursor.description), row, strict=True)) for row in cursor]
    assert rows
    times = [
        value for row in rows for key, value in row.items() if key.endswith("_at") or key in ("at", "newest", "since")
    ]
    assert all(value is None or re.match(r"\d{4}-\d\d-\d\dT", str(value)) for value in times)


def scrape(home):
    with serve(home.settings()) as served:
        text = httpx.get(f"{served.url}/metrics", trust_env=False).text
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


@pytest.fixture(scope="module")
def series(home):
    known = {}
    for sample in scrape(home):
        known.setdefault(sample.name, set()).update(sample.labels)
    return known


def expressions():
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]] + [
        rule["expr"] for rule in RULES
    ]


def test_every_metric_and_label_that_is_asked_for_exists(series):
    for expression in expressions():
        for name, labels in OURS.findall(expression):
            assert name in series, name
            assert set(re.findall(r"(\w+)[!=]", labels)) <= series[name] | OF_PROMETHEUS, expression
        for labels in re.findall(r"\bby \(([^)]*)\)", expression):
            names = set().union(*(series[name] for name, _ in OURS.findall(expression)))
            assert set(labels.split(", ")) <= names | OF_PROMETHEUS, expression


def test_legends_and_annotations_name_labels_of_what_is_asked_for(series):
    shown = [(t["expr"], t["legendFormat"]) for panel in DASHBOARD["panels"] for t in panel["targets"]]
    shown += [(rule["expr"], text.replace("$labels.", "")) for rule in RULES for text in rule["annotations"].values()]
    for expression, text in shown:
        names = set().union(*(series[name] for name, _ in OURS.findall(expression)))
        assert set(re.findall(r"\{\{ ?(\w+) ?\}\}", text)) <= names, text


def test_the_dashboard_is_laid_out_and_asks_the_chosen_prometheus():
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 10 and DASHBOARD["schemaVersion"] >= 39
    (source,) = DASHBOARD["templating"]["list"]
    cells = []
    for panel in panels:
        assert panel["datasource"] == {"type": "prometheus", "uid": f"${{{source['name']}}}"} and panel["title"]
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells += [(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    assert len(cells) == len(set(cells)), "two panels in one place"


@pytest.mark.skipif(
    shutil.which("promtool") is None and os.environ.get("HEARTHWATCH_TEST_REQUIRE") != "all",
    reason="no promtool: apt install prometheus",
)
def test_prometheus_takes_the_rules():
    subprocess.run(["promtool", "check", "rules", DEPLOY / "grafana/alerts.yaml"], check=True)


def test_cameras_without_end_share_one_series(home, monkeypatch):
    monkeypatch.setattr(metrics, "CAMERAS_MAX", 1)
    samples = scrape(home)
    pictures = {s.labels["camera"]: s.value for s in samples if s.name == "hearthwatch_camera_pictures"}
    assert set(pictures) == {"front_door", "(others)"} and sum(pictures.values()) == 8
    assert {s.labels["camera"] for s in samples if s.name.endswith("age_seconds") and "camera" in s.labels} == {
        "front_door"
    }
