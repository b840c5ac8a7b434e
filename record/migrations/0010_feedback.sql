-- What the owner answered about events. An answer holds for events that start after it, until it expires or is revoked.
CREATE TABLE feedback(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  event_id INTEGER NOT NULL,
  at INTEGER NOT NULL,
  answer TEXT NOT NULL,               -- fine, nothing_there, right
  signature TEXT NOT NULL,            -- JSON of {camera_id, place, kind, from_own_door, hour, workday}: what made the event like others
  expires_at INTEGER NOT NULL,
  revoked_at INTEGER,                 -- NULL: it stands
  box TEXT                            -- nothing_there: JSON [x, y, width, height] in pixels, where nothing was
);
CREATE INDEX feedback_event ON feedback(event_id);
CREATE INDEX feedback_camera ON feedback(json_extract(signature, '$.camera_id'), at);
ALTER TABLE events ADD COLUMN signature TEXT;  -- JSON, of the rules' last verdict; NULL: judged before 0.3
-- An open event can start after an answer only if its camera's clock is ahead: then, too, it is judged as a restart would.
CREATE TRIGGER feedback_new AFTER INSERT ON feedback BEGIN
  UPDATE meta SET value = value + 1 WHERE key = 'judged_by';
  INSERT OR IGNORE INTO dirty_hours VALUES ('feedback', NEW.at / 3600000000, 0); END;
CREATE TRIGGER feedback_changed AFTER UPDATE ON feedback BEGIN
  UPDATE meta SET value = value + 1 WHERE key = 'judged_by';
  INSERT OR IGNORE INTO dirty_hours VALUES ('feedback', OLD.at / 3600000000, 0); END;
CREATE TRIGGER feedback_gone AFTER DELETE ON feedback BEGIN
  INSERT OR IGNORE INTO dirty_hours VALUES ('feedback', OLD.at / 3600000000, 0); END;
