"""The loop that one writes in an afternoon: watchdog, Pillow, a detector, sqlite3, an event is "same camera within 30 s".

    python bench/baselines/loop.py UPLOADS DATABASE [--redis URL] [--model NAME_OR_FOLDER]

A picture, its boxes and its event are one transaction, one picture after the other; what came while nothing ran is found
by a scan at the start. Without a model, two boxes are seen on every picture.
"""

import argparse
import json
import queue
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import redis
from PIL import Image
from watchdog.events import FileSystemEventHandler
from watchdog.observers import Observer

IDLE_SECONDS, WINDOW_SECONDS = 30, 90
SCHEMA = """
PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS pictures(id INTEGER PRIMARY KEY, camera TEXT, path TEXT UNIQUE, taken REAL, event_id INTEGER);
CREATE TABLE IF NOT EXISTS detections(id INTEGER PRIMARY KEY, picture_id INTEGER, label TEXT, score REAL, box TEXT);
CREATE TABLE IF NOT EXISTS events(id INTEGER PRIMARY KEY, camera TEXT, first REAL, last REAL);
CREATE INDEX IF NOT EXISTS events_by_camera ON events(camera, last);
"""


class News(FileSystemEventHandler):
    def __init__(self, todo):
        self.todo = todo

    def on_closed(self, event):
        self.todo.put(Path(event.src_path))

    def on_moved(self, event):
        self.todo.put(Path(event.dest_path))


def decode(path):
    with Image.open(path) as image:
        return image.convert("RGB")


def null_detector(picture):
    return [("person", 0.9, (1, 2, 20, 30)), ("dog", 0.8, (7, 8, 20, 30))]


def transformers_detector(model):
    from transformers import pipeline

    ask = pipeline("object-detection", model=model)
    return lambda picture: [(found["label"], found["score"], tuple(found["box"].values())) for found in ask(picture)]


def taken_at(path):
    return datetime.strptime(path.name[:19], "%Y%m%d_%H%M%S_%f").replace(tzinfo=UTC).timestamp()


def store(db, camera, path, taken, boxes):
    """Insert the picture and its boxes; return the event if it opened one."""
    with db:
        near = db.execute("SELECT id, first, last FROM events WHERE camera = ? ORDER BY last DESC LIMIT 1", (camera,))
        event, first, last = near.fetchone() or (None, 0, 0)
        new = bool(boxes) and (event is None or taken - last >= IDLE_SECONDS or taken - first >= WINDOW_SECONDS)
        if new:
            event = db.execute(
                "INSERT INTO events(camera, first, last) VALUES (?,?,?)", (camera, taken, taken)
            ).lastrowid
        elif boxes:
            db.execute("UPDATE events SET last = max(last, ?) WHERE id = ?", (taken, event))
        row = "INSERT INTO pictures(camera, path, taken, event_id) VALUES (?,?,?,?)"
        picture = db.execute(row, (camera, str(path), taken, event if boxes else None)).lastrowid
        db.executemany(
            "INSERT INTO detections(picture_id, label, score, box) VALUES (?,?,?,?)",
            [(picture, label, score, json.dumps(box)) for label, score, box in boxes],
        )
    return event if new else None


def main(arguments=None, detect=null_detector):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("uploads", type=Path)
    parser.add_argument("database", type=Path)
    parser.add_argument("--redis")
    parser.add_argument("--model")
    given = parser.parse_args(arguments)
    detect = transformers_detector(given.model) if given.model else detect
    channel = redis.Redis.from_url(given.redis) if given.redis else None
    db = sqlite3.connect(given.database)
    db.executescript(SCHEMA)
    todo = queue.SimpleQueue()
    observer = Observer()
    observer.schedule(News(todo), str(given.uploads), recursive=True)
    observer.start()
    for path in sorted(given.uploads.rglob("*.jpg"), key=lambda p: p.name):
        todo.put(path)
    while True:
        path = todo.get()
        if db.execute("SELECT 1 FROM pictures WHERE path = ?", (str(path),)).fetchone():
            continue
        try:
            boxes = detect(decode(path))
        except OSError as error:
            print(f"{path}: {error}")
            continue
        event = store(db, path.parent.name, path, taken_at(path), boxes)
        if event and channel:
            channel.publish("events", json.dumps({"id": event, "path": str(path)}))


if __name__ == "__main__":
    main()
