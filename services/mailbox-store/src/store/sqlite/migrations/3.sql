-- Version 3: a maildrop loses any number of messages in one small change.

-- What was deleted and is still to be removed: all deliveries of an address from one message to another. The ranges of
-- an address do not overlap.
CREATE TABLE deletions (
    address TEXT NOT NULL,
    last_id INTEGER NOT NULL,
    first_id INTEGER NOT NULL,
    PRIMARY KEY (address, last_id)
) STRICT, WITHOUT ROWID;

-- The deliveries that were not deleted.
CREATE VIEW maildrops AS
SELECT address, message_id, octets, quarantined_at_ms FROM deliveries
WHERE COALESCE((
    SELECT first_id FROM deletions
    WHERE deletions.address = deliveries.address AND last_id >= deliveries.message_id ORDER BY last_id LIMIT 1
) > message_id, 1);

-- The messages that are in a maildrop or queued.
CREATE VIEW held_messages AS
SELECT * FROM messages
WHERE NOT EXISTS (SELECT 1 FROM deletions)
OR EXISTS (SELECT 1 FROM maildrops WHERE message_id = id) OR EXISTS (SELECT 1 FROM queue WHERE message_id = id);
