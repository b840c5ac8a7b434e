-- A language model's verdicts: when to ask again after a wrong answer, the newest event first when far behind, shadows.
ALTER TABLE events ADD COLUMN retry_at INTEGER NOT NULL DEFAULT 0;  -- by the wall clock
CREATE INDEX events_pending_newest ON events(started_at) WHERE status = 'closed' AND analysis_status = 'pending';
CREATE INDEX event_history_shadow ON event_history(event_id, revision) WHERE shadow;
