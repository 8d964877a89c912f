-- Version 6: an operator can put queued messages on hold.

-- Since when; NULL for an entry that is not on hold.
ALTER TABLE queue ADD COLUMN IF NOT EXISTS held_at_ms BIGINT;

-- A look for what is due does not walk through what is on hold.
CREATE INDEX IF NOT EXISTS queue_due_by_time ON queue (next_attempt_at_ms, domain)
    WHERE quarantined_at_ms IS NULL AND held_at_ms IS NULL;
CREATE INDEX IF NOT EXISTS queue_due_by_domain ON queue (domain, next_attempt_at_ms, message_id)
    WHERE quarantined_at_ms IS NULL AND held_at_ms IS NULL;
DROP INDEX IF EXISTS queue_by_time;
DROP INDEX IF EXISTS queue_by_domain;
