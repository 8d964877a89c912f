-- Version 5: messages keep the parameters of their envelopes. NULL stands for a parameter that was not given.

-- Who was logged in when the message was submitted.
ALTER TABLE messages ADD COLUMN identity TEXT;
-- BODY (RFC 6152), SMTPUTF8 (RFC 6531), RET and ENVID (RFC 3461 §4.3, §4.4), REQUIRETLS (RFC 8689).
ALTER TABLE messages ADD COLUMN body_type TEXT;
ALTER TABLE messages ADD COLUMN smtputf8 INTEGER;
ALTER TABLE messages ADD COLUMN ret TEXT;
ALTER TABLE messages ADD COLUMN envid TEXT;
ALTER TABLE messages ADD COLUMN requiretls INTEGER;

-- ORCPT and NOTIFY (RFC 3461 §4.2, §4.1).
ALTER TABLE queue ADD COLUMN original_recipient TEXT;
ALTER TABLE queue ADD COLUMN notify TEXT;

-- Where the account comes from: 'api', or NULL for the configuration.
ALTER TABLE accounts ADD COLUMN source TEXT;
-- The SCRAM-SHA-256 verifier of the password behind password_hash (RFC 5803 §2), where its plain text was known.
ALTER TABLE accounts ADD COLUMN scram_verifier TEXT;

-- The alias of which the recipient is a target; NULL when the sender has named them.
ALTER TABLE queue ADD COLUMN via TEXT;

-- Addresses that stand for others: an alias or a list by its address, a catch-all by '@' and its domain. The targets are
-- a JSON list of addresses. The source is as in accounts.
CREATE TABLE aliases (
    address TEXT PRIMARY KEY,
    targets TEXT NOT NULL,
    source TEXT
) STRICT, WITHOUT ROWID;

-- What happened to messages, written in the change that it tells of. A record is about one message, or about all
-- messages from message_id to last_message_id that one maildrop lost at once. The last record is never removed, because
-- the next one must have a greater number.
CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    message_id INTEGER NOT NULL,
    last_message_id INTEGER,
    at_ms INTEGER NOT NULL,
    detail TEXT NOT NULL
) STRICT;
CREATE INDEX events_by_message ON events (message_id);
CREATE INDEX events_of_many ON events (last_message_id) WHERE last_message_id IS NOT NULL;
