-- Events per quarter of an hour, camera, score and review, for the calendar and the heat strip: kept by triggers, as `facets` is.
CREATE TABLE event_quarters(
  quarter INTEGER NOT NULL, camera_id TEXT NOT NULL, risk_score INTEGER NOT NULL, reviewed INTEGER NOT NULL, n INTEGER NOT NULL,
  PRIMARY KEY(quarter, camera_id, risk_score, reviewed)) WITHOUT ROWID;
CREATE TRIGGER quarters_more AFTER INSERT ON events WHEN NEW.status <> 'merged' AND NEW.risk_level IS NOT NULL BEGIN
  INSERT INTO event_quarters VALUES (NEW.started_at / 900000000, NEW.camera_id, coalesce(NEW.risk_score, 0), NEW.reviewed, 1)
  ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER quarters_fewer AFTER DELETE ON events WHEN OLD.status <> 'merged' AND OLD.risk_level IS NOT NULL BEGIN
  UPDATE event_quarters SET n = n - 1 WHERE quarter = OLD.started_at / 900000000 AND camera_id = OLD.camera_id
    AND risk_score = coalesce(OLD.risk_score, 0) AND reviewed = OLD.reviewed;
  DELETE FROM event_quarters WHERE quarter = OLD.started_at / 900000000 AND camera_id = OLD.camera_id
    AND risk_score = coalesce(OLD.risk_score, 0) AND reviewed = OLD.reviewed AND n = 0;
END;
CREATE TRIGGER quarters_changed AFTER UPDATE OF camera_id, started_at, status, risk_level, risk_score, reviewed ON events
WHEN (NEW.camera_id, NEW.started_at, NEW.status = 'merged', NEW.risk_level IS NULL, NEW.risk_score, NEW.reviewed)
  IS NOT (OLD.camera_id, OLD.started_at, OLD.status = 'merged', OLD.risk_level IS NULL, OLD.risk_score, OLD.reviewed)
BEGIN
  UPDATE event_quarters SET n = n - 1 WHERE quarter = OLD.started_at / 900000000 AND camera_id = OLD.camera_id
    AND risk_score = coalesce(OLD.risk_score, 0) AND reviewed = OLD.reviewed AND OLD.status <> 'merged' AND OLD.risk_level IS NOT NULL;
  DELETE FROM event_quarters WHERE quarter = OLD.started_at / 900000000 AND camera_id = OLD.camera_id
    AND risk_score = coalesce(OLD.risk_score, 0) AND reviewed = OLD.reviewed AND n = 0;
  INSERT INTO event_quarters SELECT NEW.started_at / 900000000, NEW.camera_id, coalesce(NEW.risk_score, 0), NEW.reviewed, 1
  WHERE NEW.status <> 'merged' AND NEW.risk_level IS NOT NULL ON CONFLICT DO UPDATE SET n = n + 1;
END;
INSERT INTO event_quarters SELECT started_at / 900000000, camera_id, coalesce(risk_score, 0), reviewed, count(*)
FROM events WHERE status <> 'merged' AND risk_level IS NOT NULL GROUP BY 1, 2, 3, 4;
DROP INDEX incidents_time;
CREATE INDEX incidents_time ON incidents(started_at, reviewed) WHERE status <> 'merged';

-- What a search finds events by. `place` is the start in seconds and the id, so that the index is in order of time; a camera
-- is one word, made of its id: a name is resolved when it is searched for, and renaming a camera changes nothing here. `allz` is in all.
CREATE VIEW searched AS SELECT id, (started_at / 1000000 << 31) | (id & 2147483647) AS place,
  coalesce(summary, '') || ' ' || coalesce(reasoning, '') || ' ' || coalesce(notes, '') || ' ' ||
  coalesce((SELECT group_concat(key, ' ') FROM json_each(objects)), '') || ' c' || hex(camera_id) || 'z allz' AS words
FROM events WHERE status <> 'merged' AND risk_level IS NOT NULL;
CREATE VIRTUAL TABLE search USING fts5(words, content = '', detail = none, columnsize = 0,
  tokenize = 'porter unicode61 remove_diacritics 2');
-- Its rows are deleted by what they were made of: before the change.
CREATE TRIGGER search_new AFTER INSERT ON events BEGIN
  INSERT INTO search(rowid, words) SELECT place, words FROM searched WHERE id = NEW.id;
END;
CREATE TRIGGER search_gone BEFORE DELETE ON events BEGIN
  INSERT INTO search(search, rowid, words) SELECT 'delete', place, words FROM searched WHERE id = OLD.id;
END;
CREATE TRIGGER search_old BEFORE UPDATE OF camera_id, started_at, status, risk_level, summary, reasoning, notes, objects ON events
WHEN (NEW.camera_id, NEW.started_at, NEW.status = 'merged', NEW.risk_level IS NULL, NEW.summary, NEW.reasoning, NEW.notes, NEW.objects)
  IS NOT (OLD.camera_id, OLD.started_at, OLD.status = 'merged', OLD.risk_level IS NULL, OLD.summary, OLD.reasoning, OLD.notes, OLD.objects)
BEGIN
  INSERT INTO search(search, rowid, words) SELECT 'delete', place, words FROM searched WHERE id = OLD.id;
END;
CREATE TRIGGER search_changed AFTER UPDATE OF camera_id, started_at, status, risk_level, summary, reasoning, notes, objects ON events
WHEN (NEW.camera_id, NEW.started_at, NEW.status = 'merged', NEW.risk_level IS NULL, NEW.summary, NEW.reasoning, NEW.notes, NEW.objects)
  IS NOT (OLD.camera_id, OLD.started_at, OLD.status = 'merged', OLD.risk_level IS NULL, OLD.summary, OLD.reasoning, OLD.notes, OLD.objects)
BEGIN
  INSERT INTO search(rowid, words) SELECT place, words FROM searched WHERE id = NEW.id;
END;
INSERT INTO search(rowid, words) SELECT place, words FROM searched ORDER BY place;
