"""Promises of docs/scale.md: cells change no event, share a Redis and are asked together; nodes run apart; no clusters."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from hearthwatch.record.lake.export import Lake
from hearthwatch.record.lake.views import export
from tests.support.llm_server import Standin
from tests.support.pipeline import SLOW, Pipeline, content, name, picture
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[2] / "docs/scale.md").read_text()
T = 1_700_000_000
CAMERAS = ("door", "gate", "yard", "barn")
QUICK = "idle_timeout_seconds = 0.3\nlateness_seconds = 0.1\n"  # of `batch`, the last node: each picture is an event
REDIS = '\n[redis]\nuse = "redis"\nfrom = "batch"\n'
WHOLE = f"""
extends = "default"

[detect]
use = "tests.support.null_detector:NullDetector"
boxes = 1

[batch]
{QUICK}
[duckdb]
interval_seconds = 0.5
"""


def blocks(kind):
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.M | re.S)


def upload(p, cameras=CAMERAS, rounds=range(3), apart=40):
    for n in rounds:
        for camera in cameras:
            file = name(T + n * apart, camera)
            p.upload(camera, file, picture(file), mtime=T + n * apart)
    return p


def stream(server, channel="security_events"):
    return [json.loads(fields["data"]) for _, fields in server.client().xrange(f"{channel}:stream")]


def feed_of(pipeline):
    return [json.loads(payload) for (payload,) in pipeline.rows("SELECT payload FROM feed ORDER BY seq")]


# -- clusters


@pytest.mark.parametrize("how", ["threads", "processes"])
def test_more_than_one_worker_is_refused_and_nothing_is_touched(tmp_path, how):
    p, commands = upload(Pipeline(tmp_path)), [["flow", "-w", "2"]]
    if how == "processes":
        with socket.socket() as one, socket.socket() as other:
            for each in (one, other):
                each.bind(("127.0.0.1", 0))
            hosts = ";".join(f"127.0.0.1:{each.getsockname()[1]}" for each in (one, other))
        commands = [["flow", "-i", str(i), "-a", hosts] for i in (0, 1)]
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "bytewax.run", *command],
            cwd=p.folder, env={**os.environ, **p._environment}, stderr=subprocess.PIPE, text=True,
        )
        for command in commands
    ]  # fmt: skip
    try:
        said = running[0].communicate(timeout=SLOW)[1]  # the other one may wait for it for ever: it came too late
    finally:
        for process in running:
            process.kill()
            process.communicate()
    assert running[0].returncode == 2 and "2 Bytewax workers" in said and "Traceback" not in said, said
    assert not p.path.exists()


# -- cells


def test_two_cells_make_the_events_of_one(tmp_path):
    whole = upload(Pipeline(tmp_path / "whole")).run()
    cells = [upload(Pipeline(tmp_path / side), half) for side, half in (("n", CAMERAS[:2]), ("s", CAMERAS[2:]))]
    for cell in cells:
        cell.start()
    for cell in cells:
        cell.until_quiet().stop()
    expected, parts = content(whole.record), [content(cell.record) for cell in cells]
    for found in (expected, *parts):
        for event in found.events.values():
            del event["incident_id"]  # of cameras of several cells there is no incident
    for kind in ("frames", "detections", "events", "feed"):
        north, south = (getattr(part, kind) for part in parts)
        assert north and south and north | south == getattr(expected, kind), kind


def test_two_cells_share_a_redis_with_a_channel_each(tmp_path):
    with RedisServer(tmp_path / "redis") as server:
        cells = {
            site: upload(Pipeline(tmp_path / site, options="boxes = 1", more=REDIS, REDIS_URL=server.url,
                                  HEARTHWATCH_REDIS_CHANNEL=site), CAMERAS[i * 2 : i * 2 + 2]).start()
            for i, site in enumerate(("north", "south"))
        }  # fmt: skip
        for site, cell in cells.items():
            cell.until_quiet().until(lambda site=site, cell=cell: stream(server, site) == feed_of(cell)).stop()
        batches = {site: {m["batch_id"] for m in stream(server, site) if "batch_id" in m} for site in cells}
    assert all(batches.values()) and not batches["north"] & batches["south"]


def test_one_query_over_all_lakes(tmp_path):
    for site, cameras in (("north", CAMERAS[:2]), ("south", CAMERAS[1:])):  # `gate` is a camera of both
        data = tmp_path / site / "data"
        cell = upload(Pipeline(tmp_path / site, options="boxes = 1", HEARTHWATCH_DATA_DIR=str(data)), cameras)
        cell.data = data
        cell.path = cell.data / "hearthwatch.db"
        record = cell.run().record
        export(Lake(record, cell.data))
        record.close()
    by_catalogue, by_files = blocks("sql duckdb")
    with duckdb.connect() as db:
        for statement in by_catalogue.replace("/srv", str(tmp_path)).split(";")[:-1]:
            answer = db.execute(statement).fetchall()
        files = db.execute(by_files.replace("/srv", str(tmp_path))).fetchall()
        hourly = db.execute("SELECT sum(detections) FROM south.hourly").fetchall()
        daily = db.execute("SELECT sum(pictures) FROM north.camera_daily").fetchall()
    sites = [("north", "door"), ("north", "gate"), ("south", "barn"), ("south", "gate"), ("south", "yard")]
    assert [row[:3] for row in answer] == [(*site, 3) for site in sites]
    assert sorted({row[:2] for row in files}) == sites and sum(row[3] for row in files) == 15
    assert (hourly, daily) == ([(9,)], [(6,)])


# -- several processes on one record


def test_seeing_runs_apart_from_judging_telling_and_keeping(tmp_path):
    with RedisServer(tmp_path / "redis") as server, Standin() as llm:
        settings = {"REDIS_URL": server.url, "NEMOTRON_URL": llm.url}
        here, there = re.findall(r"HEARTHWATCH_NODES=(\S+)", PAGE)
        see = Pipeline(tmp_path / "see", HEARTHWATCH_NODES=here, **settings)
        rest = Pipeline(
            tmp_path / "rest", base=see.base, HEARTHWATCH_DATA_DIR=str(see.data), HEARTHWATCH_NODES=there, **settings
        )
        for each in (see, rest):
            (each.folder / "flow.toml").write_text(WHOLE)
        upload(see)
        see.start(), rest.start()
        for victim, other, rounds in ((rest, see, (3, 4)), (see, rest, (5, 6)), (rest, see, (7,))):
            victim.kill()
            upload(see, rounds=rounds)
            assert not other.ended(), other.said()
            victim.start()
        files = len(see.pictures())
        see.until(lambda: see.states() == {"settled": files})
        waiting = (
            "SELECT count(*) FROM events WHERE status = 'open' OR status = 'closed' AND analysis_status = 'pending'"
        )
        see.until(lambda: see.rows(waiting) == [(0,)])
        see.until(lambda: stream(server) == feed_of(see))
        feed = feed_of(see)
        see.until(lambda: not see.rows("SELECT 1 FROM dirty_hours WHERE kind = 'frames'"))
        see.stop(), rest.stop()
    with duckdb.connect(see.data / "analytics.duckdb", read_only=True) as db:
        assert db.execute("SELECT count(*) FROM frames").fetchall() == [(files,)]
    feed = [m for m in feed if m["schema"] == "hearthwatch.event.v1"]
    told = [(m["event_id"], m["revision"]) for m in feed]
    analyzed = [m["event_id"] for m in feed if m["type"] == "event.analyzed"]
    assert len(set(told)) == len(told) and analyzed and len(set(analyzed)) == len(analyzed)
