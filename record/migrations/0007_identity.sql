-- A picture is its bytes. Eight hex digits of the hash find the rows that may have the same: 13 bytes a row.
CREATE INDEX frames_content ON frames(substr(content_hash, 1, 8)) WHERE state = 'settled';

-- Cameras that were merged into another one: their folders deliver to it.
CREATE TABLE camera_aliases(id TEXT PRIMARY KEY, into_id TEXT NOT NULL, folder_path TEXT NOT NULL) WITHOUT ROWID;
-- Events of a merged camera may start when one of the other starts.
DROP INDEX events_cut;
CREATE INDEX events_cut ON events(camera_id, started_at) WHERE status <> 'merged';
CREATE TRIGGER pictures_moved AFTER UPDATE OF camera_id ON frames WHEN NEW.camera_id IS NOT OLD.camera_id BEGIN
  UPDATE pictures SET n = n - 1 WHERE camera_id = coalesce(OLD.camera_id, '') AND quarter = OLD.captured_at / 900000000;
  DELETE FROM pictures WHERE camera_id = coalesce(OLD.camera_id, '') AND quarter = OLD.captured_at / 900000000 AND n = 0;
  INSERT INTO pictures VALUES (coalesce(NEW.camera_id, ''), NEW.captured_at / 900000000, 1) ON CONFLICT DO UPDATE SET n = n + 1;
  INSERT OR IGNORE INTO dirty_hours VALUES ('frames', NEW.captured_at / 3600000000, 0);
END;
CREATE TRIGGER detections_moved AFTER UPDATE OF camera_id ON detections WHEN NEW.camera_id <> OLD.camera_id BEGIN
  UPDATE detection_counts SET n = n - 1 WHERE day = OLD.detected_at / 86400000000 AND camera_id = OLD.camera_id AND object_type = OLD.object_type;
  DELETE FROM detection_counts WHERE day = OLD.detected_at / 86400000000 AND camera_id = OLD.camera_id AND object_type = OLD.object_type AND n = 0;
  INSERT INTO detection_counts VALUES (NEW.detected_at / 86400000000, NEW.camera_id, NEW.object_type, 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;
