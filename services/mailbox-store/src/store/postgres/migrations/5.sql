-- Version 5: addresses are found whatever their case. lower() depends on the database's language, this does not.

CREATE INDEX IF NOT EXISTS accounts_by_key
    ON accounts (translate(address, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz'));
CREATE INDEX IF NOT EXISTS aliases_by_key
    ON aliases (translate(address, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz'));
