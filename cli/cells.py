"""Run a command for each cell of the data dir, or for the one that `--cell` names: within it, the settings are that cell's."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from hearthwatch.schemas.context import Cell
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.settings import Settings, SettingsError, reload, settings

HELP = "Only this cell, where HEARTHWATCH_CELLS makes several; else all of them."
OF_CELLS = ("backfill", "prune", "replay", "retry", "verify", "whatif", "why")
"""The commands that work on a record. `sql`, `api`, `run` and `doctor` read those of all cells; the others read none."""


others: list[Cell] = []
"""The other cells, while a command runs for one."""
_first: list[Path] = []


def incidents_path() -> Path | None:
    """Return the record with the incidents of all cells, unless the command runs for its cell."""
    return next(iter(_first), None)


def all_cells() -> tuple[Cell, ...]:
    """Return the cells of the data dir."""
    from hearthwatch.record.cells import find_cells

    s = settings()
    return find_cells(s.hearthwatch_cells, s.database_path, s.hearthwatch_data_dir, s.foscam_base_path)


def settings_of(cell: Cell, share: int = 1) -> Settings:
    """Return the settings with the folders and the record of one cell, and its share of the space."""
    paths = {"hearthwatch_data_dir": cell.data_dir, "foscam_base_path": cell.base_path}
    limit = settings().hearthwatch_retention_gb
    more = {"database_url": f"sqlite:///{cell.record_path}", "hearthwatch_retention_gb": limit and limit / share}
    return settings().model_copy(update=paths | more)


def of_cells(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the option `--cell`; without it, it runs for each cell, and the greatest exit code counts."""

    @wraps(command)
    def run(*, cell: str | None = None, **given: Any) -> None:
        try:
            cells, code = all_cells(), 0
        except SettingsError:
            return command(**given)  # says all that is wrong, the flow file's mistakes as well
        chosen, known = _choose(cells, cell, given), ", ".join(each.name for each in cells)
        if not chosen:
            raise UserError(f"--cell {cell}: there is no such cell; there are {known}")
        if len(chosen) > 1 and (given.get("as_json") or command.__name__ == "backfill"):
            raise UserError(f"this is for one cell: name it with --cell; there are {known}")
        for each, its in [(each, settings_of(each, len(cells))) for each in chosen]:
            others[:] = [other for other in cells if other != each]
            _first[:] = [cells[0].record_path] if each != cells[0] else []
            if len(cells) > 1:
                names = "hearthwatch_data_dir", "foscam_base_path", "database_url", "hearthwatch_retention_gb"
                values = {name.upper(): str(value) for name in names if (value := getattr(its, name)) is not None}
                os.environ.update(values, HEARTHWATCH_CELLS="1")
                reload()
            if settings().database_path != each.record_path:
                raise UserError("the flow file says where the record is: for --cell, say it in the environment")
            if len(chosen) > 1:
                print(f"cell {each.name}", flush=True)
            try:
                command(**given)
            except typer.Exit as ended:
                code = max(code, ended.exit_code)
        if code:
            raise typer.Exit(code)
        return None

    of_command, name = inspect.signature(command, eval_str=True), typer.Option("--cell", metavar="NAME", help=HELP)
    option = inspect.Parameter(
        "cell", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str | None, name]
    )
    run.__signature__ = of_command.replace(parameters=[*of_command.parameters.values(), option])  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in run.__signature__.parameters.values()}  # type: ignore[attr-defined]
    return run


def _choose(cells: tuple[Cell, ...], name: str | None, given: dict[str, Any]) -> list[Cell]:
    """Return the cell of this name; else that of the event or camera that the command is about, else all that have a record."""
    from hearthwatch.record.cells import has_camera
    from hearthwatch.record.units import CELL_BITS

    if name is not None:
        return [cell for cell in cells if cell.name == name]
    there = [cell for cell in cells if cell.record_path.exists()] or [cells[0]]
    if (event := given.get("event_id")) is not None:
        return [cell for cell in there if cell.number == event >> CELL_BITS] or there[:1]
    camera = given.get("camera")
    return [cell for cell in there if camera and has_camera(cell.record_path, camera)] or there
