-- What a person would call one visit: events that belong together. Written by the component `incident` only.
CREATE TABLE incidents(
  id INTEGER PRIMARY KEY,             -- the smallest id that its events ever had
  status TEXT NOT NULL DEFAULT 'open', -- open, closed, merged
  revision INTEGER NOT NULL DEFAULT 0,
  started_at INTEGER NOT NULL DEFAULT 0, -- of its first event, by the server's clock: capture + the event's clock offset
  last_at INTEGER NOT NULL DEFAULT 0,
  ended_at INTEGER,                   -- NULL while it is open
  merged_into INTEGER,
  risk_score INTEGER NOT NULL DEFAULT 0, -- the greatest of its events' standing verdicts
  risk_level TEXT NOT NULL DEFAULT 'low',
  summary TEXT NOT NULL DEFAULT '',
  gravest_event_id INTEGER,
  cameras TEXT NOT NULL DEFAULT '[]', -- JSON list of camera ids, in order of their first event
  objects TEXT NOT NULL DEFAULT '{}', -- JSON: kind of object -> most in one picture
  event_count INTEGER NOT NULL DEFAULT 0,
  frame_count INTEGER NOT NULL DEFAULT 0,
  close_at INTEGER NOT NULL DEFAULT 0, -- when its last event was done, on the arrival clock; it is closed a while later
  reviewed INTEGER NOT NULL DEFAULT 0,
  published_at INTEGER,               -- last_at of the newest revision: an update comes every ten minutes
  kept INTEGER NOT NULL DEFAULT 0     -- an event of it was deleted: it may grow, but is not divided or numbered anew
);
CREATE INDEX incidents_open ON incidents(close_at) WHERE status = 'open';
CREATE INDEX incidents_time ON incidents(started_at) WHERE status <> 'merged';
CREATE INDEX incidents_inbox ON incidents(CASE WHEN reviewed THEN -1 ELSE risk_score END, started_at, id) WHERE status <> 'merged';
CREATE INDEX incidents_merged ON incidents(merged_into) WHERE merged_into IS NOT NULL;
ALTER TABLE events ADD COLUMN incident_id INTEGER;
CREATE INDEX events_incident ON events(incident_id, reviewed) WHERE incident_id IS NOT NULL;
ALTER TABLE events ADD COLUMN carries INTEGER NOT NULL DEFAULT 0;   -- a revision of the rules put it at medium or above
-- An incident is reviewed while all of its events are.
CREATE TRIGGER incidents_reviewed AFTER UPDATE OF reviewed, incident_id, status ON events
WHEN (OLD.reviewed, OLD.incident_id, OLD.status = 'merged') IS NOT (NEW.reviewed, NEW.incident_id, NEW.status = 'merged') BEGIN
  UPDATE incidents SET reviewed = NOT EXISTS (
    SELECT 1 FROM events e WHERE e.incident_id = incidents.id AND e.reviewed = 0 AND e.status <> 'merged')
  WHERE id IN (OLD.incident_id, NEW.incident_id);
END;
CREATE INDEX events_server_time ON events(started_at + coalesce(clock_offset_ms, 0) * 1000);
-- Events that no message brings to `incident`: older than incidents, or of a camera that was merged.
CREATE TABLE incident_queue(event_id INTEGER PRIMARY KEY);
INSERT INTO incident_queue SELECT id FROM events WHERE status = 'closed';
-- Whatever comes from now on is read, also before `incident` runs for the first time.
INSERT OR IGNORE INTO cursors VALUES ('incident', coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'feed'), 0));
CREATE TRIGGER dirty_incident AFTER UPDATE ON incidents BEGIN
  INSERT OR IGNORE INTO dirty_hours SELECT 'incidents', at / 3600000000, 0
  FROM (SELECT NEW.started_at AS at UNION SELECT OLD.started_at) WHERE at > 0; END;
CREATE TRIGGER dirty_incident_gone AFTER DELETE ON incidents BEGIN
  INSERT OR IGNORE INTO dirty_hours VALUES ('incidents', OLD.started_at / 3600000000, 0); END;
-- The same with times that people can read.
CREATE VIEW v_incidents AS SELECT id, status, risk_score, risk_level, summary, cameras, objects, event_count, frame_count, reviewed,
  strftime('%Y-%m-%dT%H:%M:%fZ', started_at / 1e6, 'unixepoch') AS started_at, strftime('%Y-%m-%dT%H:%M:%fZ', last_at / 1e6, 'unixepoch') AS last_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', ended_at / 1e6, 'unixepoch') AS ended_at FROM incidents WHERE status <> 'merged';
CREATE VIEW v_events AS SELECT id, incident_id, camera_id, status, risk_score, risk_level, summary, objects, frame_count, reviewed,
  strftime('%Y-%m-%dT%H:%M:%fZ', started_at / 1e6, 'unixepoch') AS started_at, strftime('%Y-%m-%dT%H:%M:%fZ', last_at / 1e6, 'unixepoch') AS last_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', ended_at / 1e6, 'unixepoch') AS ended_at FROM events WHERE status <> 'merged';
CREATE VIEW v_detections AS SELECT id, event_id, frame_id, camera_id, object_type, confidence, file_path,
  strftime('%Y-%m-%dT%H:%M:%fZ', detected_at / 1e6, 'unixepoch') AS detected_at FROM detections;
ALTER TABLE cameras ADD COLUMN neighbours TEXT;     -- JSON list of camera ids; NULL: all
ALTER TABLE cameras ADD COLUMN notify_level TEXT;   -- NULL: HEARTHWATCH_NOTIFY_LEVEL

-- What each notifier sent about an incident, or about an event (its id is negative then), and what waits for a digest.
CREATE TABLE notifications(
  incident_id INTEGER NOT NULL,
  consumer TEXT NOT NULL,
  revision INTEGER NOT NULL,          -- the newest that was sent or held
  rang TEXT,                          -- the highest level that was sent aloud; of an event, the highest that was sent or left out
  events TEXT NOT NULL,               -- JSON: those that were in what was sent
  loud_at INTEGER,                    -- event time of the last notification that rang
  news_at INTEGER,                    -- event time of the last news at the level
  held TEXT,                          -- why the newest news waits: quiet, outage, old; or how it is being sent
  held_at INTEGER,                    -- when, by the clock of the delivery
  message TEXT,                       -- the news that waits, as it is published
  PRIMARY KEY (incident_id, consumer)
) WITHOUT ROWID;
CREATE INDEX notifications_held ON notifications(consumer) WHERE held IS NOT NULL;

ALTER TABLE spots ADD COLUMN moved_at INTEGER;      -- when its object came there from another place; NULL: never seen to move
DROP INDEX spots_age;
