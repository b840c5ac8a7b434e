"""A job whose thread dies on order, as one with a defect does."""

from pathlib import Path

from hearthwatch.schemas import Job


class Mortal(Job):
    """Does nothing until a file is there."""

    order: Path
    """The file."""

    def pause_seconds(self):
        return 0.5

    def build(self, context):
        return Worker(self.order)


class Worker:
    def __init__(self, order):
        self.order = order

    def run(self, now, stop):
        if self.order.exists():
            self.order.unlink()
            raise SystemExit("on order")

    def finish(self, now, stop):
        pass
