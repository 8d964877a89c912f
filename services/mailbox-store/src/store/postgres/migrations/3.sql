-- Version 3: messages keep the parameters of their envelopes. NULL stands for a parameter that was not given.

-- Who was logged in when the message was submitted.
ALTER TABLE messages ADD COLUMN IF NOT EXISTS identity TEXT;
-- BODY (RFC 6152), SMTPUTF8 (RFC 6531), RET and ENVID (RFC 3461 §4.3, §4.4), REQUIRETLS (RFC 8689).
ALTER TABLE messages ADD COLUMN IF NOT EXISTS body_type TEXT;
ALTER TABLE messages ADD COLUMN IF NOT EXISTS smtputf8 BOOLEAN;
ALTER TABLE messages ADD COLUMN IF NOT EXISTS ret TEXT;
ALTER TABLE messages ADD COLUMN IF NOT EXISTS envid TEXT;
ALTER TABLE messages ADD COLUMN IF NOT EXISTS requiretls BOOLEAN;

-- ORCPT and NOTIFY (RFC 3461 §4.2, §4.1).
ALTER TABLE queue ADD COLUMN IF NOT EXISTS original_recipient TEXT;
ALTER TABLE queue ADD COLUMN IF NOT EXISTS notify TEXT;

-- Where the account comes from: 'api', or NULL for the configuration.
ALTER TABLE accounts ADD COLUMN IF NOT EXISTS source TEXT;
-- The SCRAM-SHA-256 verifier of the password behind password_hash (RFC 5803 §2), where its plain text was known.
ALTER TABLE accounts ADD COLUMN IF NOT EXISTS scram_verifier TEXT;

-- The alias of which the recipient is a target; NULL when the sender has named them.
ALTER TABLE queue ADD COLUMN IF NOT EXISTS via TEXT;

-- Addresses that stand for others: an alias or a list by its address, a catch-all by '@' and its domain. The targets are
-- a JSON list of addresses. The source is as in accounts.
CREATE TABLE IF NOT EXISTS aliases (
    address TEXT PRIMARY KEY,
    targets TEXT NOT NULL,
    source TEXT
);

-- What happened to messages, written in the change that it tells of. A record is about one message, or about all
-- messages from message_id to last_message_id that one maildrop lost at once. Records are read in the order of xact_id,
-- the number of the transaction that wrote them, and only when no transaction of a smaller number is under way: then
-- none comes before a record that was read already. Where tables are distributed, this one stays a local table.
CREATE TABLE IF NOT EXISTS events (
    xact_id BIGINT NOT NULL,
    seq BIGSERIAL NOT NULL,
    message_id BIGINT NOT NULL,
    last_message_id BIGINT,
    at_ms BIGINT NOT NULL,
    detail TEXT NOT NULL,
    PRIMARY KEY (xact_id, seq)
);
CREATE INDEX IF NOT EXISTS events_by_message ON events (message_id);
CREATE INDEX IF NOT EXISTS events_of_many ON events (last_message_id) WHERE last_message_id IS NOT NULL;

-- It joined tables that are distributed by different columns. Separate statements read them now.
DROP VIEW IF EXISTS held_messages;
