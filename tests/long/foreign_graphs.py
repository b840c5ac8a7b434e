"""`hearthwatch prove` on ten small graphs as strangers write them: `python tests/long/foreign_graphs.py [POINTS [NAME …]]`.

Prints what it says about each; exit code 1 if anything differs. None is longer than forty lines, with its parts.
"""

import sys
import tempfile
import textwrap
import time
from pathlib import Path

from tests.long.prove_bugs import prove

ROWS = '[rows]\nuse = "folder"\npath = "rows"\n'
PICTURES = '[files]\nuse = "files"\n[detect]\nuse = "rtdetr"\nfrom = "files"\n'
IMPORTS = """
import csv, json, os, sqlite3
import bytewax.operators as op
from dataclasses import dataclass, replace
from pathlib import Path
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from hearthwatch.schemas import *
"""
GRAPHS = {
    "weather": (  # the warmest of each hour, which has state
        ROWS + '[hourly]\nuse = "parts:Hourly"\nfrom = "rows"\n[kept]\nuse = "journal"\nfrom = "hourly"\n'
        '[lines]\nuse = "jsonl"\nfrom = "kept"\npath = "hours.jsonl"\n',
        """
        class Hourly(Stage):
            accepts = dict
            emits = dict

            def attach(self, step_id, up):
                keyed = op.key_on(f"{step_id}_hour", up, lambda row: str(int(row["n"]) // 6))
                warmest = op.stateful_map(f"{step_id}_max", keyed, lambda top, row: (max(top or 0, int(row["x"])),) * 2)
                return op.map(f"{step_id}_out", warmest, lambda pair: {"hour": pair[0], "warmest": pair[1]})
        """,
    ),
    "bank": (  # a key in place of all fields, and a consumer with a file for each item
        ROWS + '[large]\nuse = "parts:Large"\nfrom = "rows"\n[booked]\nuse = "journal"\nfrom = "large"\nkey = ["n"]\n'
        '[letters]\nuse = "parts:Letters"\nfrom = "booked"\nfolder = "letters"\n',
        """
        class Large(Stage):
            accepts = dict
            emits = dict

            def process(self, rows):
                return [row | {"large": True} for row in rows if int(row["x"]) > 8]


        class Letters(Consumer):
            accepts = ItemMessage
            folder: Path

            def deliver(self, messages):
                self.folder.mkdir(parents=True, exist_ok=True)
                for message in messages:
                    (self.folder / f"{message.content_hash}.txt").write_text(f"booked {message.payload['n']}\\n")
        """,
    ),
    "greenhouse": (  # what cannot be read is a dead letter in the journal
        ROWS + '[wet]\nuse = "parts:Wet"\nfrom = "rows"\n[kept]\nuse = "journal"\nfrom = ["wet", "wet.errors"]\n',
        """
        class Wet(Stage):
            accepts = dict
            emits = dict

            def process(self, rows):
                return [self.read(row) for row in rows]

            def read(self, row):
                if int(row["n"]) % 5 == 0:
                    raise Reject(f"sensor {row['n']} is broken")
                return {"bed": row["n"], "wet": int(row["x"]) / 100}
        """,
    ),
    "lift": (  # frozen dataclasses, two stages, a session that ends with a row
        ROWS + '[moves]\nuse = "parts:Moves"\nfrom = "rows"\n[rides]\nuse = "parts:Rides"\nfrom = "moves"\n[kept]\nuse = "journal"\nfrom = "rides"\n',
        """
        @dataclass(frozen=True)
        class Move:
            lift: str
            floor: int


        @dataclass(frozen=True)
        class Ride:
            lift: str
            floors: tuple[int, ...]


        class Moves(Stage):
            accepts = dict
            emits = Move

            def process(self, rows):
                return [Move(f"lift {int(row['n']) % 2}", int(row["x"]) % 7) for row in rows]


        class Rides(Stage):
            accepts = Move
            emits = Ride

            def attach(self, step_id, up):
                keyed = op.key_on(f"{step_id}_lift", up, lambda move: move.lift)
                rides = op.stateful_flat_map(f"{step_id}_ride", keyed, self.add)
                return op.map(f"{step_id}_out", rides, lambda pair: pair[1])

            def add(self, floors, move):
                floors = (*(floors or ()), move.floor)
                return (None, [Ride(move.lift, floors)]) if len(floors) == 3 else (floors, [])
        """,
    ),
    "fan": (  # one source, two stages, two journals, and a consumer behind each
        ROWS + "".join(
            f'[{name}]\nuse = "parts:Half"\nfrom = "rows"\nrest = {rest}\n[{name}_kept]\nuse = "journal"\nfrom = "{name}"\n'
            f'[{name}_lines]\nuse = "jsonl"\nfrom = "{name}_kept"\npath = "{name}.jsonl"\n'
            for rest, name in enumerate(("even", "odd"))
        ),
        """
        class Half(Stage):
            accepts = dict
            emits = dict
            rest: int

            def process(self, rows):
                return [row for row in rows if int(row["n"]) % 2 == self.rest]
        """,
    ),
    "ledger": (  # a consumer with its own database
        ROWS + '[kept]\nuse = "journal"\nfrom = "rows"\n[book]\nuse = "parts:Book"\nfrom = "kept"\npath = "book.db"\n',
        """
        class Book(Consumer):
            accepts = ItemMessage
            path: Path

            def deliver(self, messages):
                with sqlite3.connect(self.path) as book:
                    book.execute("CREATE TABLE IF NOT EXISTS entries(n PRIMARY KEY, x)")
                    rows = [(message.payload["n"], message.payload["x"]) for message in messages]
                    book.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?)", rows)
                book.close()
        """,
    ),
    "count": (  # a source with a position, and no files at all
        '[count]\nuse = "parts:Count"\n[kept]\nuse = "journal"\nfrom = "count"\n',
        """
        class Count(Source):
            emits = dict

            def build(self, context):
                return Numbers()


        class Numbers(FixedPartitionedSource, StatefulSourcePartition):
            def __init__(self, n=0):
                self.n = n

            def list_parts(self):
                return ["all"]

            def build_part(self, step_id, for_part, resume_state):
                return Numbers(resume_state or 0)

            def next_batch(self):
                if self.n == 30:
                    raise StopIteration
                self.n += 1
                return [{"n": self.n}]

            def snapshot(self):
                return self.n
        """,
    ),
    "notes": (  # a sink with one file for each row
        ROWS + '[notes]\nuse = "parts:Notes"\nfrom = "rows"\nfolder = "notes"\n[kept]\nuse = "journal"\nfrom = "rows"\n',
        """
        class Notes(Sink):
            accepts = dict
            folder: Path

            def build(self, context):
                return Files(self.folder)


        class Files(FixedPartitionedSink, StatefulSinkPartition):
            def __init__(self, folder):
                self.folder = folder

            def list_parts(self):
                return ["folder"]

            def build_part(self, step_id, for_part, resume_state):
                return self

            def write_batch(self, rows):
                self.folder.mkdir(parents=True, exist_ok=True)
                for row in rows:
                    part = self.folder / "part"
                    part.write_text(json.dumps(row))
                    os.replace(part, self.folder / f"{row['n']}.json")

            def snapshot(self):
                return None
        """,
    ),
    "people": (  # cameras: a filter, an attribute, an alert, a rule, and items of frames in a journal
        PICTURES + '[tag]\nuse = "parts:Tag"\nfrom = "detect"\n[batch]\nuse = "batch"\nfrom = "tag"\nrules = ["parts:calm"]\n'
        '[crowds]\nuse = "parts:Crowds"\nfrom = "tag"\n[kept]\nuse = "journal"\nfrom = "crowds"\n',
        """
        def calm(facts, surroundings):
            return [Term(-5, "tagged")] if any("side" in s.attributes for s in facts.sightings) else []


        class Tag(Stage):
            accepts = Detected
            emits = Detected

            def process(self, items):
                return [self.tag(item) for item in items]

            def tag(self, item):
                found = [replace(d, attributes={"side": "left"}) for d in item.detections if d.object_type != "dog"]
                alerts = [Alert(item.frame.camera_id, item.frame.captured_at, "many", 40, "many")] if len(found) > 2 else []
                return replace(item, detections=tuple(found), alerts=tuple(alerts))


        class Crowds(Stage):
            accepts = Detected
            emits = dict

            def process(self, items):
                return [{"path": item.frame.path, "n": len(item.detections)} for item in items if item.detections]
        """,
    ),
    "bell": (  # cameras: a consumer of events that keeps a line for each
        PICTURES + '[batch]\nuse = "batch"\nfrom = "detect"\n[bell]\nuse = "parts:Bell"\nfrom = "batch"\npath = "bell.txt"\nonly = { type = "event.opened" }\n',
        """
        class Bell(Consumer):
            path: Path

            def deliver(self, messages):
                with self.path.open("a") as file:
                    for message in messages:
                        print(message.event.camera_id, message.event.started_at, file=file)
        """,
    ),
}  # fmt: skip


def make_graph(folder, name):
    flow, parts = GRAPHS[name]
    parts = textwrap.dedent(parts)
    assert len([line for line in (flow + parts).splitlines() if line.strip()]) <= 40, name
    (folder / "rows").mkdir(parents=True)
    for file in range(2):
        rows = "".join(f"{n},{n * 7 % 20}\n" for n in range(file * 15, file * 15 + 15))
        (folder / "rows" / f"{file}.csv").write_text(f"n,x\n{rows}")
    (folder / "parts.py").write_text(IMPORTS + parts)
    (folder / "flow.toml").write_text(flow)
    return folder


def main():
    points, *names = sys.argv[1:] or ["208"]
    failed = 0
    with tempfile.TemporaryDirectory() as made:
        for name in names or GRAPHS:
            began = time.monotonic()
            done = prove(make_graph(Path(made) / name, name), "--points", points, timeout=3600)
            failed += done.returncode != 0
            says = (done.stdout + done.stderr[-1000:]).strip()
            print(f"{name:12} {time.monotonic() - began:6.1f} s  {says}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
