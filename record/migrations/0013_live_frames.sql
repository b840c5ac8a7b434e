-- The newest live pictures of a camera: a restart learns its clock from them.
CREATE INDEX frames_live ON frames(camera_id, id) WHERE state = 'settled' AND behind = 0;
