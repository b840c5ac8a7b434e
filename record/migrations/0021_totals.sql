-- Counts of counts, so that a response beside a pipeline reads dozens of rows and not thousands: kept by triggers, as those are.

-- Facets of all days. And facets of one camera, by time.
CREATE TABLE event_totals(
  object_type TEXT NOT NULL, camera_id TEXT NOT NULL, risk_level TEXT NOT NULL, reviewed INTEGER NOT NULL, n INTEGER NOT NULL,
  PRIMARY KEY(object_type, camera_id, risk_level, reviewed)) WITHOUT ROWID;
CREATE TRIGGER totals_more AFTER INSERT ON facets BEGIN
  INSERT INTO event_totals VALUES (NEW.object_type, NEW.camera_id, NEW.risk_level, NEW.reviewed, 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER totals_fewer AFTER DELETE ON facets BEGIN
  UPDATE event_totals SET n = n - 1 WHERE object_type = OLD.object_type AND camera_id = OLD.camera_id AND risk_level = OLD.risk_level AND reviewed = OLD.reviewed;
  DELETE FROM event_totals WHERE object_type = OLD.object_type AND camera_id = OLD.camera_id AND risk_level = OLD.risk_level AND reviewed = OLD.reviewed AND n = 0;
END;
INSERT INTO event_totals SELECT object_type, camera_id, risk_level, reviewed, sum(n) FROM event_counts GROUP BY 1, 2, 3, 4;
CREATE INDEX facets_camera ON facets(camera_id, object_type, started_at, event_id, risk_level, reviewed);

-- The heat strip: of each quarter of an hour and camera the events and the highest score.
CREATE TABLE heat(
  quarter INTEGER NOT NULL, camera_id TEXT NOT NULL, n INTEGER NOT NULL, risk_score INTEGER NOT NULL,
  PRIMARY KEY(quarter, camera_id)) WITHOUT ROWID;
CREATE TRIGGER heat_more AFTER INSERT ON event_quarters BEGIN
  INSERT INTO heat VALUES (NEW.quarter, NEW.camera_id, NEW.n, NEW.risk_score)
  ON CONFLICT DO UPDATE SET n = n + NEW.n, risk_score = max(risk_score, NEW.risk_score);
END;
CREATE TRIGGER heat_changed AFTER UPDATE OF n ON event_quarters BEGIN
  UPDATE heat SET n = n + NEW.n - OLD.n WHERE quarter = OLD.quarter AND camera_id = OLD.camera_id;
END;
CREATE TRIGGER heat_fewer AFTER DELETE ON event_quarters BEGIN
  DELETE FROM heat WHERE quarter = OLD.quarter AND camera_id = OLD.camera_id AND n = 0;
  UPDATE heat SET risk_score = (SELECT max(risk_score) FROM event_quarters WHERE quarter = OLD.quarter AND camera_id = OLD.camera_id)
  WHERE quarter = OLD.quarter AND camera_id = OLD.camera_id;
END;
INSERT INTO heat SELECT quarter, camera_id, sum(n), max(risk_score) FROM event_quarters GROUP BY 1, 2;

-- Boxes by confidence: the greatest whole per cent that it is not below.
CREATE TABLE confidence_counts(
  camera_id TEXT NOT NULL, object_type TEXT NOT NULL, percent INTEGER NOT NULL, n INTEGER NOT NULL,
  PRIMARY KEY(camera_id, object_type, percent)) WITHOUT ROWID;
CREATE TRIGGER confidences_more AFTER INSERT ON detections BEGIN
  INSERT INTO confidence_counts VALUES (NEW.camera_id, NEW.object_type, CAST(round(NEW.confidence * 100) AS INTEGER)
    - (NEW.confidence < round(NEW.confidence * 100) / 100), 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER confidences_fewer AFTER DELETE ON detections BEGIN
  UPDATE confidence_counts SET n = n - 1 WHERE camera_id = OLD.camera_id AND object_type = OLD.object_type
    AND percent = CAST(round(OLD.confidence * 100) AS INTEGER) - (OLD.confidence < round(OLD.confidence * 100) / 100);
END;
CREATE TRIGGER confidences_moved AFTER UPDATE OF camera_id, object_type, confidence ON detections BEGIN
  UPDATE confidence_counts SET n = n - 1 WHERE camera_id = OLD.camera_id AND object_type = OLD.object_type
    AND percent = CAST(round(OLD.confidence * 100) AS INTEGER) - (OLD.confidence < round(OLD.confidence * 100) / 100);
  INSERT INTO confidence_counts VALUES (NEW.camera_id, NEW.object_type, CAST(round(NEW.confidence * 100) AS INTEGER)
    - (NEW.confidence < round(NEW.confidence * 100) / 100), 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER confidences_none AFTER UPDATE OF n ON confidence_counts WHEN NEW.n = 0 BEGIN
  DELETE FROM confidence_counts WHERE camera_id = OLD.camera_id AND object_type = OLD.object_type AND percent = OLD.percent;
END;
INSERT INTO confidence_counts SELECT camera_id, object_type,
  CAST(round(confidence * 100) AS INTEGER) - (confidence < round(confidence * 100) / 100), count(*) FROM detections GROUP BY 1, 2, 3;
