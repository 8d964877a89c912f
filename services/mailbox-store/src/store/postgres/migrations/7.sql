-- Version 7: a message keeps who has submitted it at first (RFC 4954 section 5), and the queue is looked at cheaply.

-- A mailbox in angle brackets, <> where nobody knows it; NULL where nobody has said.
ALTER TABLE messages ADD COLUMN IF NOT EXISTS submitter TEXT;

-- The oldest entry that waits, and those on hold, are found without a look at the rest of the queue.
CREATE INDEX IF NOT EXISTS queue_waiting ON queue (message_id)
    WHERE quarantined_at_ms IS NULL AND held_at_ms IS NULL;
CREATE INDEX IF NOT EXISTS queue_held ON queue (message_id) WHERE held_at_ms IS NOT NULL;
