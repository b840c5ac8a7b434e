"""`hearthwatch prune`: apply retention now, or print what it would delete and why."""

from __future__ import annotations

from typing import Annotated

import typer

from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.settings import settings


def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be deleted, and why.")] = False,
    unreviewed: Annotated[
        bool, typer.Option("--unreviewed", help="Delete unreviewed high and critical events, too.")
    ] = False,
) -> None:
    """Delete what is older than RETENTION_DAYS, or over HEARTHWATCH_RETENTION_GB, now. A pipeline may be running."""
    from hearthwatch.record import Record, now
    from hearthwatch.record.lake.export import Lake
    from hearthwatch.record.lake.views import export
    from hearthwatch.record.retention.policy import RetentionPolicy
    from hearthwatch.record.retention.run import RetentionRun, counted, gigabytes

    s = settings()
    if not s.database_path.exists():
        raise UserError(f"{s.database_path}: there is no record yet; start the pipeline, or set HEARTHWATCH_DATA_DIR")
    room = None if s.hearthwatch_retention_gb is None else round(s.hearthwatch_retention_gb * 1e9)
    rules = RetentionPolicy(s.retention_days, room, s.hearthwatch_retention_originals, unreviewed)
    record = Record(s.database_path)
    keeper = RetentionRun(record, s.hearthwatch_data_dir, s.foscam_base_path, rules)
    at = now()
    if dry_run:
        for part in keeper.plan(at):
            size = gigabytes(part.bytes)
            print(f"{counted(part.events, 'event')}, {counted(part.frames, 'picture')}, about {size}: {part.reason}")
        print(f"uploads would {'be deleted, too' if rules.originals else 'stay'}")
        if kept := keeper.count_kept(at):
            print(f"{counted(kept, 'event')} would stay, although old: high or critical, and not reviewed")
        return
    outcome = keeper.run(at)
    export(Lake(record, s.hearthwatch_data_dir))
    print(outcome)
    if outcome.kept:
        print(f"{counted(outcome.kept, 'event')} stay, although old: high or critical, and not reviewed")
    for problem in outcome.problems():
        print(problem)
    if outcome.problems():
        raise typer.Exit(1)
