"""The undisturbed run, on the same files in the same order of arrival, and whether its record says the same.

A frame keeps from the faulted run what discovery wrote: its key, when it was taken and when it arrived. Everything else is
done again: reading, detecting, placing, judging. Left out of the comparison is what depends on when an event was judged
(how many revisions it took, what a message said of a verdict in between) and on which of the detectors looked; and of an
event with pictures of a backlog all messages but the last: it is closed whenever the backlog is through, and a backlog that
a kill cuts in two is through twice.
"""

from hearthwatch.record import Record
from hearthwatch.record.cells import find_cells, prepare_cell
from hearthwatch.record.content import Content, content, table
from hearthwatch.record.units import BACKLOG
from tests.support.pipeline import LEDGER, Pipeline
from tests.torture.checks import Check
from tests.torture.processes import LOCAL, each, paths

VERDICT = {
    *"risk_score risk_level summary reasoning evidence analyzer model prompt_version analysis_status analysis".split()
}
VERDICT |= {"thumbnail"}  # that of a frame which the verdict cites
LEFT_OVER = VERDICT | {"carries"}  # of an event that was merged: whatever its last verdict was
WHEN_IT_WAS_DECIDED = {"delay", "clock_offset_ms"}  # less what the camera's clock was known to be off then
WHEN_IT_WAS_JUDGED = {"revision", "attempts"}  # a late frame comes before or after the verdict: more or fewer of them
GROUPED = {
    "incident_id"
}  # by times less what a camera's clock was known to be off then; `checks.incidents` compares that
REVIEWED = {"reviewed", "notes"}  # by the reviewer, who is not in the reference run
TOLD_BY_SEEING = {"event.opened", "event.closed", "event.merged"}  # a late frame raises only what no model put as high


def run(house, records, early, until):
    """Run undisturbed on the same files in the same order of arrival; return its records."""
    p, files = Pipeline(house.folder / "unfaulted"), []
    for cell in find_cells(str(len(records)), p.path, p.data, p.base):
        prepare_cell(cell)
        copy = Record(cell.record_path)
        carry(records[cell.number], copy, set(early))
        files += copy.one("SELECT count(*) FROM frames")
        copy.close()
    here = {"HEARTHWATCH_DATA_DIR": str(p.data), "REDIS_URL": ""}
    house.pipeline = house.live(detector=LOCAL, folder=p.folder, **here)
    sql = (
        "SELECT (SELECT count(*) FROM frames WHERE state <> 'discovered') WHERE NOT EXISTS "
        "(SELECT 1 FROM events WHERE status = 'open' OR status = 'closed' AND analysis_status = 'pending')"
    )
    until(house, lambda: each(house.pipeline, sql) == files, "the unfaulted run comes to its end", 1200)
    return [Record(path) for path in paths(p.data)]


def carry(record, copy, early):
    """The ledger as discovery wrote it: what was decided there stays, everything else is to be looked at."""
    bad, names = 0, (*LEDGER, "state", "error_stage", "error", "content_hash")
    for f in table(record, "frames"):
        decided = f["id"] in early or (f["error_stage"] == "files" and f["content_hash"] is None)
        row = [f[name] for name in LEDGER] + (
            [f[n] for n in names[len(LEDGER) :]] if decided else ["discovered", None, None, None]
        )
        copy.execute(f"INSERT INTO frames({','.join(names)}) VALUES ({','.join('?' * len(names))})", *row)
        bad += decided
    copy.count(quarantined=bad, discovered=record.one("SELECT count(*) FROM frames")[0] - bad)
    for row in record.rows("SELECT * FROM cameras"):
        copy.execute(f"INSERT INTO cameras VALUES ({','.join('?' * len(row))})", *row)
    copy.execute("UPDATE cameras SET behind = 0, clock_offset_ms = NULL")  # learned again


def comparable(record, early):
    """A record's content without what depends on when an event was judged, and on which detector looked."""
    whole = content(record)
    taken = {
        tuple(row)
        for i in early
        for row in record.rows("SELECT path, mtime_ns, size, attempt FROM frames WHERE id = ?", i)
    }
    old = {
        batch
        for (batch,) in record.rows(
            "SELECT DISTINCT e.batch_id FROM frames f JOIN events e ON f.event_id IN (e.id, e.merged_into) WHERE f.behind = ?",
            BACKLOG,
        )
    }
    drop = lambda row, names: {name: value for name, value in row.items() if name not in names}  # noqa: E731
    return Content(
        {key: drop(row, {"model"}) for key, row in whole.frames.items() if key not in taken},
        whole.detections,
        whole.suppressed,
        whole.spots,
        {
            key: drop(
                row,
                WHEN_IT_WAS_JUDGED
                | WHEN_IT_WAS_DECIDED
                | GROUPED
                | REVIEWED
                | (LEFT_OVER if row["status"] == "merged" else set()),
            )
            for key, row in whole.events.items()
        },
        {
            key: [
                drop(told, VERDICT | WHEN_IT_WAS_JUDGED | {"delay_seconds"})
                for told in messages
                if told["type"] in TOLD_BY_SEEING
            ][-1 if key in old else 0 :]
            for key, messages in whole.feed.items()
        },
        {},
    )


def differing(records, others, early):
    pairs = [
        (comparable(record, early), comparable(other, early)) for record, other in zip(records, others, strict=True)
    ]
    lines = [line for one, expected in pairs for line in one.differences(expected)]
    sizes = [sum(map(len, parts)) for parts in zip(*(expected for _, expected in pairs), strict=True)]
    parts = ", ".join(f"{size} {name}" for name, size in zip(Content._fields, sizes, strict=True))
    return Check("differing", f"{len(lines)} of {parts}", lines[:5])
