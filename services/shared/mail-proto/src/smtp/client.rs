//! The client's side of an SMTP connection, without the connection. The relay and the agent share it.

use super::{BodyType, ClientName, Command, Extensions, MailParameters, Recipient, Reply, Status};
use crate::address::{ForwardPath, ReversePath};
use std::collections::VecDeque;

/// A message to be sent, except its octets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Where failure messages go.
    pub reverse_path: ReversePath,
    /// What is known of the message. Each parameter is sent where the server announces its extension, except two: BODY
    /// is always 8BITMIME then, because nobody has counted the bits, and SIZE is `octets`.
    pub parameters: MailParameters,
    /// Who it is for; at least one.
    pub recipients: Vec<Recipient>,
    /// Its octets, declared where the server takes SIZE (RFC 1870).
    pub octets: u64,
}

impl Transaction {
    /// The parameters that go with MAIL.
    fn mail_parameters(&self, extensions: Extensions) -> MailParameters {
        let (size_octets, body) = (Some(self.octets), Some(BodyType::EightBitMime));
        extensions.permitted(MailParameters { size_octets, body, ..self.parameters.clone() })
    }
}

/// What the client wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Read a reply and feed it to [`Client::reply`].
    Await,
    /// Send these octets, then do as with [`Step::Await`].
    Send(Vec<u8>),
    /// Send the message through [`DotEncoder`](crate::dot::DotEncoder), its end included, then do as with
    /// [`Step::Await`]. From here on a connection that breaks leaves the outcome unknown.
    SendBody,
    /// The server is ready for [`Client::begin`] or [`Client::quit`].
    Ready,
    /// The transaction is over: for each recipient, in their order, the verdict. Then as with [`Step::Ready`].
    Finished(Vec<Verdict>),
    /// The server will not talk to us; say goodbye and close the connection.
    Refused(Reply),
    /// The server has answered DATA neither with "go on" nor with a refusal. Nothing was sent, so nothing can have
    /// been taken; say goodbye and close the connection.
    Unexpected(Reply),
    /// The server has said goodbye; close the connection.
    Closed,
}

/// What is known about one recipient of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The server has decided by this reply.
    Decided(Reply),
    /// The server takes no more recipients in this transaction: this one belongs into the next
    /// (RFC 5321 §4.5.3.1.10).
    Postponed(Reply),
    /// The server has not decided.
    Undecided,
}

impl Verdict {
    /// What the server has said, if it has said anything.
    pub fn into_reply(self) -> Option<Reply> {
        match self {
            Self::Decided(reply) | Self::Postponed(reply) => Some(reply),
            Self::Undecided => None,
        }
    }
}

/// What a sent command was, so that its reply can be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pending {
    Mail,
    /// The recipient's index.
    Rcpt(usize),
    Data,
}

/// A transaction under way.
#[derive(Debug)]
struct Progress {
    /// Sent or to be sent, in order; the first is the one whose reply is awaited.
    pending: VecDeque<(Pending, Vec<u8>)>,
    verdicts: Vec<Verdict>,
    /// How many recipients the server has taken.
    accepted: usize,
    /// How many replies in a row have said that there are too many recipients.
    over_limit: usize,
}

#[derive(Debug)]
enum State {
    Greeting,
    Ehlo,
    Helo,
    Ready,
    Commands(Progress),
    /// After the message's final dot.
    Body(Progress),
    /// After a RSET, or after the lone dot that ends a DATA nobody wanted.
    Clearing(Vec<Verdict>),
    Quitting,
}

/// One connection's protocol state.
#[derive(Debug)]
pub struct Client {
    name: ClientName,
    server_name: String,
    extensions: Extensions,
    /// How many recipients the server takes in one transaction, once it has refused more.
    recipient_limit: Option<usize>,
    /// How the server has refused the sender of the last transaction.
    sender_refusal: Option<Reply>,
    state: State,
}

impl Client {
    /// A client that has just connected and calls itself `name`. First await the greeting.
    pub fn new(name: ClientName) -> Self {
        Self {
            name,
            server_name: String::new(),
            extensions: Extensions::default(),
            recipient_limit: None,
            sender_refusal: None,
            state: State::Greeting,
        }
    }

    /// How the server calls itself in its reply to EHLO or HELO (RFC 5321 §4.1.1.1); empty before that.
    pub fn server_name(&self) -> &str {
        &self.server_name
    }

    /// What the server has announced.
    pub fn extensions(&self) -> Extensions {
        self.extensions
    }

    /// How many recipients the server takes in one transaction, as far as it has shown (RFC 5321 §4.5.3.1.10).
    pub fn recipient_limit(&self) -> Option<usize> {
        self.recipient_limit
    }

    /// The reply by which the server has refused the last transaction's MAIL command.
    pub fn sender_refusal(&self) -> Option<&Reply> {
        self.sender_refusal.as_ref()
    }

    /// Starts a transaction. Only after [`Step::Ready`] or [`Step::Finished`].
    pub fn begin(&mut self, transaction: &Transaction) -> Step {
        let line = |command: Command| format!("{command}\r\n").into_bytes();
        let parameters = transaction.mail_parameters(self.extensions);
        let mut pending = VecDeque::with_capacity(transaction.recipients.len() + 2);
        pending.push_back((Pending::Mail, line(Command::Mail(transaction.reverse_path.clone(), parameters))));
        for (index, recipient) in transaction.recipients.iter().enumerate() {
            let path = ForwardPath::Mailbox(recipient.mailbox.clone());
            let parameters = self.extensions.permitted_to_recipient(recipient.parameters());
            let command = Command::Rcpt(path, parameters);
            pending.push_back((Pending::Rcpt(index), line(command)));
        }
        pending.push_back((Pending::Data, line(Command::Data)));
        let verdicts = vec![Verdict::Undecided; transaction.recipients.len()];
        let progress = Progress { pending, verdicts, accepted: 0, over_limit: 0 };
        self.sender_refusal = None;
        let send = if self.extensions.pipelining { progress.all() } else { progress.first() };
        self.state = State::Commands(progress);
        Step::Send(send)
    }

    /// Says goodbye. Only after [`Step::Ready`] or [`Step::Finished`].
    pub fn quit(&mut self) -> Step {
        self.state = State::Quitting;
        Step::Send(b"QUIT\r\n".to_vec())
    }

    /// Takes the next reply.
    pub fn reply(&mut self, reply: Reply) -> Step {
        match std::mem::replace(&mut self.state, State::Quitting) {
            State::Greeting if reply.is_positive() => {
                self.state = State::Ehlo;
                Step::Send(format!("{}\r\n", Command::Ehlo(self.name.clone())).into_bytes())
            }
            State::Ehlo if reply.is_permanent() => {
                self.state = State::Helo;
                Step::Send(format!("{}\r\n", Command::Helo(self.name.clone())).into_bytes())
            }
            State::Ehlo if reply.is_positive() => {
                self.extensions = Extensions::parse(reply.lines().iter().skip(1).map(AsRef::as_ref));
                self.introduced(&reply)
            }
            State::Helo if reply.is_positive() => self.introduced(&reply),
            State::Greeting | State::Ehlo | State::Helo => Step::Refused(reply),
            // RFC 5321 §3.8: the server is about to close, whatever it was asked.
            State::Commands(progress) if reply.code() == 421 => {
                self.state = State::Commands(progress);
                Step::Refused(reply)
            }
            State::Commands(progress) => self.command_reply(progress, reply),
            State::Body(mut progress) => {
                progress.decide(&reply);
                self.ready(Step::Finished(progress.verdicts))
            }
            State::Clearing(verdicts) => self.ready(Step::Finished(verdicts)),
            // Nothing was asked: from here on no reply could be told from another.
            State::Ready => Step::Refused(reply),
            State::Quitting => Step::Closed,
        }
    }

    /// Whether the transaction under way is still at its commands: nothing of the message was sent, and the server has
    /// not decided about all of its recipients.
    pub fn is_at_commands(&self) -> bool {
        matches!(self.state, State::Commands(_))
    }

    /// Ends a transaction whose connection is lost: for each recipient, in their order, what the server had decided.
    /// `None` when no transaction is under way.
    pub fn give_up(&mut self) -> Option<Vec<Verdict>> {
        match std::mem::replace(&mut self.state, State::Quitting) {
            State::Commands(progress) | State::Body(progress) => Some(progress.verdicts),
            State::Clearing(verdicts) => Some(verdicts),
            _ => None,
        }
    }

    fn introduced(&mut self, reply: &Reply) -> Step {
        self.server_name = reply.lines()[0].split(' ').next().unwrap_or_default().to_ascii_lowercase();
        self.ready(Step::Ready)
    }

    fn ready(&mut self, step: Step) -> Step {
        self.state = State::Ready;
        step
    }

    fn command_reply(&mut self, mut progress: Progress, reply: Reply) -> Step {
        let Some((answered, _)) = progress.pending.pop_front() else { return Step::Refused(reply) };
        match answered {
            Pending::Mail if !reply.is_positive() => {
                progress.decide(&reply);
                self.sender_refusal = Some(reply);
            }
            Pending::Mail => {}
            Pending::Rcpt(index) => self.recipient_reply(&mut progress, index, reply),
            Pending::Data => return self.data_reply(progress, reply),
        }
        let hopeless = !progress.is_wanted();
        if self.extensions.pipelining {
            // Everything was sent: each command gets its reply, whatever the first ones said.
            self.state = State::Commands(progress);
            Step::Await
        } else if hopeless {
            self.state = State::Clearing(progress.verdicts);
            Step::Send(b"RSET\r\n".to_vec())
        } else {
            let send = progress.first();
            self.state = State::Commands(progress);
            Step::Send(send)
        }
    }

    /// Notes what became of a recipient. One refusal may be about its mailbox all the same; if no later recipient is
    /// taken, the limit is as many as were taken before.
    fn recipient_reply(&mut self, progress: &mut Progress, index: usize, reply: Reply) {
        if progress.verdicts[index] != Verdict::Undecided {
            return;
        }
        if reply.is_positive() {
            progress.accepted += 1;
            if progress.over_limit > 0 {
                (progress.over_limit, self.recipient_limit) = (0, None);
            }
        } else if !says_too_many_recipients(&reply) {
            progress.verdicts[index] = Verdict::Decided(reply);
        } else if progress.accepted == 0 {
            // Not even the first one: that was no limit.
            self.recipient_limit = None;
            progress.verdicts[index] = Verdict::Decided(reply);
        } else {
            progress.over_limit += 1;
            self.recipient_limit = Some(progress.accepted);
            if !self.extensions.pipelining && (progress.over_limit > 1 || reply.status() == Some(TOO_MANY_RECIPIENTS)) {
                progress.postpone_pending(&reply);
            }
            progress.verdicts[index] = Verdict::Postponed(reply);
        }
    }

    fn data_reply(&mut self, mut progress: Progress, reply: Reply) -> Step {
        if reply.code() == 354 && progress.is_wanted() {
            self.state = State::Body(progress);
            return Step::SendBody;
        }
        if reply.code() == 354 {
            // RFC 2920 §3.1: the server waits for a message that nobody is to get.
            self.state = State::Clearing(progress.verdicts);
            return Step::Send(b".\r\n".to_vec());
        }
        if !reply.is_transient() && !reply.is_permanent() {
            self.state = State::Commands(progress);
            return Step::Unexpected(reply);
        }
        progress.decide(&reply);
        self.state = State::Clearing(progress.verdicts);
        Step::Send(b"RSET\r\n".to_vec())
    }
}

impl Progress {
    fn all(&self) -> Vec<u8> {
        self.pending.iter().flat_map(|(_, line)| line).copied().collect()
    }

    fn first(&self) -> Vec<u8> {
        self.pending.front().map(|(_, line)| line.clone()).unwrap_or_default()
    }

    /// Whether any recipient is still to get the message.
    fn is_wanted(&self) -> bool {
        self.verdicts.contains(&Verdict::Undecided)
    }

    /// Decides about all that are undecided.
    fn decide(&mut self, reply: &Reply) {
        for verdict in self.verdicts.iter_mut().filter(|verdict| **verdict == Verdict::Undecided) {
            *verdict = Verdict::Decided(reply.clone());
        }
    }

    /// Leaves all recipients that were not named yet to the next transaction.
    fn postpone_pending(&mut self, reply: &Reply) {
        for (pending, _) in &self.pending {
            if let Pending::Rcpt(index) = pending {
                self.verdicts[*index] = Verdict::Postponed(reply.clone());
            }
        }
        self.pending.retain(|(pending, _)| *pending == Pending::Data);
    }
}

/// The enhanced status of "too many recipients" (RFC 3463 §3.6).
const TOO_MANY_RECIPIENTS: Status = (5, 3);

/// Whether the refusal of a recipient, after others were taken, means that the transaction has enough of them: 452, or
/// the 552 of older servers (RFC 5321 §4.5.3.1.10). One about the address or the mailbox (RFC 3463 §3.2, §3.3) does not.
fn says_too_many_recipients(reply: &Reply) -> bool {
    match (reply.code(), reply.status()) {
        (452, Some((subject, _))) => subject != 1 && subject != 2,
        (552, Some(status)) => status == TOO_MANY_RECIPIENTS,
        (code, None) => code == 452 || code == 552,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
