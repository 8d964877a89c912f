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
