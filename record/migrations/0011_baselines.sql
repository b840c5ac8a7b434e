-- What each camera sees at each hour of its clock: a version a day, written whole. An event is judged by the newest one whose
-- `as_of` is not after its start; no event that had begun when a version was written is judged by that, so `judged_by` stays.
CREATE TABLE baselines(
  id INTEGER PRIMARY KEY, as_of INTEGER NOT NULL, camera_id TEXT NOT NULL, -- '': all cameras together
  kind TEXT NOT NULL, place TEXT NOT NULL,             -- of object, '': any; of zone, '': anywhere
  hour INTEGER NOT NULL, workday INTEGER NOT NULL,     -- 1: Monday to Friday
  watched REAL NOT NULL, watched_days INTEGER NOT NULL,-- days on which the camera was watched then: by age (30 days ago: half), and all
  seen REAL NOT NULL, seen_days INTEGER NOT NULL,      -- those on which this was seen within an hour, and by age in part within two
  minutes REAL NOT NULL,                               -- from the first to the last picture of each event, by age
  UNIQUE(as_of, camera_id, kind, place, hour, workday));
CREATE TRIGGER dirty_baseline_new AFTER INSERT ON baselines BEGIN
  INSERT OR IGNORE INTO dirty_hours VALUES ('baselines', NEW.as_of / 3600000000, 0); END;
CREATE TRIGGER dirty_baseline_gone AFTER DELETE ON baselines BEGIN
  INSERT OR IGNORE INTO dirty_hours VALUES ('baselines', OLD.as_of / 3600000000, 0); END;
