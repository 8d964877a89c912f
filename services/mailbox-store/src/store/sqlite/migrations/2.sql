-- Version 2: checksums, quotas, and the next thing due found without looking at what is not.

-- The XXH3-128 of the body; NULL for messages from before.
ALTER TABLE messages ADD COLUMN checksum BLOB;

-- The most that a mailbox may hold; NULL for no limit.
ALTER TABLE accounts ADD COLUMN quota_messages INTEGER;
ALTER TABLE accounts ADD COLUMN quota_octets INTEGER;

DROP INDEX queue_by_time;
CREATE INDEX queue_by_time ON queue (next_attempt_at_ms, domain) WHERE quarantined_at_ms IS NULL;
