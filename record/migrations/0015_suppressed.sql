-- The lake has `suppressed`, too: its rows are written with their frame, whose hour is marked by that.
CREATE TRIGGER dirty_suppressed_gone AFTER DELETE ON suppressed BEGIN
  INSERT OR IGNORE INTO dirty_hours VALUES ('frames', OLD.detected_at / 3600000000, 0); END;
INSERT OR IGNORE INTO dirty_hours SELECT DISTINCT 'frames', detected_at / 3600000000, 0 FROM suppressed;
-- An event may show nothing in several places.
UPDATE feedback SET box = json_array(json(box)) WHERE box IS NOT NULL;
