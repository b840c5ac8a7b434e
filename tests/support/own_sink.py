"""A sink as a user writes one: a line for each item it is given, on disk before the epoch ends."""

from pathlib import Path

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from hearthwatch.schemas import Detected, Event, Sink


class Lines(Sink):
    accepts = (Detected, Event)

    path: Path
    """The file that grows."""

    def build(self, context):
        return _Lines(self.path)


class _Lines(FixedPartitionedSink):
    def __init__(self, path):
        self.path = path

    def list_parts(self):
        return ["lines"]

    def build_part(self, step_id, for_part, resume_state):
        return _Part(self.path)


class _Part(StatefulSinkPartition):
    def __init__(self, path):
        self.file = path.open("a")

    def write_batch(self, items):
        self.file.writelines(f"{_key(item)}\n" for item in items)
        self.file.flush()

    def snapshot(self):
        return None

    def close(self):
        self.file.close()


def _key(item):
    return Path(item.frame.path).name if isinstance(item, Detected) else f"{item.id}.{item.revision}"
