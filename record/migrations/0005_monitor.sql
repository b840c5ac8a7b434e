-- The feed carries messages of several kinds. Its numbers never move back, also where the feed is empty.
CREATE TABLE feed_of_kinds(
  seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL DEFAULT 'event' CHECK (kind IN ('event', 'incident', 'system')),
  subject_id INTEGER NOT NULL, revision INTEGER NOT NULL, type TEXT NOT NULL, payload TEXT NOT NULL, at INTEGER NOT NULL,
  event_id INTEGER GENERATED ALWAYS AS (CASE kind WHEN 'event' THEN subject_id END) VIRTUAL,
  UNIQUE(kind, subject_id, revision));
INSERT INTO feed_of_kinds(seq, subject_id, revision, type, payload, at)
  SELECT seq, event_id, revision, type, payload, at FROM feed ORDER BY seq;
DELETE FROM sqlite_sequence WHERE name = 'feed_of_kinds';
INSERT INTO sqlite_sequence SELECT 'feed_of_kinds', seq FROM sqlite_sequence WHERE name = 'feed';
PRAGMA secure_delete = FAST;  -- does not write zeros over the old pages: half the time
DROP TABLE feed;
ALTER TABLE feed_of_kinds RENAME TO feed;

-- What is or was wrong, one row for each kind and subject (a camera, a node, ''); each change of state has a row in the feed
-- of kind 'system' with this id as its subject. `since`: when it began, also of what is over; `changed_at`: when the state changed.
CREATE TABLE conditions(
  id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, subject TEXT NOT NULL DEFAULT '',
  state TEXT NOT NULL CHECK (state IN ('on', 'off')), severity TEXT NOT NULL CHECK (severity IN ('info', 'warning', 'error')),
  camera_id TEXT, message TEXT NOT NULL, since INTEGER NOT NULL, changed_at INTEGER NOT NULL, revision INTEGER NOT NULL,
  UNIQUE(kind, subject));

-- What each consumer delivered and where it failed, since the record began; `error` is NULL after a success.
CREATE TABLE deliveries(
  consumer TEXT PRIMARY KEY, delivered INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0,
  delivered_at INTEGER, failed_at INTEGER, error TEXT) WITHOUT ROWID;
