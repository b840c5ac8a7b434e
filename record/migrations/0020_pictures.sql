-- What a vision model saw in the pictures of an event.
ALTER TABLE events ADD COLUMN picture_verdict TEXT;  -- confirmed, rejected, unclear, unverified; NULL: no pictures were asked about
ALTER TABLE events ADD COLUMN analysis TEXT;         -- JSON: shown, tracks, acts, writing, resident_likely, cue, tokens
ALTER TABLE event_history ADD COLUMN picture_verdict TEXT;
ALTER TABLE event_history ADD COLUMN analysis TEXT;
