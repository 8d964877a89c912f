-- Version 2: a maildrop loses any number of messages in one small change.

-- What was deleted and is still to be removed: all deliveries of an address from one message to another. The ranges of
-- an address do not overlap.
CREATE TABLE IF NOT EXISTS deletions (
    address TEXT NOT NULL,
    last_id BIGINT NOT NULL,
    first_id BIGINT NOT NULL,
    PRIMARY KEY (address, last_id)
);

-- The deliveries that were not deleted.
CREATE OR REPLACE VIEW maildrops AS
SELECT address, message_id, octets, quarantined_at_ms FROM deliveries
WHERE COALESCE((
    SELECT first_id FROM deletions
    WHERE deletions.address = deliveries.address AND last_id >= deliveries.message_id ORDER BY last_id LIMIT 1
) > message_id, TRUE);

-- The messages that are in a maildrop or queued.
CREATE OR REPLACE VIEW held_messages AS
SELECT id, reverse_path, octets, received_at_ms, adds_return_path, checksum,
    holders - CASE WHEN EXISTS (SELECT 1 FROM deletions) THEN
        (SELECT COUNT(*) FROM deliveries WHERE message_id = id) - (SELECT COUNT(*) FROM maildrops WHERE message_id = id)
    ELSE 0 END AS holders
FROM messages
WHERE NOT EXISTS (SELECT 1 FROM deletions)
OR EXISTS (SELECT 1 FROM maildrops WHERE message_id = id) OR EXISTS (SELECT 1 FROM queue WHERE message_id = id);
