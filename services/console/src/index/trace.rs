//! What a service tells of its sessions, put into the tables.

use super::{Index, IndexError, Tables};
use internal_api::{Flow, Form, Mark, Record, RecordedSession, Role, Seen, SeenOctets, TracedRecord};
use rusqlite::{OptionalExtension, params};
use std::{collections::VecDeque, sync::Arc};

/// How many commands may wait for their reply before the oldest are forgotten.
const PIPELINED: usize = 2000;

/// How many octets are kept of a line that comes in pieces.
const LINE_OCTETS: usize = 8 * 1024;

/// What ends a message, in place of a verb.
const FINAL_DOT: &str = ".";
/// The verb of the last chunk (RFC 3030 §2).
const LAST_CHUNK: &str = "BDAT LAST";

/// What is known of a session that is open: which command each reply belongs to.
#[derive(Debug, Default)]
pub(super) struct Dialogue {
    role: Option<Role>,
    is_smtp: bool,
    /// The commands without a reply, in order.
    waiting: VecDeque<Command>,
    /// The server has said who it is.
    greeted: bool,
    /// Between a MAIL that was accepted, and the end of its transaction.
    in_transaction: bool,
    /// Octets are missing: it is not known which command a reply belongs to, until the next greeting.
    is_lost: bool,
    /// The beginning of a line of the client, and of the server, that has no end yet.
    unfinished: [String; 2],
}

/// A command as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Command {
    verb: String,
    /// The address in its path; empty without.
    address: String,
}

/// A reply that refuses a command.
struct Refused {
    command: Command,
    reply: String,
}

impl Index {
    /// Takes in what a service at this address has seen.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(crate) async fn apply_trace(&self, origin: &str, records: Vec<TracedRecord>) -> Result<(), IndexError> {
        let (origin, records) = (origin.to_owned(), Arc::<[TracedRecord]>::from(records));
        let seen = Arc::clone(&records);
        self.change_of_sessions(move |tables| {
            for TracedRecord { session, record } in seen.iter() {
                tables.trace(&origin, &session.to_string(), record)?;
            }
            tables.prune_sessions()
        })
        .await?;
        self.happenings.add_records(&records);
        // Nobody may follow them.
        let _ = self.records.send(records);
        Ok(())
    }

    /// The service at this address has gone: its open sessions are open no more.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(crate) async fn close_sessions(&self, origin: &str) -> Result<(), IndexError> {
        let origin = origin.to_owned();
        self.change_of_sessions(move |tables| {
            let update = "UPDATE session SET is_open = 0 WHERE origin = ? AND is_open RETURNING id";
            let mut update = tables.db.prepare_cached(update)?;
            let closed: Vec<String> = update.query_map([origin], |row| row.get(0))?.collect::<Result<_, _>>()?;
            drop(update);
            for id in closed {
                tables.dialogues.remove(&id);
            }
            Ok(())
        })
        .await
    }

    /// How many SMTP transactions servers of the town have open.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(crate) async fn open_transactions(&self) -> Result<usize, IndexError> {
        self.call(|tables| {
            let open = |dialogue: &&Dialogue| dialogue.in_transaction && dialogue.role == Some(Role::Server);
            Ok(tables.dialogues.values().filter(open).count())
        })
        .await
    }
}

impl Tables {
    fn trace(&mut self, origin: &str, session: &str, record: &Record) -> Result<(), IndexError> {
        match &record.what {
            Seen::Opened { state } => self.opened(origin, session, state),
            Seen::Closed { state } => self.closed(origin, session, state),
            Seen::Octets(seen) => {
                let refused = self.dialogues.get_mut(session).and_then(|dialogue| dialogue.saw(seen));
                if self.keep(session, record)?
                    && let Some(refused) = refused
                {
                    self.refused(session, record, &refused)?;
                }
                Ok(())
            }
            Seen::Mark(mark) => {
                if self.keep(session, record)? {
                    self.mark(session, mark)?;
                }
                Ok(())
            }
        }
    }

    fn opened(&mut self, origin: &str, session: &str, state: &RecordedSession) -> Result<(), IndexError> {
        let insert = "INSERT INTO session (id, origin, stack, service, opened_at, is_open, refusals, has_failed, state) \
                      VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
        let values = params![
            session,
            origin,
            state.stack.as_str(),
            state.service,
            state.opened_at.as_microsecond(),
            state.closed_at.is_none(),
            i64::try_from(state.refusals).unwrap_or(i64::MAX),
            state.has_failed(),
            serde_json::to_string(state)?,
        ];
        if self.db.prepare_cached(insert)?.execute(values)? == 0 {
            return Ok(());
        }
        self.session_count += 1;
        self.pair(session)?;
        // The state is that of now: of one that has ended already, the octets and the end follow.
        let dialogue = Dialogue { role: Some(state.role), is_smtp: is_smtp(state), ..Dialogue::default() };
        self.dialogues.insert(session.to_owned(), dialogue);
        Ok(())
    }

    fn closed(&mut self, origin: &str, session: &str, state: &RecordedSession) -> Result<(), IndexError> {
        self.opened(origin, session, state)?;
        self.dialogues.remove(session);
        let update = "UPDATE session SET is_open = 0, refusals = ?, has_failed = ?, state = ? WHERE id = ?";
        let refusals = i64::try_from(state.refusals).unwrap_or(i64::MAX);
        let values = params![refusals, state.has_failed(), serde_json::to_string(state)?, session];
        self.db.prepare_cached(update)?.execute(values)?;
        self.pair(session)
    }

    /// Notes of the two ends of a connection which stack is at the other one, as soon as both are known. Of sessions whose
    /// addresses were the same, it is the newest that has no other end yet.
    fn pair(&self, session: &str) -> Result<(), IndexError> {
        let select = "SELECT other.id, other.stack, one.stack FROM session AS one JOIN session AS other \
                      ON other.local = one.remote AND other.remote = one.local AND other.role <> one.role \
                      WHERE one.id = ? AND one.peer IS NULL AND other.peer IS NULL ORDER BY other.id DESC LIMIT 1";
        let mut select = self.db.prepare_cached(select)?;
        let found = select.query_row([session], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
        });
        if let Some((other, there, here)) = found.optional()? {
            let mut update = self.db.prepare_cached("UPDATE session SET peer = ?2 WHERE id = ?1")?;
            update.execute([session, &there])?;
            update.execute([&other, &here])?;
        }
        Ok(())
    }

    /// Keeps a record of a session that is known.
    fn keep(&mut self, session: &str, record: &Record) -> Result<bool, IndexError> {
        let body = serde_json::to_string(record)?;
        let update = "UPDATE session SET octets = octets + ?2 WHERE id = ?1";
        if self.db.prepare_cached(update)?.execute(params![session, body.len() as i64])? == 0 {
            return Ok(false);
        }
        let insert = "INSERT INTO record (session, sequence, body) VALUES (?, ?, ?) ON CONFLICT DO NOTHING";
        let sequence = i64::try_from(record.sequence).unwrap_or(i64::MAX);
        self.db.prepare_cached(insert)?.execute(params![session, sequence, body])?;
        self.record_octets += body.len();
        Ok(true)
    }

    /// Notes what a mark changes: the state of a session that lasts is what its marks say.
    fn mark(&mut self, session: &str, mark: &Mark) -> Result<(), IndexError> {
        let set = |path: &str, value: &str| -> Result<(), IndexError> {
            let update = format!("UPDATE session SET state = json_set(state, {path}, ?2) WHERE id = ?1");
            self.db.prepare_cached(&update)?.execute([session, value])?;
            Ok(())
        };
        match mark {
            Mark::Resolved { domain, .. } => {
                let update = "UPDATE session SET domain = ?2 WHERE id = ?1";
                self.db.prepare_cached(update)?.execute([session, domain.as_str()])?;
            }
            Mark::Connected { local, remote } => {
                set("'$.local'", &local.to_string())?;
                set("'$.remote'", &remote.to_string())?;
                self.pair(session)?;
            }
            Mark::Encrypted { tls } => set("'$.tls'", tls)?,
            Mark::LoggedIn { user } => set("'$.user'", user)?,
            Mark::Message { message, .. } => {
                let insert = "INSERT INTO session_message (message, session) VALUES (?, ?) ON CONFLICT DO NOTHING";
                self.db.prepare_cached(insert)?.execute(params![message.to_string(), session])?;
                let update = "UPDATE session SET state = json_set(state, '$.messages[#]', ?2) WHERE id = ?1 AND NOT EXISTS \
                              (SELECT 1 FROM json_each(state, '$.messages') WHERE value = ?2)";
                self.db.prepare_cached(update)?.execute([session, &message.to_string()])?;
            }
            _ => {}
        }
        Ok(())
    }

    fn refused(&mut self, session: &str, record: &Record, refused: &Refused) -> Result<(), IndexError> {
        let Refused { command: Command { verb, address }, reply } = refused;
        let insert = "INSERT INTO refusal (session, at, verb, recipient, reply) VALUES (?, ?, ?, ?, ?)";
        let values = params![session, record.at.as_microsecond(), verb, address.to_lowercase(), reply];
        self.db.prepare_cached(insert)?.execute(values)?;
        let update = "UPDATE session SET refusals = refusals + 1, has_failed = 1, state = json_set(state, '$.refusals', refusals + 1, \
                      '$.last_refusal', ?2) WHERE id = ?1";
        self.db.prepare_cached(update)?.execute([session, reply])?;
        Ok(())
    }
}

fn is_smtp(state: &RecordedSession) -> bool {
    use internal_api::Protocol;
    matches!(state.protocol, Protocol::Smtp | Protocol::Submission | Protocol::Submissions)
}

impl Dialogue {
    /// Follows the dialogue; returns what a reply has refused.
    fn saw(&mut self, seen: &SeenOctets) -> Option<Refused> {
        if !self.is_smtp || seen.form == Form::Body {
            return None;
        }
        let from_client = match self.role? {
            Role::Server => seen.direction == Flow::Received,
            Role::Client => seen.direction == Flow::Sent,
        };
        let octets = seen.octets.bytes()?;
        let lines = self.finished(from_client, &String::from_utf8_lossy(&octets));
        let refused = lines.split_inclusive('\n').filter_map(|line| self.line(from_client, line)).last();
        if seen.missing > 0 {
            (self.is_lost, self.unfinished) = (true, Default::default());
            self.waiting.clear();
        }
        refused
    }

    /// The lines that end in this piece of the dialogue. An over-long line comes in several.
    fn finished(&mut self, from_client: bool, piece: &str) -> String {
        let unfinished = &mut self.unfinished[usize::from(from_client)];
        let (ended, rest) = piece.rfind('\n').map_or(("", piece), |end| piece.split_at(end + 1));
        let mut lines = String::new();
        if !ended.is_empty() {
            lines = std::mem::take(unfinished) + ended;
        }
        let room = LINE_OCTETS.saturating_sub(unfinished.len()).min(rest.len());
        unfinished.push_str(&rest[..rest.floor_char_boundary(room)]);
        lines
    }

    fn line(&mut self, from_client: bool, line: &str) -> Option<Refused> {
        if !from_client {
            return if self.is_lost { None } else { self.reply(line) };
        }
        if self.is_lost {
            if !matches!(Command::of(line).verb.as_str(), "EHLO" | "HELO") {
                return None;
            }
            self.is_lost = false;
        }
        self.command(line);
        None
    }

    fn command(&mut self, line: &str) {
        if self.waiting.len() == PIPELINED {
            self.waiting.pop_front();
        }
        self.waiting.push_back(Command::of(line));
    }

    fn reply(&mut self, line: &str) -> Option<Refused> {
        let line = line.trim_end();
        let (code, rest) = line.split_at_checked(3)?;
        // More lines follow (RFC 5321 §4.2.1).
        if rest.starts_with('-') || !code.bytes().all(|octet| octet.is_ascii_digit()) {
            return None;
        }
        if !std::mem::replace(&mut self.greeted, true) {
            return None;
        }
        let positive = code.starts_with(['2', '3']);
        let command = self.waiting.pop_front();
        match command.as_ref().map(|command| command.verb.as_str()) {
            Some("MAIL") if positive => self.in_transaction = true,
            Some("RSET" | "EHLO" | "HELO" | "QUIT" | "STARTTLS") if positive => self.in_transaction = false,
            Some("DATA") if code == "354" => self.waiting.push_front(Command::final_dot()),
            Some(FINAL_DOT | LAST_CHUNK) => self.in_transaction = false,
            _ => {}
        }
        let command = command.filter(|_| code.starts_with(['4', '5']))?;
        Some(Refused { command, reply: line.to_owned() })
    }
}

impl Command {
    fn final_dot() -> Self {
        Self { verb: FINAL_DOT.to_owned(), address: String::new() }
    }

    fn of(line: &str) -> Self {
        let line = line.trim();
        let upper = line.to_ascii_uppercase();
        let verb = upper.split([' ', ':']).next().unwrap_or_default();
        let last_chunk = verb == "BDAT" && upper.ends_with(" LAST");
        let address = match verb {
            "RCPT" | "MAIL" => line.split_once(':').map(|(_, path)| address(path)).unwrap_or_default(),
            _ => String::new(),
        };
        Self { verb: if last_chunk { LAST_CHUNK.to_owned() } else { verb.to_owned() }, address }
    }
}

/// The address of a path, with or without its angle brackets.
fn address(path: &str) -> String {
    let path = path.trim();
    let inner = match path.split_once('<') {
        Some((_, rest)) => rest.split('>').next(),
        None => path.split_whitespace().next(),
    };
    inner.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use internal_api::Octets;

    fn line(direction: Flow, text: &str) -> SeenOctets {
        SeenOctets { direction, form: Form::Line, missing: 0, octets: Octets::of(text.as_bytes()) }
    }

    fn play(lines: &[&str]) -> (Dialogue, Vec<String>) {
        let mut dialogue = Dialogue { role: Some(Role::Server), is_smtp: true, ..Dialogue::default() };
        let mut refused = Vec::new();
        for text in lines {
            let (direction, text) = text.split_at(1);
            let flow = if direction == "C" { Flow::Received } else { Flow::Sent };
            refused.extend(
                dialogue
                    .saw(&line(flow, &format!("{text}\r\n")))
                    .map(|refused| format!("{} {} {}", refused.command.verb, refused.command.address, refused.reply)),
            );
        }
        (dialogue, refused)
    }

    #[test]
    fn each_refusal_has_its_command() {
        let (dialogue, refused) = play(&[
            "S220 a SMTP server ready",
            "Cehlo x",
            "S250-a HELLO",
            "S250 SIZE",
            "Cmail FROM:<a@x>",
            "Crcpt TO:<b@x> NOTIFY=NEVER",
            "CRCPT to:c@x",
            "CDATA",
            "S250 2.1.0 OK",
            "S550 5.1.1 no such user",
            "S250 2.1.5 OK",
            "S354 go on",
        ]);
        assert_eq!(refused, ["RCPT b@x 550 5.1.1 no such user"]);
        assert!(dialogue.in_transaction);
    }

    #[test]
    fn a_transaction_ends_with_its_message_or_a_reset() {
        let begin = ["S220 a", "Cehlo x", "S250 a", "Cmail FROM:<a@x>", "S250 OK"];
        for (end, open) in [
            (&["Cdata", "S354 go", "S250 queued"][..], false),
            (&["Cdata", "S354 go"], true),
            (&["Crset", "S250 OK"], false),
            (&["CBDAT 5", "S250 OK"], true),
            (&["CBDAT 5 LAST", "S250 OK"], false),
            (&["Cnoop", "S250 OK"], true),
            (&["Cquit", "S221 bye"], false),
        ] {
            let (dialogue, _) = play(&[&begin[..], end].concat());
            assert_eq!(dialogue.in_transaction, open, "{end:?}");
        }
    }

    #[test]
    fn a_line_in_pieces_is_one_command() {
        let mut dialogue = Dialogue { role: Some(Role::Server), is_smtp: true, ..Dialogue::default() };
        let mut say = |flow, text: &str| dialogue.saw(&line(flow, text)).map(|refused| refused.command.address);
        say(Flow::Sent, "220 a\r\n");
        assert_eq!(say(Flow::Received, &format!("NOOP {}", "x".repeat(9000))), None);
        assert_eq!(say(Flow::Received, &"x".repeat(9000)), None);
        say(Flow::Received, "x\r\nRCPT TO:<b@x>\r\n");
        assert_eq!(say(Flow::Sent, "500 5.5.2 too long\r\n").as_deref(), Some(""));
        assert_eq!(say(Flow::Sent, "550 5.1.1 no\r\n").as_deref(), Some("b@x"));
    }

    #[test]
    fn where_octets_are_missing_no_reply_is_given_to_a_wrong_command() {
        let mut dialogue = Dialogue { role: Some(Role::Server), is_smtp: true, ..Dialogue::default() };
        let mut say = |flow, text: &str, missing| {
            dialogue.saw(&SeenOctets { missing, ..line(flow, text) }).map(|refused| refused.command.address)
        };
        say(Flow::Sent, "220 a\r\n", 0);
        say(Flow::Received, "RCPT TO:<b@x>\r\n", 10);
        assert_eq!(say(Flow::Sent, "550 5.1.1 no\r\n", 0), None);
        say(Flow::Received, "EHLO x\r\n", 0);
        say(Flow::Sent, "250 a\r\n", 0);
        say(Flow::Received, "RCPT TO:<c@x>\r\n", 0);
        assert_eq!(say(Flow::Sent, "550 5.1.1 no\r\n", 0).as_deref(), Some("c@x"));
    }
}
