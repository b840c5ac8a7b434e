"""A record that has seen years, made with SQL in seconds: for what must not become slower as it grows."""

from hearthwatch.record import Record

CAMERAS = 8


def fill(path, rows):
    """A record that holds so many old frames already, two boxes each, a hundred to an event."""
    record = Record(path)
    numbers = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})"
    at = f"(1600000000 + i) * {10**6}"
    event = "(i - 1) / 100 * 100 + 1"

    def insert():
        for camera in range(CAMERAS):
            record.execute(
                "INSERT INTO cameras(id, name, folder_path, created_at) VALUES (?,?,?,0)", *[f"cam{camera}"] * 3
            )
        record.execute(
            f"{numbers} INSERT INTO frames(id, uid, camera_id, path, mtime_ns, size, content_hash, captured_at, arrived_at, "
            f"discovered_at, width, height, state, event_id) SELECT i, printf('%032x', i), 'cam' || i / 100 % {CAMERAS}, "
            f"'cam' || i / 100 % {CAMERAS} || '/old' || i || '.jpg', {at} * 1000, 1000, printf('%08x%024x', i * 2654435761 & 4294967295, i), {at}, {at}, {at}, 64, 48, "
            f"'settled', {event} FROM n"
        )
        for k in (0, 1):
            record.execute(
                "INSERT INTO detections(id, frame_id, event_id, camera_id, file_path, detected_at, object_type, confidence, "
                f"bbox_x, bbox_y, bbox_width, bbox_height) SELECT id * 512 + {k}, id, event_id, camera_id, path, captured_at, "
                "'person', 0.9, 1, 2, 3, 4 FROM frames ORDER BY id"
            )
        record.execute(
            "INSERT INTO events(id, batch_id, camera_id, started_at, ended_at, frame_count, status, last_at, close_at, sealed, "
            "risk_score, revision) SELECT event_id, uid, camera_id, min(captured_at), max(captured_at), count(*), 'closed', "
            "max(captured_at), max(captured_at), 1, 10, 2 FROM frames GROUP BY event_id"
        )
        record.count(settled=rows, detections=2 * rows, events=rows // 100)

    record.transact(insert)
    record.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    record.close()
