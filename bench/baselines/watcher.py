"""The first half of the usual architecture: a watcher that pushes each new picture's path into a Redis list.

    python bench/baselines/watcher.py UPLOADS REDIS_URL

A Redis set remembers what was pushed, in the same MULTI, so a scan at the start finds what came meanwhile and doubles
nothing.
"""

import sys
import threading
from pathlib import Path

import redis
from watchdog.events import FileSystemEventHandler
from watchdog.observers import Observer

QUEUE, SEEN = "pictures", "pictures:seen"


class News(FileSystemEventHandler):
    def __init__(self, push):
        self.push = push

    def on_closed(self, event):
        self.push(event.src_path)

    def on_moved(self, event):
        self.push(event.dest_path)


def main(uploads, url):
    server = redis.Redis.from_url(url)

    def push(path):
        if not server.sismember(SEEN, path):
            with server.pipeline(transaction=True) as together:
                together.sadd(SEEN, path).rpush(QUEUE, path).execute()

    observer = Observer()
    observer.schedule(News(push), uploads, recursive=True)
    observer.start()
    for path in sorted(Path(uploads).rglob("*.jpg"), key=lambda p: p.name):
        push(str(path))
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
