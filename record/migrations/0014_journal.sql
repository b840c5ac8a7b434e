-- The feed carries items of other graphs, too: those that a `journal` node wrote.
CREATE TABLE feed_with_items(
  seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL DEFAULT 'event' CHECK (kind IN ('event', 'incident', 'system', 'item')),
  subject_id INTEGER NOT NULL, revision INTEGER NOT NULL, type TEXT NOT NULL, payload TEXT NOT NULL, at INTEGER NOT NULL,
  event_id INTEGER GENERATED ALWAYS AS (CASE kind WHEN 'event' THEN subject_id END) VIRTUAL,
  UNIQUE(kind, subject_id, revision));
INSERT INTO feed_with_items(seq, kind, subject_id, revision, type, payload, at)
  SELECT seq, kind, subject_id, revision, type, payload, at FROM feed ORDER BY seq;
DELETE FROM sqlite_sequence WHERE name = 'feed_with_items';
INSERT INTO sqlite_sequence SELECT 'feed_with_items', seq FROM sqlite_sequence WHERE name = 'feed';
DROP TABLE feed;
ALTER TABLE feed_with_items RENAME TO feed;

-- What journals hold: each item once, by its key. What could not be written, or failed on its way, has an `error` and no message.
CREATE TABLE journal(
  id INTEGER PRIMARY KEY AUTOINCREMENT, journal TEXT NOT NULL, key TEXT NOT NULL, kind TEXT NOT NULL, item TEXT NOT NULL,
  at INTEGER NOT NULL, error TEXT, UNIQUE(journal, key));
CREATE INDEX journal_at ON journal(at);
CREATE INDEX journal_failed ON journal(id) WHERE error IS NOT NULL;
-- How much each journal holds: to count ten million rows takes over half a second.
CREATE TABLE journals(name TEXT PRIMARY KEY, items INTEGER NOT NULL, failed INTEGER NOT NULL, last_at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TRIGGER dirty_journal AFTER INSERT ON journal BEGIN
  INSERT INTO journals VALUES (NEW.journal, NEW.error IS NULL, NEW.error IS NOT NULL, NEW.at) ON CONFLICT DO UPDATE SET
    items = items + excluded.items, failed = failed + excluded.failed, last_at = max(last_at, excluded.last_at);
  INSERT OR IGNORE INTO dirty_hours VALUES ('journal', NEW.at / 3600000000, 0); END;
CREATE TRIGGER dirty_journal_gone AFTER DELETE ON journal BEGIN
  UPDATE journals SET items = items - (OLD.error IS NULL), failed = failed - (OLD.error IS NOT NULL) WHERE name = OLD.journal;
  INSERT OR IGNORE INTO dirty_hours VALUES ('journal', OLD.at / 3600000000, 0); END;
CREATE VIEW v_journal AS SELECT id, journal, kind, item, error, strftime('%Y-%m-%dT%H:%M:%fZ', at / 1e6, 'unixepoch') AS at FROM journal;
