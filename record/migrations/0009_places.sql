-- What a judge knows of an event besides its boxes.
-- JSON list of {"name", "kind", "points"}; kind: public, private, own_door, window, vehicle, ignore; NULL: none drawn.
ALTER TABLE cameras ADD COLUMN zones TEXT;
UPDATE cameras SET zones = (SELECT nullif(json_group_array(json_set(value, '$.kind', 'ignore')), '[]')
  FROM json_each(ignore_zones) WHERE type = 'object')
WHERE CASE WHEN json_valid(ignore_zones) THEN json_type(ignore_zones) = 'array' END;
ALTER TABLE cameras DROP COLUMN ignore_zones;
ALTER TABLE frames ADD COLUMN is_grey INTEGER;  -- 1: a picture without colour, as infrared light gives at night; NULL: not known
-- Grows whenever something changes that verdicts depend on besides pictures: open events are judged again with it.
INSERT OR IGNORE INTO meta VALUES ('judged_by', '0');
CREATE TRIGGER judged_by_zones AFTER UPDATE OF zones ON cameras WHEN NEW.zones IS NOT OLD.zones BEGIN
  UPDATE meta SET value = value + 1 WHERE key = 'judged_by'; END;
