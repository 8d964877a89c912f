-- Version 7: addresses are found whatever their case. lower() knows ASCII only, of which addresses are made.

CREATE INDEX accounts_by_key ON accounts (lower(address));
CREATE INDEX aliases_by_key ON aliases (lower(address));
