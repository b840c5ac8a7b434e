-- The record: ledger, checkpoint, batching state, work queue, result store and outbox in one file.
-- Times are integer microseconds UTC; row ids are integers that only grow; camera ids are text.

CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

-- count(*) over ten million rows takes over half a second, so the ledger is counted where it is written.
CREATE TABLE counters(name TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO counters VALUES ('discovered', 0), ('settled', 0), ('quarantined', 0), ('detections', 0), ('events', 0);

CREATE TABLE cameras(
  id TEXT PRIMARY KEY, name TEXT NOT NULL, folder_path TEXT NOT NULL,
  status TEXT NOT NULL DEFAULT 'online' CHECK (status IN ('online', 'offline', 'error')),
  created_at INTEGER NOT NULL, last_seen_at INTEGER, notes TEXT, ignore_zones TEXT) WITHOUT ROWID;

CREATE TABLE frames(
  id INTEGER PRIMARY KEY AUTOINCREMENT,          -- order of discovery = order of processing
  uid TEXT NOT NULL, camera_id TEXT, path TEXT NOT NULL,
  mtime_ns INTEGER NOT NULL, size INTEGER NOT NULL, attempt INTEGER NOT NULL DEFAULT 1,
  content_hash TEXT,
  captured_at INTEGER NOT NULL,                  -- when it was taken: the time of everything that follows
  arrived_at INTEGER NOT NULL,                   -- when it reached us; never decreases with id
  discovered_at INTEGER NOT NULL,                -- when its row was written, by the wall clock
  width INTEGER, height INTEGER,
  state TEXT NOT NULL DEFAULT 'discovered' CHECK (state IN ('discovered', 'settled', 'quarantined')),
  event_id INTEGER, error_stage TEXT, error TEXT, model TEXT, detect_ms REAL, thumbnail_path TEXT,
  starts INTEGER NOT NULL DEFAULT 0,             -- how many starts of the pipeline reached it and did not decide it
  UNIQUE(path, mtime_ns, size, attempt));
CREATE INDEX frames_todo ON frames(id) WHERE state = 'discovered';
CREATE INDEX frames_quarantined ON frames(id) WHERE state = 'quarantined';
CREATE INDEX frames_event ON frames(event_id, captured_at) WHERE event_id IS NOT NULL;

CREATE TABLE detections(
  id INTEGER PRIMARY KEY,                        -- frame_id * 512 + n
  frame_id INTEGER NOT NULL, event_id INTEGER, camera_id TEXT NOT NULL, file_path TEXT NOT NULL,
  detected_at INTEGER NOT NULL,                  -- the capture time of its frame
  object_type TEXT NOT NULL, confidence REAL NOT NULL,
  bbox_x INTEGER NOT NULL, bbox_y INTEGER NOT NULL, bbox_width INTEGER NOT NULL, bbox_height INTEGER NOT NULL,
  thumbnail_path TEXT);
CREATE INDEX detections_camera ON detections(camera_id);
CREATE INDEX detections_time ON detections(detected_at);
CREATE INDEX detections_camera_time ON detections(camera_id, detected_at);

-- Boxes that neither open nor prolong an event, and why; numbered together with those in `detections`.
CREATE TABLE suppressed(
  id INTEGER PRIMARY KEY, frame_id INTEGER NOT NULL, camera_id TEXT NOT NULL, detected_at INTEGER NOT NULL,
  object_type TEXT NOT NULL, confidence REAL NOT NULL,
  bbox_x INTEGER NOT NULL, bbox_y INTEGER NOT NULL, bbox_width INTEGER NOT NULL, bbox_height INTEGER NOT NULL,
  reason TEXT NOT NULL);

-- Where vehicles stand: the mean box, and in how many frames since when.
CREATE TABLE spots(
  id INTEGER PRIMARY KEY, camera_id TEXT NOT NULL, object_type TEXT NOT NULL,
  x REAL NOT NULL, y REAL NOT NULL, width REAL NOT NULL, height REAL NOT NULL,
  frames INTEGER NOT NULL, first_at INTEGER NOT NULL, last_at INTEGER NOT NULL);
CREATE INDEX spots_place ON spots(camera_id, object_type, x);
CREATE INDEX spots_age ON spots(camera_id, last_at);

CREATE TABLE events(
  id INTEGER PRIMARY KEY,                        -- the smallest id of its frames
  batch_id TEXT NOT NULL UNIQUE, camera_id TEXT NOT NULL,
  started_at INTEGER NOT NULL,
  ended_at INTEGER,                              -- NULL while it is open: nobody knows yet
  frame_count INTEGER NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('open', 'closed', 'merged')), merged_into INTEGER,
  risk_score INTEGER, risk_level TEXT, summary TEXT, reasoning TEXT, evidence TEXT,
  analyzer TEXT, model TEXT, prompt_version TEXT,
  analysis_status TEXT NOT NULL DEFAULT 'disabled' CHECK (analysis_status IN ('pending', 'done', 'failed', 'disabled')),
  attempts INTEGER NOT NULL DEFAULT 0, revision INTEGER NOT NULL DEFAULT 0,
  opened_at INTEGER, closed_at INTEGER, analyzed_at INTEGER,
  reviewed INTEGER NOT NULL DEFAULT 0, notes TEXT, objects TEXT,
  last_at INTEGER NOT NULL,                      -- capture time of its last frame so far
  close_at INTEGER NOT NULL,                     -- on the clock of frames.arrived_at
  delay INTEGER NOT NULL DEFAULT 0,              -- arrival - capture of the frame placed last
  sealed INTEGER NOT NULL DEFAULT 0);            -- was closed once: is never re-cut, may only gain frames
CREATE INDEX events_camera ON events(camera_id);
CREATE INDEX events_started ON events(started_at);
CREATE INDEX events_risk ON events(risk_score);
CREATE INDEX events_reviewed ON events(reviewed);
CREATE UNIQUE INDEX events_cut ON events(camera_id, started_at) WHERE status <> 'merged';
CREATE INDEX events_due ON events(close_at) WHERE status = 'open';
CREATE INDEX events_pending ON events(id) WHERE status = 'closed' AND analysis_status = 'pending';

CREATE TABLE event_history(
  id INTEGER PRIMARY KEY, event_id INTEGER NOT NULL, revision INTEGER NOT NULL, type TEXT NOT NULL,
  shadow INTEGER NOT NULL DEFAULT 0,
  risk_score INTEGER, risk_level TEXT, summary TEXT, reasoning TEXT, evidence TEXT,
  analyzer TEXT, model TEXT, prompt_version TEXT, analysis_status TEXT, frame_count INTEGER,
  latency_ms REAL, at INTEGER NOT NULL);
CREATE UNIQUE INDEX event_history_revision ON event_history(event_id, revision) WHERE NOT shadow;

CREATE TABLE feed(
  seq INTEGER PRIMARY KEY AUTOINCREMENT, event_id INTEGER NOT NULL, revision INTEGER NOT NULL,
  type TEXT NOT NULL, payload TEXT NOT NULL, at INTEGER NOT NULL, UNIQUE(event_id, revision));
CREATE TABLE cursors(name TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;

-- Pictures that a plug-in source or a backfill found; the files source takes them into the ledger.
CREATE TABLE inbox(id INTEGER PRIMARY KEY AUTOINCREMENT, camera TEXT NOT NULL, path TEXT NOT NULL, captured_at INTEGER);

CREATE TABLE gpu_stats(
  id INTEGER PRIMARY KEY, recorded_at INTEGER NOT NULL, gpu_utilization REAL, memory_used INTEGER,
  memory_total INTEGER, temperature REAL, inference_fps REAL);
CREATE INDEX gpu_stats_time ON gpu_stats(recorded_at);

CREATE TABLE heartbeat(chain TEXT PRIMARY KEY, pid INTEGER NOT NULL, at INTEGER NOT NULL, counters TEXT NOT NULL) WITHOUT ROWID;
