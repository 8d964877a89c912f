//! What goes wrong on purpose in a client's dialogue.

use super::{Client, Dialogue, Next, close};
use crate::{gateway::Gateway, receive::Incoming};
use faults::{Action, Cut, Outcome, Point, ShapedIo};
use mail_net::{Closed, Hop, LineStream};
use mail_proto::{
    ReversePath,
    smtp::{Envelope, Framing, Reply, ReplyReader, Step},
};
use records::Recording;
use service_kit::shutdown::CancellationToken;
use town_config::Limits;

impl Client {
    /// Begins the connection while there are faults. Returns the client if its dialogue is to begin.
    pub(super) async fn begin(mut self, gateway: &Gateway, limits: &Limits, recording: &Recording) -> Option<Self> {
        let (io, shaping) = ShapedIo::wrap(self.io, gateway.clock.io);
        self.io = io;
        self.shaping = Some(shaping.clone());
        let point = Point { client: Some(self.peer.ip()), ..Point::connect(Hop::AgentToSmtp) };
        let Some(outcome) = gateway.faults.at(&point) else { return Some(self) };
        recording.fault(&gateway.faults, &outcome);
        shaping.add(outcome.shape);
        gateway.pause(outcome.delay).await;
        if outcome.action.is_some() {
            recording.breaks(format_args!("the fault {}", outcome.names()));
        }
        let is_readable = !self.port.begins_with_tls();
        match outcome.action {
            None | Some(Action::Dns(_) | Action::Status(_)) => return Some(self),
            Some(Action::Reply(text)) if is_readable => {
                close(self.stream(gateway, limits, recording), &reply(&text)).await;
            }
            Some(Action::Corrupt(octets)) if is_readable => {
                let mut stream = self.stream(gateway, limits, recording);
                stream.push(octets.as_bytes());
                stream.close().await;
            }
            Some(Action::Stall) => be_silent(self.stream(gateway, limits, recording), &gateway.shutdown).await,
            Some(Action::Reply(_) | Action::Corrupt(_) | Action::Cut(_) | Action::Refuse) => {}
        }
        None
    }
}

impl Dialogue<'_> {
    /// What goes wrong at this command. The octets that follow BDAT come whatever is said of it: it goes wrong at the end
    /// of the message.
    pub(super) fn fault_at(&self, line: &[u8]) -> Option<Box<Outcome>> {
        let (verb, path) = verb_and_path(line);
        if self.session.expects_response() || verb == "BDAT" {
            return None;
        }
        let (mail_from, recipients) = match verb.as_str() {
            "MAIL" => (path, Vec::new()),
            "RCPT" => (self.mail_from(), Vec::from_iter(path)),
            _ => (self.mail_from(), Vec::new()),
        };
        self.fault(&[&verb], mail_from.as_deref(), &recipients)
    }

    fn mail_from(&self) -> Option<String> {
        self.session.reverse_path().map(ReversePath::bare)
    }

    fn fault(&self, verbs: &[&str], mail_from: Option<&str>, recipients: &[String]) -> Option<Box<Outcome>> {
        let faults = &self.gateway.faults;
        let client = Some(self.peer.ip());
        let is_shapable = self.shaping.is_some();
        let point = Point { client, mail_from, recipients, is_shapable, ..Point::of(Hop::AgentToSmtp, verbs) };
        let outcome = faults.at(&point).or_else(|| self.wish(verbs, recipients))?;
        self.recording.fault(faults, &outcome);
        Some(outcome)
    }

    /// What a recipient of ours asks for by its name.
    fn wish(&self, verbs: &[&str], recipients: &[String]) -> Option<Box<Outcome>> {
        let recipient = recipients.first().filter(|_| verbs == ["RCPT"])?;
        let (_, domain) = recipient.rsplit_once('@')?;
        let is_local = domain.parse().is_ok_and(|domain| self.gateway.stack.current().is_local(&domain));
        if is_local { self.gateway.faults.of_recipient(recipient) } else { None }
    }

    /// Takes a command at which something goes wrong.
    pub(super) async fn go_wrong(&mut self, outcome: Outcome, line: &[u8]) -> Result<Next, Closed> {
        // What was said before is not lost with it.
        self.stream.flush().await?;
        self.change(&outcome).await;
        let (verb, _) = verb_and_path(line);
        // What goes on after its first reply is not begun.
        let goes_on = matches!(verb.as_str(), "DATA" | "AUTH" | "STARTTLS");
        match outcome.action {
            None | Some(Action::Dns(_) | Action::Status(_)) => self.obey(line).await,
            Some(Action::Reply(text)) => {
                let reply = reply(&text);
                self.gateway.replied(known(&verb), &reply);
                self.stream.push(&reply);
                Ok(Next::Line)
            }
            Some(Action::Corrupt(octets)) => {
                self.stream.push(octets.as_bytes());
                Ok(Next::Line)
            }
            Some(Action::Stall) => Ok(Next::Silence),
            Some(Action::Cut(Cut::AfterReply)) => self.reply_and_cut(line).await,
            Some(Action::Cut(Cut::BeforeReply)) if !goes_on => self.obey(line).await.map(|_| Next::Cut),
            Some(Action::Cut(_) | Action::Refuse) => Ok(Next::Cut),
        }
    }

    /// Says the reply to a command, the first one where more follow, and cuts.
    async fn reply_and_cut(&mut self, line: &[u8]) -> Result<Next, Closed> {
        let step = self.session.line(Ok(line));
        if let Step::Receive(Some(go_ahead), _) = step {
            self.stream.push(&go_ahead);
        } else if let Next::Close(last) = self.perform(step).await? {
            self.stream.push(&last);
        }
        self.stream.flush().await?;
        Ok(Next::Cut)
    }

    async fn obey(&mut self, line: &[u8]) -> Result<Next, Closed> {
        let step = self.session.line(Ok(line));
        self.perform(step).await
    }

    /// Waits, and changes how the connection carries octets.
    async fn change(&mut self, outcome: &Outcome) {
        if let Some(shaping) = &self.shaping {
            shaping.add(outcome.shape);
        }
        self.gateway.pause(outcome.delay).await;
    }

    /// Lets the end of a message go wrong: a message that gets another reply is not accepted. What happens after it was
    /// accepted is kept for [`Dialogue::meet`].
    pub(super) async fn end_wrong(&mut self, envelope: &Envelope, framing: Framing, incoming: &mut Incoming) {
        let recipients: Vec<_> = envelope.recipients.iter().map(|recipient| recipient.mailbox.to_string()).collect();
        let verbs: &[&str] = if framing == Framing::Dots { &["."] } else { &[".", "BDAT"] };
        let mail_from = envelope.reverse_path.bare();
        let Some(outcome) = self.fault(verbs, Some(&mail_from), &recipients) else { return };
        self.change(&outcome).await;
        match &outcome.action {
            Some(Action::Reply(text)) => return incoming.abandon(reply(text)).await,
            Some(Action::Cut(Cut::BeforeCommand) | Action::Refuse) => {
                incoming.abandon(Reply::new(451, (4, 2), "the message was cut off")).await;
            }
            _ => {}
        }
        self.fate = outcome.action.map(Box::new);
    }

    /// Does what is to happen instead of this reply, or with it.
    pub(super) async fn meet(&mut self, fate: Action, reply: &Reply) -> Result<Next, Closed> {
        match fate {
            Action::Stall => return Ok(Next::Silence),
            Action::Cut(Cut::AfterReply) => {
                self.stream.push(reply);
                self.stream.flush().await?;
            }
            Action::Cut(_) | Action::Refuse => {}
            Action::Corrupt(octets) => {
                self.stream.push(octets.as_bytes());
                return Ok(Next::Line);
            }
            Action::Reply(_) | Action::Dns(_) | Action::Status(_) => {
                self.stream.push(reply);
                return Ok(Next::Line);
            }
        }
        Ok(Next::Cut)
    }
}

/// Says nothing until the client goes, or was silent for too long.
pub(super) async fn be_silent(mut stream: LineStream, shutdown: &CancellationToken) {
    let deadline = stream.deadline();
    let listening = async { while stream.line(deadline).await.is_ok() {} };
    shutdown.run_until_cancelled(listening).await;
}

/// The verb as the log may have it: what is no command may be a part of anything.
fn known(verb: &str) -> &str {
    const KNOWN: [&str; 11] =
        ["EHLO", "HELO", "MAIL", "RCPT", "DATA", "RSET", "NOOP", "QUIT", "VRFY", "AUTH", "STARTTLS"];
    if KNOWN.contains(&verb) { verb } else { "unknown" }
}

/// The verb of a command in upper case, and the path that it names.
fn verb_and_path(line: &[u8]) -> (String, Option<String>) {
    let text = String::from_utf8_lossy(line);
    let text = text.trim();
    let verb = text.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    let path = text.split_once(':').map(|(_, path)| path.trim_start());
    let path = path.map(|path| match path.strip_prefix('<').and_then(|path| path.rsplit_once('>')) {
        Some((path, _)) => path,
        None => path.split_whitespace().next().unwrap_or_default(),
    });
    (verb, path.map(ToOwned::to_owned))
}

/// A reply as a value. A fault was checked when it was set.
fn reply(text: &str) -> Reply {
    let read = ReplyReader::default().line(text.as_bytes());
    read.ok().flatten().unwrap_or_else(|| Reply::plain(451, text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::verb_and_path;

    #[test]
    fn verbs_and_paths() {
        for (line, verb, path) in [
            ("mail from:<a@x> SIZE=3", "MAIL", Some("a@x")),
            ("MAIL FROM: a@x", "MAIL", Some("a@x")),
            ("RCPT TO:<>", "RCPT", Some("")),
            ("rcpt to:<\"a>b\"@x> NOTIFY=NEVER", "RCPT", Some("\"a>b\"@x")),
            ("data", "DATA", None),
            ("", "", None),
        ] {
            assert_eq!(verb_and_path(line.as_bytes()), (verb.to_owned(), path.map(ToOwned::to_owned)), "{line}");
        }
    }
}
