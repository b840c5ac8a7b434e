"""Measure verdicts/s with 1 and with 8 questions in flight: the judge chain against a slow server.

    python bench/verdicts.py [--events 200] [--seconds 0.3] [--url http://localhost:8002]

Without `--url` the server is the tests' fake on a real socket, which answers each question after `--seconds`, however many
there are; with it, the server there. The events are closed ones in a fresh record; the graph is the built-in one's
judge chain, so what is measured includes reading the case, the thread hand-over, and the transaction of each verdict.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bytewax.inputs import DynamicSource, StatelessSourcePartition
from bytewax.testing import run_main

sys.path[:0] = [str(Path(__file__).parents[1])]

from hearthwatch.flows.graph import Graph  # noqa: E402
from hearthwatch.record import Record  # noqa: E402
from hearthwatch.schemas import Source  # noqa: E402
from hearthwatch.sinks.sqlite import Sqlite  # noqa: E402
from hearthwatch.stages.analyze import Nemotron  # noqa: E402
from tests.support.context import context  # noqa: E402
from tests.support.events import Cameras  # noqa: E402
from tests.support.llm_server import Standin  # noqa: E402

T = 1_790_000_000


class UntilJudged(Source):
    """Keeps the graph alive until no event waits."""

    def build(self, context):
        return _UntilJudged(Record(context.record_path))


class _UntilJudged(DynamicSource, StatelessSourcePartition):
    def __init__(self, record):
        self.record, self.due = record, datetime.now(UTC)

    def build(self, *where):
        return self

    def next_batch(self):
        self.due = datetime.now(UTC) + timedelta(seconds=0.02)
        if self.record.one("SELECT count(*) FROM events WHERE analysis_status = 'pending'") == (0,):
            raise StopIteration
        return []

    def next_awake(self):
        return self.due


def verdicts_per_second(url, events, concurrency):
    """Return verdicts/s and CPU milliseconds of this process per verdict."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "r.db"
        Cameras(path).see(*(T + 100 * n for n in range(events))).close().record.close()
        graph = Graph(context(Path(folder), "r.db")).add("until", UntilJudged())
        graph.add("analyze", Nemotron(url=url, concurrency=concurrency))
        graph.add("sqlite", Sqlite(), after="analyze")
        flow = graph.build()
        began, cpu = time.perf_counter(), time.process_time()
        run_main(flow)
        return events / (time.perf_counter() - began), (time.process_time() - cpu) * 1e3 / events


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=0.3)
    parser.add_argument("--url")
    a = parser.parse_args()
    with Standin(seconds=(a.seconds, a.seconds)) as server:
        rates = {}
        for concurrency in (1, 8):
            events = a.events if concurrency > 1 else max(10, a.events // 8)
            rates[concurrency], cpu = verdicts_per_second(a.url or server.url, events, concurrency)
            print(
                f"{concurrency} in flight: {rates[concurrency]:.1f} verdicts/s, {cpu:.1f} ms CPU each (server included)"
            )
    print(f"ratio {rates[8] / rates[1]:.1f}")


if __name__ == "__main__":
    main()
