-- A database of schema version 1, as the program of that time left it.

CREATE TABLE accounts (
    address TEXT PRIMARY KEY,
    password_hash TEXT,
    messages INTEGER NOT NULL,
    octets INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

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

CREATE TABLE submissions (
    message_id INTEGER PRIMARY KEY,
    transaction_id TEXT NOT NULL UNIQUE
) STRICT;

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
CREATE INDEX queue_by_time ON queue (next_attempt_at_ms) WHERE quarantined_at_ms IS NULL;
CREATE INDEX queue_by_domain ON queue (domain, next_attempt_at_ms, message_id) WHERE quarantined_at_ms IS NULL;
CREATE INDEX queue_by_lease ON queue (lease) WHERE lease IS NOT NULL;

CREATE TABLE probe (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    probed_at_ms INTEGER NOT NULL
) STRICT;
INSERT INTO accounts VALUES ('a@local.test', 'hash of a@local.test', 2, 300017);
INSERT INTO accounts VALUES ('b@local.test', NULL, 0, 0);
INSERT INTO messages VALUES (101, '<sender@local.test>', 17, 1767225600000, 0, NULL, X'5375626A6563743A20780D0A0D0A780D0A');
INSERT INTO messages VALUES (102, '<sender@local.test>', 300000, 1767225601000, 0, 'large', NULL);
INSERT INTO submissions VALUES (101, 'first');
INSERT INTO submissions VALUES (102, 'second');
INSERT INTO deliveries VALUES ('a@local.test', 101, 17, NULL);
INSERT INTO deliveries VALUES ('a@local.test', 102, 300000, NULL);
INSERT INTO queue VALUES (101, 'x@far.test', 'far.test', 3, 1767225600000, NULL, '451 later', NULL);
PRAGMA user_version = 1;
