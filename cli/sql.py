"""`hearthwatch sql`: one query against the analytics views, after an export, as a table, CSV or JSON."""

from __future__ import annotations

import csv
import json
import re
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.settings import settings

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb
    import pyarrow as pa

FILES = typer.Option(
    "--allow-files", help="Let the query read and write other files: COPY … TO, read_csv, ATTACH, extensions, SET."
)
WRITES = re.compile(
    r"\b(ATTACH|COPY|EXPORT)\b", re.IGNORECASE
)  # wherever it stands: DuckDB 2 takes COPY inside of WITH
ROWS_MAX = 1000  # of a table for people; --csv and --json print everything


def sql(
    query: Annotated[str, typer.Argument(help="DuckDB SQL over frames, detections, events, gpu_stats, cameras, …")],
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list, one object for each row.")] = False,
    allow_files: Annotated[bool, FILES] = False,
) -> None:
    """Query the analytics views, after an export of what is new in the record; docs/analytics.md has examples."""
    if as_csv and as_json:
        raise UserError("--csv and --json: choose one")
    table = answer(query, allow_files)
    if as_json:
        print(json.dumps(_rows(table), default=_iso, ensure_ascii=False))
    elif as_csv:
        writer = csv.writer(sys.stdout)
        writer.writerow(table.column_names)
        writer.writerows([_cell(value) for value in row.values()] for row in _rows(table))
    else:
        _show(table)


def answer(query: str, allow_files: bool = False) -> pa.Table:
    """Return the rows of one query, which reads nothing but the lake and writes nothing unless `allow_files`.

    Raises:
        UserError: there is no record yet, or the query is refused.
    """
    import duckdb

    from hearthwatch.record import Record
    from hearthwatch.record.cells import find_cells
    from hearthwatch.record.lake.export import Lake
    from hearthwatch.record.lake.views import connect, export

    data_dir, path = settings().hearthwatch_data_dir, settings().database_path
    if not path.exists():
        raise UserError(f"{path}: there is no record yet; start the pipeline, or set HEARTHWATCH_DATA_DIR")
    if not allow_files and (found := WRITES.search(query)):
        raise UserError(
            f"{found[0]} opens or writes files: with --allow-files a query may; to print rows use --csv or --json"
        )
    for cell in reversed(find_cells(settings().hearthwatch_cells, path, data_dir, settings().foscam_base_path)):
        if cell.record_path.exists():
            export(Lake(Record(cell.record_path), cell.data_dir))  # cell 0 last: its views read all lakes
    try:
        with connect(data_dir) as db:
            if (zone := settings().hearthwatch_timezone) is not None:
                db.execute("SET TimeZone = ?", [zone])
            if not allow_files:
                _confine(db, data_dir / "lake")
            result = db.sql(query)
            return result.to_arrow_table() if result is not None else db.sql("SELECT 'done' AS answer").to_arrow_table()
    except duckdb.Error as error:
        refused = not allow_files and re.search(
            "disabled (by|through) configuration|configuration has been locked", str(error)
        )
        hint = (
            "\nA query reads the lake and nothing else; with --allow-files it may use other files and settings."
            if refused
            else ""
        )
        raise UserError(f"{error}{hint}") from None


def _confine(db: duckdb.DuckDBPyConnection, lake: Path) -> None:
    """Let this connection's queries open files of the lake and no others, for good."""
    db.execute("SET allowed_directories = ?", [[f"{lake.resolve()}/", f"{lake.resolve().parent}/cells/"]])
    db.execute("SET enable_external_access = false")
    db.execute("SET lock_configuration = true")


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = table.to_pylist(maps_as_pydicts="strict")
    return rows


def _show(table: pa.Table) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=box.SIMPLE_HEAD)
    for column in table.schema:
        number = str(column.type).startswith(("int", "uint", "double", "float", "decimal"))
        shown.add_column(column.name, justify="right" if number else "left")
    for row in _rows(table.slice(0, ROWS_MAX)):
        shown.add_row(*(Text(_cell(value)) for value in row.values()))
    console = Console()
    if not console.is_terminal:  # a pipe is as wide as its lines
        console.width = 10_000
    console.print(shown)
    more = len(table) - ROWS_MAX
    print(f"{len(table)} row{'s' if len(table) != 1 else ''}" + (f", {more} not shown: use --csv" if more > 0 else ""))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict | list):
        return json.dumps(value, default=_text, ensure_ascii=False)
    return _text(value)


def _text(value: Any) -> str:
    return value.isoformat(" ") if isinstance(value, datetime) else str(value)


def _iso(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
