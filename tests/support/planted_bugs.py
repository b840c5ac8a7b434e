"""Parts for a user's graph, each with one bug that `right = true` takes away: `hearthwatch prove` has to find it."""

import random
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import bytewax.operators as op
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from hearthwatch.schemas import Consumer, ItemMessage, Reject, Sink, Stage


@dataclass(frozen=True)
class Reading:
    """A row with a number that one of the parts made."""

    n: str
    value: float = 0.0


@dataclass(frozen=True)
class Other:
    n: str


class Base(Stage):
    accepts = dict
    emits = Reading

    right: bool = False
    """Whether the bug is taken away."""

    def process(self, items):
        return [self.take(item) for item in items]

    def take(self, item):
        return Reading(item["n"])


class ForgetsState(Base):
    """Numbers what it sees, in memory."""

    seen: list = []  # noqa: RUF012  (the bug)
    """What was seen."""

    def take(self, item):
        self.seen.append(1)
        return Reading(item["n"], 0 if self.right else len(self.seen))

    def build(self, context):
        return self.model_copy(update={"seen": []})


class CountsPortions(Base):
    """Adds how many rows came together."""

    def attach(self, step_id, up):
        def read(rows):
            return [Reading(row["n"], 0 if self.right else len(rows)) for row in rows]

        return op.flat_map_batch(f"{step_id}_read", up, read)


class EmitsTwice(Base):
    def process(self, items):
        return [Reading(item["n"]) for item in items for _ in range(1 if self.right else 2)]


class Sleeps(Base):
    def take(self, item):
        if item["n"] == "3" and not self.right:
            time.sleep(1.2)
        return Reading(item["n"])


class Grows(Base):
    seen: list = []  # noqa: RUF012  (the bug)
    """What was seen."""

    def take(self, item):
        self.seen.append(item)
        if self.right:
            del self.seen[:-100]
        return Reading(item["n"])

    def build(self, context):
        return self.model_copy(update={"seen": []})


class WrongType(Base):
    def take(self, item):
        return Reading(item["n"]) if self.right else Other(item["n"])


class Reorders(Base):
    def process(self, items):
        out = super().process(items)
        return out if self.right else out[::-1]


class Swallows(Base):
    def process(self, items):
        out = []
        for item in items:
            try:
                out.append(Reading(item["n"], float(item["n"])))
            except (KeyError, ValueError) as error:
                if self.right:
                    raise Reject(str(error)) from None
        return out


class UsesTheClock(Base):
    def take(self, item):
        return Reading(item["n"], float(item["n"]) if self.right else time.time())


class UsesChance(Base):
    def take(self, item):
        return Reading(item["n"], random.Random(item["n"] if self.right else None).random())


class LeaksAThread(Base):
    def open(self):
        stop = threading.Event()
        threading.Thread(target=wait_for, args=(stop,), daemon=True).start()
        if self.right:
            stop.set()


def wait_for(stop):
    stop.wait()


class BlocksStop(Base):
    def close(self):
        if not self.right:
            threading.Event().wait()


class DropsOnRetry(Consumer):
    """Remembers what it writes before it has written it."""

    accepts = ItemMessage

    path: Path
    """The file."""
    right: bool = False
    """Whether the bug is taken away."""
    done: set = set()  # noqa: RUF012
    """What was written."""

    def build(self, context):
        return self.model_copy(update={"done": set()})

    def deliver(self, messages):
        new = [message for message in messages if message.seq not in self.done]
        if not self.right:
            self.done.update(message.seq for message in new)
        with self.path.open("a") as file:
            file.writelines(f"{message.payload['n']}\n" for message in new)
        self.done.update(message.seq for message in new)


class AppendsAgain(Sink):
    """A file that grows: what comes again after a kill is there twice."""

    accepts = Reading

    path: Path
    """The file, or with `right` a folder."""
    right: bool = False
    """Whether the bug is taken away."""

    def build(self, context):
        return _Appending(self)


class _Appending(FixedPartitionedSink):
    def __init__(self, options):
        self.options = options

    def list_parts(self):
        return ["file"]

    def build_part(self, step_id, for_part, resume_state):
        return _AppendingPart(self.options)


class _AppendingPart(StatefulSinkPartition):
    def __init__(self, options):
        self.options = options

    def write_batch(self, items):
        path = self.options.path
        if self.options.right:
            path.mkdir(exist_ok=True)
            for item in items:
                (path / item.n).write_text(item.n)
        else:
            with path.open("a") as file:
                file.writelines(f"{item.n}\n" for item in items)

    def snapshot(self):
        return None
