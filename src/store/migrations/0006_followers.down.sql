ALTER TABLE calls DROP COLUMN followed;
