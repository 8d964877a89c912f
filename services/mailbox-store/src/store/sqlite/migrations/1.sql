-- Version 1. Times are milliseconds since 1970, addresses are in their canonical spelling.

-- Who has a mailbox here. The two sums are those of the mailbox's deliveries that are not quarantined; they
-- are kept so that looking at a mailbox costs the same however full it is.
CREATE TABLE accounts (
    address TEXT PRIMARY KEY,
    password_hash TEXT,
    messages INTEGER NOT NULL,
    octets INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A message lives as long as a delivery or a queue entry refers to it. The body comes last and is the longest,
-- so that the other columns are read without it; a large one is a file under bodies/ instead.
CREATE TABLE messages (
    id INTEGER PRIMARY KEY,
    reverse_path TEXT NOT NULL,
    octets INTEGER NOT NULL,
    received_at_ms INTEGER NOT NULL,
    adds_return_path INTEGER NOT NULL,
    body_file TEXT,
    body BLOB
) STRICT;
CREATE UNIQUE INDEX messages_by_body_file ON messages (body_file) WHERE body_file IS NOT NULL;

-- What a repeated submission is recognised by. Outlives the message, is forgotten after a day; the greatest
-- id is never forgotten, because the next one must be greater.
CREATE TABLE submissions (
    message_id INTEGER PRIMARY KEY,
    transaction_id TEXT NOT NULL UNIQUE
) STRICT;

-- The maildrops.
CREATE TABLE deliveries (
    address TEXT NOT NULL,
    message_id INTEGER NOT NULL,
    octets INTEGER NOT NULL,
    quarantined_at_ms INTEGER,
    PRIMARY KEY (address, message_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX deliveries_by_message ON deliveries (message_id);

CREATE TABLE maildrop_locks (
    address TEXT PRIMARY KEY,
    session TEXT NOT NULL,
    expires_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The outbound queue. While an entry is leased, next_attempt_at_ms is when the lease ends.
CREATE TABLE queue (
    message_id INTEGER NOT NULL,
    recipient TEXT NOT NULL,
    domain TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    next_attempt_at_ms INTEGER NOT NULL,
    lease TEXT,
    last_reply TEXT NOT NULL,
    quarantined_at_ms INTEGER,
    PRIMARY KEY (message_id, recipient)
) STRICT, WITHOUT ROWID;
CREATE INDEX queue_by_time ON queue (next_attempt_at_ms, domain) WHERE quarantined_at_ms IS NULL;
CREATE INDEX queue_by_domain ON queue (domain, next_attempt_at_ms, message_id) WHERE quarantined_at_ms IS NULL;
CREATE INDEX queue_by_lease ON queue (lease) WHERE lease IS NOT NULL;

-- Written now and then to see whether anything can be.
CREATE TABLE probe (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    probed_at_ms INTEGER NOT NULL
) STRICT;
