"""Export the record as Parquet files and DuckDB views, for questions over months, answered while the pipeline writes.

A mirror: the record notes which hours changed, in the transaction that changes them, and each run rewrites the files of
those, on a thread of low priority. So a kill, a full disk or a deleted folder delays the lake and loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated

from pydantic import Field

from hearthwatch.schemas import Job, JobWorker
from hearthwatch.schemas.context import Context


class DuckDB(Job):
    """Hour files `lake/<table>/date=…/HH.parquet` and the views of `analytics.duckdb` over them."""

    interval_seconds: Annotated[float, Field(gt=0)] = 20
    """Seconds between two exports; the lake is as fresh as this."""

    def label(self) -> str:
        return f"Parquet by the hour, DuckDB views, every {self.interval_seconds:g} s"

    def pause_seconds(self) -> float:
        return self.interval_seconds

    def build(self, context: Context) -> Export:
        return Export(context)


class Export(JobWorker):
    """Exports the hours that changed, also once more at a clean end."""

    def __init__(self, context: Context) -> None:
        from hearthwatch.record import Record  # and pyarrow and duckdb: half a second that no start waits for
        from hearthwatch.record.lake.export import Lake

        self.lake = Lake(Record(context.record_path), context.data_dir)

    def run(self, now: datetime, stop: Callable[[], bool]) -> None:
        from hearthwatch.record.lake.views import export

        export(self.lake, stop)
        if not stop():
            self.lake.clean_up()

    def finish(self, now: datetime, stop: Callable[[], bool]) -> None:
        try:
            self.run(now, stop)
        finally:
            self.lake.record.close()
