"""Break the code by hand, one way at a time: the tests must notice each. Placing, and what only bad luck would show.

python tests/long/mutants.py            # every mutant; prints which test noticed it
python tests/long/mutants.py lake tick  # those with one of these words in file or name
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
PARTS = (
    "api",
    "cli",
    "demo",
    "flow.py",
    "flows",
    "hearthwatch",
    "gpu",
    "pyproject.toml",
    "record",
    "schemas",
    "sinks",
    "sources",
    "stages",
    "tests",
)
PLACING = [
    ("the idle timeout does not end an event", "return min(first + self.window, last + self.idle)", "return first + self.window"),
    ("the window does not end an event", "return min(first + self.window, last + self.idle)", "return last + self.idle"),
    ("a frame at the deadline still joins", "frame[0] >= rules.deadline", "frame[0] > rules.deadline"),
    ("placing: a frame at the deadline still joins", "and at < rules.deadline(before.first, before.last)", "and at <= rules.deadline(before.first, before.last)"),
    ("closes without waiting for disorder", "ends - last + self.lateness", "ends - last"),
    ("closes by the capture clock", "return arrival + ends - last", "return ends"),
    ("never re-cuts", "and after.first < rules.deadline(first, last)", "and False"),
    ("re-cuts sealed events", "and not after.sealed\n", "\n"),
    ("re-cuts from the frame only", "return self._recut(id, camera, at, arrival, behind, first, last)", "return self._recut(id, camera, at, arrival, behind, at, last)"),
    ("re-cuts across a closed event", "AND sealed AND started_at > ?", "AND sealed AND started_at > ? AND 0"),
    ("never joins a closed event backwards", "after.first - at < rules.idle", "False"),
    ("joins backwards beyond the window", "and after.last - at < rules.window", "and True"),
    ("a replayed frame is counted again", "elif found := undecided.pop(item.frame.id, None):", "elif found := undecided.get(item.frame.id, (0, item.frame.camera_id)):"),
    ("a join does not move the last frame", "(before.first, max(before.last, at)) if joins", "(before.first, before.last) if joins"),
    ("forgets to close before placing", "if arrived >= due.at:", "if False:"),
    ("a frame closes other cameras' events", 'self._close("camera_id = ? AND close_at <= ? ORDER BY close_at, id", camera, arrived)', 'self._close("close_at <= ? ORDER BY close_at, id", arrived)'),
    ("a tick closes events of cameras that are behind", "AND camera_id NOT IN (SELECT value FROM json_each(?)) ORDER", "AND ? <> 1 ORDER"),
    ("events beside a backlog are sealed", "seal=camera not in self._behind", "seal=True"),
    ("a backlog's events stay open", "if behind == BACKLOG and captured >= due.end:", "if False:"),
    ("re-cut frames keep their old event", "                self._move(event, [i for _, i in part if i != id])\n", ""),
    ("swallowed events are not merged", "                self.writer.merge(event, into)", "                pass"),
    ("old news is announced early", "early=arrival - at < LATE", "early=True"),
    ("a tick that closed something is forgotten", "INSERT OR REPLACE INTO meta VALUES ('clock', ?)", "INSERT OR IGNORE INTO meta VALUES ('clock0', ?)"),
    ("events are opened by frames without detections", "behind) if kept else None", "behind) if not error else None"),
    ("duplicates keep their boxes", "boxes = () if has_failed(error) else item.detections", "boxes = item.detections"),
]  # fmt: skip
MUTANTS = [("record/batching.py", "record/test_batching.py", *mutant) for mutant in PLACING] + [
    ("record/camera_clocks.py", "record/test_camera_clocks.py", "a restart learns a clock from other pictures", "ORDER BY id DESC", "ORDER BY captured_at DESC"),
    ("record/camera_clocks.py", "record/test_camera_clocks.py", "a restart forgets what little is known of a clock", "(samples := self._samples(camera)):", "(samples := self._cached.get(camera)):"),
    ("record/events.py", "record/test_raised.py", "a judge keeps the pictures of a transaction that was rolled back", "if not self.is_committed or len", "if len"),
    ("record/events.py", "record/test_raised.py", "a picture out of order is judged as the newest", "or (boxes[0].at, boxes[0].frame_id) < judged.last", "or False"),
    ("record/events.py", "record/test_handover.py", "a late picture of the last event does not reach the judge of the next", "        for event in [event for event, j in self._judged.items() if j.camera == camera and j.started_at > at]:", "        for event in ():"),
    ("record/events.py", "record/test_raised.py", "a re-cut event keeps its judge", "        if judged := self._judged.pop(event, None):", "        if judged := self._judged.get(event):"),
    ('sinks/notification_policy.py', 'sinks/test_notification_policy.py sinks/test_incident_notifications.py', 'the level that rang is forgotten', 'rang=highest, loud_at=at', 'loud_at=at'),
    ('sinks/notification_policy.py', 'sinks/test_notification_policy.py sinks/test_incident_notifications.py', 'a rise in level waits for the pause', ' and (rises or again)', ' and (not is_paused and (rises or again))'),
    ('sinks/notification_policy.py', 'sinks/test_notification_policy.py sinks/test_incident_notifications.py', 'closing rings', '(message.type != "incident.closed" or before.held == JUDGE) and (', '('),
    ('sinks/notification_policy.py', 'sinks/test_notification_policy.py sinks/test_incident_notifications.py', 'old news rings', 'if rings and is_fresh and not is_quiet:', 'if rings and not is_quiet:'),
    ('sinks/notification_policy.py', 'sinks/test_notification_policy.py sinks/test_incident_notifications.py', 'quiet hours are not quiet', 'if rings and is_fresh and not is_quiet:', 'if rings and is_fresh:'),
    ('sinks/notification_policy.py', 'sinks/test_notification_policy.py sinks/test_incident_notifications.py', 'quiet hours hold back what rang at high', 'is_quiet = rules.is_quiet(rank(highest), now)', 'is_quiet = rules.is_quiet(risk(message), now)'),
    ('sinks/notification_policy.py', 'sinks/test_notification_policy.py sinks/test_incident_notifications.py', 'after an outage everything rings', 'if rung is not None and risk(message) <= rung:', 'if False:'),
    ('sinks/notification_policy.py', 'sinks/test_notification_policy.py sinks/test_incident_notifications.py', 'two that became one ring twice', '        rang=max(before.rang, into.rang, key=rank),\n', ''),
    ('sinks/notification_policy.py', 'sinks/test_notification_policy.py sinks/test_incident_notifications.py', 'a digest does not wait for the end of the backlog', 'not all(is_over):', 'False:'),
    ('sinks/notification_policy.py', 'sinks/test_notification_policy.py sinks/test_incident_notifications.py', 'a digest that began is made anew', 'return [row for row in rows if row.held == begun[0]]', 'pass'),
    ('sinks/notification_policy.py', 'sinks/test_notification_policy.py sinks/test_incident_notifications.py', 'what a digest contained is sent again', '    if not is_news and (is_quiet or before.loud_at is None):\n        return Decision("nothing", (after,))\n', ''),
    ('sinks/notification_policy.py', 'sinks/test_notification_policy.py sinks/test_incident_notifications.py', 'news in quiet hours is dropped', 'is_news = before.held or message.type == "incident.raised" or not {*incident.events} <= {*before.events}', 'is_news = before.held'),
    ('sinks/notifier.py', 'sinks/test_incident_notifications.py', 'a failure is taken for a delivery', '            self.history.save(before)\n            raise\n', '            raise\n'),
    ('sinks/notifier.py', 'sinks/test_incident_notifications.py', 'what is in flight is not written', '        self.history.save(begun)\n        try:', '        try:'),
    ('sinks/notifier.py', 'sinks/test_incident_notifications.py', 'what was in flight at a kill is not sent again', '        for row in self.history.held(SENDING + "%"):', '        for row in ():'),
    ('sinks/notifier.py', 'sinks/test_incident_notifications.py', 'what was in flight at a kill rings when it is old', 'loud=is_fresh and row.held == f"{SENDING}loud"', 'loud=row.held == f"{SENDING}loud"'),
    ('sinks/notifier.py', 'sinks/test_incident_notifications.py', 'after an outage the oldest comes first', 'if was_late and self.by_incident:', 'if False:'),
    ("stages/acts.py", "stages/test_rules.py", "a thing that is taken is not noticed", "            by.act(\"takes\", t.kind, rest.last, by.track.last)\n", "            pass\n"),
    ("sinks/sqlite.py", "stages/test_analyze.py", "a case that brought no verdict stays in flight", "difference_update(v.event_id if isinstance(v, FailedAttempt) else v.id for v in judged)", "difference_update(v.id for v in judged if not isinstance(v, FailedAttempt))"),
    ("stages/analyze.py", "stages/test_analyze.py", "a case that could not be asked stays in flight", "            in_flight.ids.discard(case.event.id)", "            pass"),
    ("record/lake/export.py", "record/test_lake.py", "an hour is forgotten by a kill during its export", "SELECT kind, hour, 1 FROM dirty_hours WHERE NOT taken", "SELECT kind, hour, 1 FROM dirty_hours WHERE 0"),
    ("record/lake/parquet.py", "record/test_lake.py", "a file is replaced without what readers are half-way in", "    carried += [Range(start, end, now) for start, end in there.own]\n", ""),
    ("record/lake/parquet.py", "record/test_lake.py", "rows are written over what is carried", "waiting[0].start < sink.tell() + size)", "waiting[0].start < sink.tell())"),
    ("sources/files.py", "sources/test_files.py", "a tick passes a picture that is still decoded", "behind=unplaced | waiting.keys()", "behind=unplaced"),
    ("sources/duplicates.py", "sources/test_duplicates.py", "a copy does not wait for its original", "content in self._emitted and self._is_undecided(self._emitted[content]):", "False:"),
    ("sources/duplicates.py", "sources/test_duplicates.py", "a retry is a duplicate", "content in seen and entry.attempt == 1:", "content in seen:"),
    ("record/copies.py", "sources/test_duplicates.py", "a copy on another camera is that picture moved", "known and not any(copy.has_file(base) for copy in known)", "known"),
    ("record/incidents.py", "record/test_incidents.py", "low events carry an incident on", "if a.carries and b.carries:", "if True:"),
    ("record/incidents.py", "record/test_incidents.py", "a low event belongs to the first in reach, not the nearest", "mine = (gap, lead", "mine = (0, lead"),
    ("record/incidents.py", "record/test_incidents.py", "an incident that falls apart is not read as a whole", "inside.update(e.id for e in events.values() if e.incident_id in incidents)", "inside.update(())"),
    ("record/incidents.py", "record/test_incidents.py", "what was deleted from is divided", "record.execute(_DESCRIBE, id, 1)", "record.execute(_DESCRIBE, id, 0)"),
    ("record/incidents.py", "record/test_incidents.py", "messages are read again after a kill", 'self.record.execute("UPDATE cursors SET seq = max(seq, ?) WHERE name = ?", end, CURSOR)', "self.feed.advance(CURSOR, end) if not self.record.db.in_transaction else None"),
    ("record/feedback.py", "record/test_feedback.py", "an answer changes events from before it", '_STANDING = "at <= ?1 AND ', '_STANDING = "'),
    ("record/feedback.py", "record/test_feedback.py", "an answer never expires", "AND expires_at > ?1 AND", "AND"),
    ("record/feedback.py", "record/test_feedback.py", "a revoked answer counts on", "AND coalesce(revoked_at > ?1, 1)", ""),
    ("record/feedback.py", "record/test_feedback.py", "what was learned is not bounded", "min(POINTS_MAX, max(POINTS_MIN, points))", "points"),
    ("record/feedback.py", "record/test_feedback.py", "hours do not meet at midnight", "(a.hour - b.hour + 1) % 24 <= 2", "-1 <= a.hour - b.hour <= 1"),
    ("record/feedback.py", "api/test_feedback.py record/test_feedback.py", "a link answers twice", "given and (once or", "given and ("),
    ("record/signed_links.py", "api/test_feedback.py", "a signature is not checked", "if not hmac.compare_digest(signature.encode(), _sign(key, text).encode()):", "if not signature:"),
    ("record/signed_links.py", "api/test_feedback.py", "a link never expires", "at // 1_000_000 >= int(until)", "False"),
    ("api/routes/feedback.py", "api/test_feedback.py", "a preview of a link answers", 'if request.method == "POST" and', "if"),
    ("api/security.py", "api/test_feedback.py", "a link revokes answers", 'scope["method"] in ("GET", "HEAD", "POST")', "True"),
    ("record/suppression.py", "record/test_feedback.py", "who walks into a ghost does not count", "i not in came", "True"),
    ("record/suppression.py", "record/test_feedback.py", "a ghost holds back pictures from before it", "begins <= at < ends", "at < ends"),
    ("record/cells.py", "flows/test_cells.py", "ids of a cell begin elsewhere", "cell.number << CELL_BITS", "cell.number << CELL_BITS - 1"),
    ("record/cells.py", "flows/test_cells.py", "the number of a cell is given twice", " for number in range(1, CELLS_MAX + 1) if number not in known)", " for number in range(1, CELLS_MAX + 1))"),
    ("record/cells.py", "flows/test_cells.py", "a hash moves a camera that a cell has", "any(reads_camera(other.record_path, camera) for other in self.others)", "False"),
    ("record/cells.py", "flows/test_cells.py", "a cell loses its cameras when there are more cells", "reads_camera(self.cell.record_path, camera):", "False:"),
    ("record/cell_incidents.py", "record/test_cell_incidents.py", "a cell that is ahead closes incidents", "return min(filter(None, clocks)", "return max(filter(None, clocks)"),
    ("stages/incident.py", "flows/test_cell_incidents.py", "a visit to two cells rings twice", "context.cell in (None, *context.cells[:1]), context.cells[1:]", "True, ()"),
    ("sources/files.py", "flows/test_cells.py", "a cell is read without its lock", 'acquire_lock("see", context.record_path, context.data_dir)', "Lock()"),
    ("flows/services.py", "flows/test_services.py", "a consumer delivers in two processes", "acquire_lock(f\"deliver.{quote(self.name, safe='')}\", self.path)", "acquire_lock(f\"deliver.{id(self)}\", self.path)"),
    ("flows/multiplex.py", "flows/test_multiplex.py", "a snapshot forgets the sources that have ended", "return self._ended | {", "return {"),
]  # fmt: skip


def survives(path: str, tests: str, name: str, old: str, new: str) -> str | None:
    """What noticed the mutant; None: nothing did."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in PARTS:
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, copy / part, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / part, copy)
        source = (copy / path).read_text()
        assert source.count(old) == 1, f"{name}: the code it breaks is not there (once) any more: {old!r}"
        (copy / path).write_text(source.replace(old, new))
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            "-p",
            "no:cacheprovider",
            "-W",
            "ignore",
            *(f"tests/{path}" for path in tests.split()),
        ]
        ran = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=300)
        failed = [line for line in ran.stdout.splitlines() if line.startswith("FAILED")]
        return failed[0].split("::")[1].split(" ")[0] if failed else None


def main() -> int:
    words, alive = sys.argv[1:], 0
    chosen = [m for m in MUTANTS if not words or any(word in m[0] + m[2] for word in words)]
    for mutant in chosen:
        by = survives(*mutant)
        alive += by is None
        print(f"{'ALIVE ' if by is None else 'killed'}  {mutant[2]:56}  {by or ''}", flush=True)
    print(f"{len(chosen) - alive} of {len(chosen)} mutants killed")
    return int(alive > 0)


if __name__ == "__main__":
    sys.exit(main())
