-- What each camera sees at each hour of its clock: a version a day, written whole. An event is judged by the newest version that
-- is not younger than its start; no event that had begun when a version was written sees that, so `judged_by` need not grow.
CREATE TABLE baselines(
  as_of INTEGER NOT NULL, camera_id TEXT NOT NULL,     -- '': all cameras together
  kind TEXT NOT NULL, place TEXT NOT NULL,             -- of object, ''  in rows about any; of zone, '': anywhere
  hour INTEGER NOT NULL, workday INTEGER NOT NULL,     -- 1: Monday to Friday
  watched REAL NOT NULL, watched_days INTEGER NOT NULL,-- days on which the camera was watched then: by age (30 days ago: half), and all
  seen REAL NOT NULL, seen_days INTEGER NOT NULL,      -- those on which this was seen within an hour, and by age in part within two
  minutes REAL NOT NULL,                               -- from the first to the last picture of each visit, by age
  PRIMARY KEY(as_of, camera_id, kind, place, hour, workday)) WITHOUT ROWID;
CREATE TRIGGER dirty_baseline_new AFTER INSERT ON baselines BEGIN
  INSERT OR IGNORE INTO dirty_hours VALUES ('baselines', NEW.as_of / 3600000000, 0); END;
CREATE TRIGGER dirty_baseline_gone AFTER DELETE ON baselines BEGIN
  INSERT OR IGNORE INTO dirty_hours VALUES ('baselines', OLD.as_of / 3600000000, 0); END;
