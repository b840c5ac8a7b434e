-- Live first: pictures of a backlog are placed behind live ones. Cameras' clocks: how far each is off.
ALTER TABLE frames ADD COLUMN behind INTEGER NOT NULL DEFAULT 0;   -- 1: its camera had a backlog when it came, 2: it is of that
ALTER TABLE cameras ADD COLUMN behind INTEGER NOT NULL DEFAULT 0;  -- whether its newest decided frame has `behind`
ALTER TABLE cameras ADD COLUMN clock_offset_ms INTEGER;            -- arrival - capture of its live pictures, the median
ALTER TABLE events ADD COLUMN clock_offset_ms INTEGER;             -- of its camera when it opened
CREATE INDEX events_open ON events(camera_id) WHERE status = 'open';
CREATE INDEX events_unsealed ON events(camera_id, started_at) WHERE status <> 'merged' AND NOT sealed;
