"""The record as Parquet files and DuckDB views, for questions over months, answered while the pipeline writes.

A mirror: the record notes which hours changed, in the transaction that changes them, and each tick rewrites the files of
those, on a thread of its own. So a kill, a full disk or a deleted folder delays the lake and loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from bytewax.outputs import DynamicSink

from hearthwatch.schemas import Sink, Tick
from hearthwatch.schemas.settings import from_settings
from hearthwatch.sinks.beside import Beside, Work


class DuckDB(Sink):
    """Hour files `lake/<table>/date=…/HH.parquet` and the views of `analytics.duckdb` over them."""

    accepts: ClassVar[type | tuple[type, ...]] = Tick

    data_dir: Path = from_settings("hearthwatch_data_dir")
    """The folder that holds `lake/` and `analytics.duckdb`."""
    record_path: Path = from_settings("database_path")
    """The record that is mirrored."""

    def label(self) -> str:
        return "Parquet by the hour, DuckDB views"

    def build(self) -> DynamicSink[Tick]:
        return Beside("duckdb", self._exporter, at_end=True)

    def _exporter(self) -> Work:
        from hearthwatch.record import Record  # and pyarrow and duckdb: half a second that no start waits for
        from hearthwatch.record.lake.export import Lake
        from hearthwatch.record.lake.views import export

        lake = Lake(Record(self.record_path), self.data_dir)

        def work(at: datetime, stop: Callable[[], bool]) -> None:
            export(lake, stop)
            if not stop():
                lake.clean_up()

        return work
