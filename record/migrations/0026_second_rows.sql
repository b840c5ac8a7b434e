-- A camera into which a folder of another cell was merged has a row in the record of that cell, too.
ALTER TABLE cameras ADD COLUMN home_cell INTEGER;  -- the number of the cell that reads the camera's own folder; NULL: this one
