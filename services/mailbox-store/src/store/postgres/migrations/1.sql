-- Version 1. Times are milliseconds since 1970, addresses are in their canonical spelling.
--
-- Every statement may be repeated and may run beside itself: stores that start together all try. They are cut at
-- the semicolons. Nothing here is PostgreSQL's alone. Where tables are distributed, the first column of a primary
-- key is what to distribute by; messages and bodies then stand together.

-- Who has a mailbox here. The two sums are those of the mailbox's deliveries that are not quarantined; they
-- are kept so that looking at a mailbox costs the same however full it is. Quotas are NULL where there is no limit.
CREATE TABLE IF NOT EXISTS accounts (
    address TEXT PRIMARY KEY,
    password_hash TEXT,
    messages BIGINT NOT NULL,
    octets BIGINT NOT NULL,
    quota_messages BIGINT,
    quota_octets BIGINT
);

-- A message lives as long as a delivery or a queue entry refers to it. They are counted, because two who let go of it
-- at the same time do not see each other. The checksum is the XXH3-128 of the body.
CREATE TABLE IF NOT EXISTS messages (
    id BIGINT PRIMARY KEY,
    reverse_path TEXT NOT NULL,
    octets BIGINT NOT NULL,
    received_at_ms BIGINT NOT NULL,
    adds_return_path BOOLEAN NOT NULL,
    checksum BYTEA NOT NULL,
    holders BIGINT NOT NULL
);

-- Their octets, in pieces of 256 KiB, so that no row is huge. There is always a piece 0.
CREATE TABLE IF NOT EXISTS bodies (
    message_id BIGINT NOT NULL,
    piece BIGINT NOT NULL,
    octets BYTEA NOT NULL,
    PRIMARY KEY (message_id, piece)
);

-- What a repeated submission is recognised by. Outlives the message, is forgotten after a day; the greatest
-- id is never forgotten, because the next one must be greater.
CREATE TABLE IF NOT EXISTS submissions (
    transaction_id TEXT PRIMARY KEY,
    message_id BIGINT NOT NULL
);
CREATE INDEX IF NOT EXISTS submissions_by_message ON submissions (message_id);

-- The maildrops.
CREATE TABLE IF NOT EXISTS deliveries (
    address TEXT NOT NULL,
    message_id BIGINT NOT NULL,
    octets BIGINT NOT NULL,
    quarantined_at_ms BIGINT,
    PRIMARY KEY (address, message_id)
);
CREATE INDEX IF NOT EXISTS deliveries_by_message ON deliveries (message_id);

CREATE TABLE IF NOT EXISTS maildrop_locks (
    address TEXT PRIMARY KEY,
    session TEXT NOT NULL,
    expires_at_ms BIGINT NOT NULL
);

-- The outbound queue. While an entry is leased, next_attempt_at_ms is when the lease ends. A claim is for one domain,
-- so that it concerns one node only.
CREATE TABLE IF NOT EXISTS queue (
    domain TEXT NOT NULL,
    message_id BIGINT NOT NULL,
    recipient TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    next_attempt_at_ms BIGINT NOT NULL,
    lease TEXT,
    last_reply TEXT NOT NULL,
    quarantined_at_ms BIGINT,
    PRIMARY KEY (domain, message_id, recipient)
);
CREATE INDEX IF NOT EXISTS queue_by_time ON queue (next_attempt_at_ms, domain) WHERE quarantined_at_ms IS NULL;
CREATE INDEX IF NOT EXISTS queue_by_domain ON queue (domain, next_attempt_at_ms, message_id)
    WHERE quarantined_at_ms IS NULL;
CREATE INDEX IF NOT EXISTS queue_by_message ON queue (message_id, recipient);
CREATE INDEX IF NOT EXISTS queue_by_lease ON queue (lease) WHERE lease IS NOT NULL;

-- Written now and then to see whether anything can be.
CREATE TABLE IF NOT EXISTS probes (
    id BIGINT PRIMARY KEY,
    probed_at_ms BIGINT NOT NULL
);
