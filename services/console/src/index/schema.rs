//! The tables of the index.

use rusqlite::Connection;

/// `mail` has a row for each copy of a message in a stack. `places` counts the recipients for whom the store has it still.
/// `is_earlier` marks what the store had before the console had read all of it. Its rows are short, so that all of them are
/// looked at in time; what is long is in `content`. `mail_text` finds three letters in a row; each candidate is compared with
/// `search`. `domain` of a session is the one whose mail it was to take, `peer` the stack of its other end. What lists and
/// counts of sessions look at stands before `state`, which is long; `session_by_way` has all that the map counts. A column
/// that is generated would keep that index from being enough, so triggers write `role` and `messages`.
const TABLES: &str = "
    PRAGMA foreign_keys = ON;
    PRAGMA temp_store = MEMORY;
    CREATE TABLE mail (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        stack TEXT NOT NULL,
        id TEXT NOT NULL,
        accepted_at INTEGER NOT NULL,
        octets INTEGER NOT NULL,
        reverse_path TEXT NOT NULL,
        reverse_path_lower TEXT NOT NULL,
        is_earlier INTEGER NOT NULL DEFAULT 0,
        is_read INTEGER NOT NULL DEFAULT 0,
        places INTEGER NOT NULL DEFAULT 0,
        bounce TEXT,
        attachments INTEGER NOT NULL DEFAULT 0,
        inlines INTEGER NOT NULL DEFAULT 0,
        links INTEGER NOT NULL DEFAULT 0,
        codes INTEGER NOT NULL DEFAULT 0,
        subject_lower TEXT NOT NULL DEFAULT '',
        message_id_lower TEXT NOT NULL DEFAULT '',
        from_lower TEXT NOT NULL DEFAULT '',
        to_lower TEXT NOT NULL DEFAULT '',
        cc_lower TEXT NOT NULL DEFAULT '',
        bcc_lower TEXT NOT NULL DEFAULT '',
        reply_to_lower TEXT NOT NULL DEFAULT '',
        weight INTEGER NOT NULL DEFAULT 0,
        UNIQUE (stack, id)
    );
    CREATE TABLE content (
        seq INTEGER PRIMARY KEY REFERENCES mail (seq) ON DELETE CASCADE,
        head TEXT NOT NULL,
        search TEXT NOT NULL,
        body TEXT NOT NULL
    );
    CREATE INDEX mail_by_id ON mail (id);
    CREATE INDEX mail_held ON mail (id) WHERE places > 0;
    CREATE TABLE recipient (
        mail INTEGER NOT NULL REFERENCES mail (seq) ON DELETE CASCADE,
        address TEXT NOT NULL,
        address_lower TEXT NOT NULL,
        state TEXT NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        reply TEXT NOT NULL DEFAULT '',
        reply_lower TEXT NOT NULL DEFAULT '',
        next_attempt_at INTEGER,
        exchange TEXT,
        peer_id TEXT,
        PRIMARY KEY (mail, address)
    ) WITHOUT ROWID;
    CREATE INDEX recipient_by_peer_id ON recipient (peer_id) WHERE peer_id IS NOT NULL;
    CREATE TABLE event (
        mail INTEGER NOT NULL REFERENCES mail (seq) ON DELETE CASCADE,
        cursor TEXT NOT NULL,
        body TEXT NOT NULL,
        report TEXT GENERATED ALWAYS AS (body ->> 'as_message'),
        PRIMARY KEY (mail, cursor)
    );
    CREATE INDEX event_by_report ON event (report) WHERE report IS NOT NULL;
    CREATE VIRTUAL TABLE mail_text USING fts5 (
        search, content = '', contentless_delete = 1, detail = none, tokenize = 'trigram'
    );
    CREATE TABLE session (
        id TEXT PRIMARY KEY,
        origin TEXT NOT NULL,
        stack TEXT NOT NULL,
        service TEXT NOT NULL,
        opened_at INTEGER NOT NULL,
        is_open INTEGER NOT NULL,
        refusals INTEGER NOT NULL,
        octets INTEGER NOT NULL DEFAULT 0,
        domain TEXT,
        peer TEXT,
        role TEXT NOT NULL DEFAULT '',
        messages INTEGER NOT NULL DEFAULT 0,
        has_failed INTEGER NOT NULL DEFAULT 0,
        protocol TEXT GENERATED ALWAYS AS (state ->> 'protocol') STORED,
        local TEXT GENERATED ALWAYS AS (state ->> 'local') STORED,
        remote TEXT GENERATED ALWAYS AS (state ->> 'remote') STORED,
        user TEXT GENERATED ALWAYS AS (state ->> 'user') STORED,
        state TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TRIGGER session_begins AFTER INSERT ON session BEGIN
        UPDATE session SET refusals = refusals WHERE id = new.id;
    END;
    CREATE TRIGGER session_changes AFTER UPDATE OF is_open, refusals, state ON session BEGIN
        UPDATE session SET
            role = new.state ->> 'role',
            messages = json_array_length(new.state, '$.messages')
        WHERE id = new.id;
    END;
    CREATE INDEX session_by_way ON session (stack, service, role, peer, domain, is_open, has_failed, messages);
    CREATE INDEX session_failed ON session (id) WHERE has_failed;
    CREATE INDEX session_by_age ON session (is_open, id);
    CREATE INDEX session_by_ends ON session (local, remote);
    CREATE INDEX session_by_domain ON session (domain, stack, opened_at) WHERE domain IS NOT NULL;
    CREATE TABLE record (
        session TEXT NOT NULL REFERENCES session (id) ON DELETE CASCADE,
        sequence INTEGER NOT NULL,
        body TEXT NOT NULL,
        PRIMARY KEY (session, sequence)
    ) WITHOUT ROWID;
    CREATE TABLE session_message (
        message TEXT NOT NULL,
        session TEXT NOT NULL REFERENCES session (id) ON DELETE CASCADE,
        PRIMARY KEY (message, session)
    ) WITHOUT ROWID;
    CREATE INDEX session_message_by_session ON session_message (session);
    CREATE TABLE refusal (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        session TEXT NOT NULL REFERENCES session (id) ON DELETE CASCADE,
        at INTEGER NOT NULL,
        verb TEXT NOT NULL,
        recipient TEXT NOT NULL,
        reply TEXT NOT NULL
    );
    CREATE INDEX refusal_by_session ON refusal (session);
";

/// An empty index in memory.
pub(super) fn open() -> rusqlite::Result<Connection> {
    let db = Connection::open_in_memory()?;
    db.execute_batch(TABLES)?;
    db.set_prepared_statement_cache_capacity(64);
    Ok(db)
}
