-- Whose answer it is: the owner's, or that of a vision model that found nothing in an event's pictures.
ALTER TABLE feedback ADD COLUMN source TEXT NOT NULL DEFAULT 'owner';  -- owner, pictures
