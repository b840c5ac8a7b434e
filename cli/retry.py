"""`hearthwatch retry`: take quarantined pictures in again, each as a new attempt.

Nothing is lost by it: the quarantined row stays. A picture that was refused because of its folder gets its camera again, by the
settings of today; one that was retried before is left alone. A pipeline may be running.
"""

from __future__ import annotations

import os
from collections import Counter
from datetime import UTC, datetime
from typing import Annotated

import typer

from hearthwatch.cli.replay import moment
from hearthwatch.cli.supervisor import is_pipeline_running
from hearthwatch.flows.graph import configured_graph
from hearthwatch.record import now, open_existing
from hearthwatch.record.ledger import Ledger
from hearthwatch.record.paths import unescape
from hearthwatch.schemas.errors import UserError
from hearthwatch.sources.files import Files
from hearthwatch.sources.intake import STAGE, CaptureClock, Intake

LAST_ATTEMPT = (
    "attempt = (SELECT max(attempt) FROM frames AS g WHERE (g.path, g.mtime_ns, g.size) = (f.path, f.mtime_ns, f.size))"
)


def retry(
    camera: Annotated[str | None, typer.Option(help="Only those of the camera with this id.")] = None,
    reason: Annotated[str | None, typer.Option(help="Only those whose stage or reason has this text.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Found from then on: 2026-11-22, 2026-11-22T18:00, or 36h, 7d ago.")
    ] = None,
) -> None:
    """Process quarantined pictures again, all or some. A pipeline may be running."""
    graph = configured_graph()
    context, files = graph.context, graph.first(Files)
    ledger = Ledger(open_existing(context.record_path))
    if camera is not None and camera not in ledger.cameras():
        raise UserError(
            f"--camera {camera}: there is no such camera; there are {', '.join(ledger.cameras()) or 'none'}"
        )
    start = moment(since, datetime.now(context.zone or UTC).astimezone(context.zone)) if since else 0
    base = os.path.normpath(os.fsencode(context.base_path.absolute()))
    mode = files.capture_time if files else "auto"
    intake = Intake(base, ledger, CaptureClock(mode, context.zone), context.paths)
    rows = ledger.record.rows(
        f"SELECT id, path, mtime_ns, size, error_stage, {LAST_ATTEMPT} FROM frames AS f WHERE state = 'quarantined' "
        "AND discovered_at >= ? AND (camera_id = ? OR ? IS NULL) AND (instr(error_stage || ': ' || error, ?) OR ? IS NULL) "
        "ORDER BY id", start, camera, camera, reason, reason,
    )  # fmt: skip
    before, cannot = 0, Counter[str]()
    for id, path, mtime_ns, size, stage, is_last in rows:
        if not is_last:
            before += 1
        elif not os.path.lexists(os.path.join(base, unescape(path))):  # noqa: PTH118
            cannot["the file is gone"] += 1
        elif stage == STAGE and not path.startswith("/"):
            if why := intake.take_refused(path, mtime_ns, size):
                cannot[why] += 1
        else:
            ledger.retry(id, now())
    taken = len(rows) - before - cannot.total()
    print(
        f"{taken} of {len(rows)} quarantined pictures are taken in again"
        + (f", {before} were before" if before else "")
    )
    if taken and not is_pipeline_running(context.record_path, context.data_dir):
        print("no pipeline is running: they are processed when one is started")
    for why, count in cannot.most_common():
        print(f"{count} cannot be: {why}")
    if cannot:
        raise typer.Exit(1)
