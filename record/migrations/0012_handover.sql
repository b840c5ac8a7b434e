-- Who was there at the end of an event, for the judge of the camera's next one: a visit is longer than a batch.
ALTER TABLE events ADD COLUMN handover TEXT;  -- JSON of the rules, written when it closes; NULL: nothing, or judged before
