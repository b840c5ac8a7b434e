"""Somebody else's parts for Hearthwatch: a source, a detector, a filter, a sink and a consumer, one file, no cleverness."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from bytewax.testing import TestingSource

from schemas import Consumer, Detected, Detection, Frame, Message, Reject, Sink, Source, Stage, Upload


class Doorcam(Source):
    """Tells of pictures that a door camera has put somewhere."""

    emits = Upload

    pictures: tuple[str, ...]
    """Where they are."""

    def build(self) -> TestingSource:
        return TestingSource([Upload("door", path, None) for path in self.pictures])


class Brightness(Stage):
    """A detector of its own kind: a bright picture holds one `light`, as large as the picture."""

    accepts = Frame
    emits = Detected

    threshold: float = 0.5
    """How bright, from 0 to 1."""

    def process(self, items: list[Frame]) -> list[Detected]:
        return [self.look(frame) for frame in items]

    def look(self, frame: Frame) -> Detected:
        picture = frame.picture()
        if picture.width < 2:
            raise Reject("too small to be bright")
        mean = sum(picture.resize((1, 1)).getpixel((0, 0))) / 765
        found = (Detection("light", mean, (0, 0, *picture.size)),) if mean >= self.threshold else ()
        return Detected(frame, *picture.size, found, model="brightness")


class Night(Stage):
    """Forgets detections that are not sure enough: a filter removes detections, never the item."""

    accepts = Detected
    emits = Detected

    sure: float = 0.9
    """Keep detections at least as confident as this."""

    def process(self, items: list[Detected]) -> list[Detected]:
        return [
            replace(item, detections=tuple(found for found in item.detections if found.confidence >= self.sure))
            for item in items
        ]


class Notebook(Sink):
    """One line of JSON per frame, in a file; a frame that comes again is written once."""

    accepts = Detected

    path: Path
    """The file."""

    def build(self) -> "NotebookSink":
        return NotebookSink(self.path)


class NotebookSink(FixedPartitionedSink):
    def __init__(self, path: Path) -> None:
        self.path = path

    def list_parts(self) -> list[str]:
        return ["file"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> "NotebookPart":
        return NotebookPart(self.path)


class NotebookPart(StatefulSinkPartition):
    def __init__(self, path: Path) -> None:
        self.path = path
        self.known = {json.loads(line)["id"] for line in path.read_text().splitlines()} if path.exists() else set()

    def write_batch(self, values: list[Detected]) -> None:
        with self.path.open("a") as file:
            for item in values:
                if item.frame.id not in self.known:
                    error = item.error.reason if item.error else None
                    labels = [found.object_type for found in item.detections]
                    print(json.dumps({"id": item.frame.id, "labels": labels, "error": error}), file=file)
                    self.known.add(item.frame.id)

    def snapshot(self) -> None:
        return None


class Chime(Consumer):
    """Rings a bell: one line per message in a file."""

    path: Path
    """The file."""

    def deliver(self, messages: Sequence[Message]) -> None:
        with self.path.open("a") as file:
            for message in messages:
                print(message.seq, message.type, message.event.camera_id, file=file)
