-- Which hours of the lake differ from the record, noted by whatever changes a row, in the same transaction (+2 us a frame).
-- `taken`: an export is rewriting it; it is noted anew if a row changes meanwhile. Hours are counted from 1970 in UTC.
CREATE TABLE dirty_hours(
  kind TEXT NOT NULL, hour INTEGER NOT NULL, taken INTEGER NOT NULL DEFAULT 0, PRIMARY KEY(kind, hour, taken)) WITHOUT ROWID;

-- Retention: 0 is kept, 1 forgotten and its files are to go, 2 forgotten and its row stays because its upload does.
ALTER TABLE frames ADD COLUMN pruned INTEGER NOT NULL DEFAULT 0;
CREATE INDEX frames_pruned ON frames(pruned, id) WHERE pruned > 0;
CREATE INDEX frames_captured ON frames(captured_at);

CREATE TRIGGER dirty_frame_new AFTER INSERT ON frames BEGIN
  INSERT OR IGNORE INTO dirty_hours VALUES ('frames', NEW.captured_at / 3600000000, 0); END;
CREATE TRIGGER dirty_frame AFTER UPDATE OF state, event_id, pruned ON frames WHEN OLD.pruned = 0 BEGIN
  INSERT OR IGNORE INTO dirty_hours VALUES ('frames', NEW.captured_at / 3600000000, 0); END;
CREATE TRIGGER dirty_frame_gone AFTER DELETE ON frames WHEN OLD.pruned = 0 BEGIN
  INSERT OR IGNORE INTO dirty_hours VALUES ('frames', OLD.captured_at / 3600000000, 0); END;
CREATE TRIGGER dirty_detection_gone AFTER DELETE ON detections BEGIN
  INSERT OR IGNORE INTO dirty_hours VALUES ('frames', OLD.detected_at / 3600000000, 0); END;

CREATE TRIGGER dirty_event_new AFTER INSERT ON events BEGIN
  INSERT OR IGNORE INTO dirty_hours VALUES ('events', NEW.started_at / 3600000000, 0); END;
CREATE TRIGGER dirty_event AFTER UPDATE ON events BEGIN
  INSERT OR IGNORE INTO dirty_hours VALUES ('events', NEW.started_at / 3600000000, 0); END;
CREATE TRIGGER dirty_event_moved AFTER UPDATE OF started_at ON events WHEN OLD.started_at <> NEW.started_at BEGIN
  INSERT OR IGNORE INTO dirty_hours VALUES ('events', OLD.started_at / 3600000000, 0); END;
CREATE TRIGGER dirty_event_gone AFTER DELETE ON events BEGIN
  INSERT OR IGNORE INTO dirty_hours VALUES ('events', OLD.started_at / 3600000000, 0); END;
CREATE TRIGGER dirty_event_shadow AFTER INSERT ON event_history WHEN NEW.shadow BEGIN
  INSERT OR IGNORE INTO dirty_hours SELECT 'events', started_at / 3600000000, 0 FROM events WHERE id = NEW.event_id; END;

CREATE TRIGGER dirty_gpu_new AFTER INSERT ON gpu_stats BEGIN
  INSERT OR IGNORE INTO dirty_hours VALUES ('gpu_stats', NEW.recorded_at / 3600000000, 0); END;
CREATE TRIGGER dirty_gpu_gone AFTER DELETE ON gpu_stats BEGIN
  INSERT OR IGNORE INTO dirty_hours VALUES ('gpu_stats', OLD.recorded_at / 3600000000, 0); END;

INSERT INTO dirty_hours SELECT DISTINCT 'frames', captured_at / 3600000000, 0 FROM frames;
INSERT INTO dirty_hours SELECT DISTINCT 'events', started_at / 3600000000, 0 FROM events;
INSERT INTO dirty_hours SELECT DISTINCT 'gpu_stats', recorded_at / 3600000000, 0 FROM gpu_stats;
