-- Version 4: a store knows whose it is.

-- What is true of the whole store; `stack` is the name of the stack whose mail it holds.
CREATE TABLE properties (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
