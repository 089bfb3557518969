ALTER TABLE turns ADD COLUMN fence BIGINT NOT NULL DEFAULT 0;
UPDATE turns SET fence = coalesce((
  SELECT c.fence FROM calls c WHERE c.tenant = turns.tenant AND c.request_id = turns.request_id), 0);
