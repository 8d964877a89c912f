//! From MAIL to the end of the message.

use super::{Framing, Received, Session, Step, TRACE_OCTETS, too_large};
use crate::{
    address::{ForwardPath, Mailbox, ReversePath},
    smtp::{
        CommandError, Envelope, Extensions, MailParameters, Origin, ParameterName, Recipient, RecipientParameters,
        Reply, command::Chunk,
    },
};

/// A transaction under way (RFC 5321 §3.3).
#[derive(Debug)]
pub(super) struct Transaction {
    origin: Origin,
    reverse_path: ReversePath,
    parameters: MailParameters,
    recipients: Vec<Recipient>,
    message: Message,
}

/// What of the message was asked for.
#[derive(Debug)]
enum Message {
    /// Nothing.
    None,
    /// It comes in chunks, of which these are octets so far (RFC 3030 §2).
    Chunks { octets: u64 },
    /// All of it.
    Whole,
}

impl Session {
    pub(super) fn mail(&mut self, path: ReversePath, parameters: MailParameters) -> Step {
        if self.hello.is_none() {
            return self.refuse_mail(hello_first());
        }
        if self.transaction.is_some() {
            return self.bad(Reply::new(503, (5, 1), "a transaction is open; RSET ends it"));
        }
        let usable = self.usable();
        if parameters.requiretls && usable != Extensions::default() && !usable.requiretls {
            return self.refuse_mail(Reply::new(
                555,
                (5, 4),
                "REQUIRETLS is offered over TLS only; say STARTTLS first",
            ));
        }
        let permitted = usable.permitted(parameters.clone());
        if permitted != parameters {
            let refused = ParameterName::of_refused(&parameters, &permitted);
            return self.refuse_mail(CommandError::UnknownParameter(refused).reply());
        }
        let most_octets = self.config.size_limit_octets.saturating_add(TRACE_OCTETS);
        if parameters.size_octets.is_some_and(|octets| octets > most_octets) {
            self.offences.excuses_pipelined = true;
            return Step::Reply(too_large(self.config.size_limit_octets));
        }
        self.mail_parameters = parameters;
        self.judge_submitter();
        Step::CheckSender(path)
    }

    /// RFC 4954 §5: nobody is believed who names another submitter than itself. Who is logged in and says nothing submits the
    /// message as itself.
    fn judge_submitter(&mut self) {
        let itself = self.identity.clone().map(ReversePath::Mailbox);
        let submitter = &mut self.mail_parameters.submitter;
        *submitter = match submitter.take() {
            None => itself,
            Some(named) if Some(&named) == itself.as_ref() => itself,
            Some(_) => Some(ReversePath::Null),
        };
    }

    /// Refuses a MAIL command that breaks the protocol.
    pub(super) fn refuse_mail(&mut self, reply: Reply) -> Step {
        self.offences.excuses_pipelined = true;
        self.bad(reply)
    }

    /// Whether the transaction is without SMTPUTF8: its addresses must not go beyond ASCII.
    pub(super) fn is_in_ascii(&self) -> bool {
        self.transaction.as_ref().is_some_and(|transaction| !transaction.parameters.smtputf8)
    }

    /// A reply in characters that the client takes: any if its MAIL command had SMTPUTF8 (RFC 6531 §3.7.4), and ASCII
    /// otherwise.
    pub fn in_its_characters(&self, reply: Reply) -> Reply {
        if self.mail_parameters.smtputf8 { reply } else { reply.in_ascii() }
    }

    /// Whom the mail of this transaction is from, while there is one.
    pub fn reverse_path(&self) -> Option<&ReversePath> {
        self.transaction.as_ref().map(|transaction| &transaction.reverse_path)
    }

    /// How long the message of this transaction will be, if its MAIL command has said so (RFC 1870 §3).
    pub fn declared_octets(&self) -> Option<u64> {
        self.mail_parameters.size_octets
    }

    /// Takes the policy's answer to [`Step::CheckSender`]: what the transaction is, or the refusal.
    pub fn sender_checked(&mut self, reverse_path: ReversePath, verdict: Result<Origin, Reply>) -> Reply {
        let too_large_for_us = self.declared_octets() > Some(self.config.size_limit_octets);
        let origin = match verdict {
            // What a user submits has no trace yet.
            Ok(Origin::Submission) if too_large_for_us => Err(too_large(self.config.size_limit_octets)),
            verdict => verdict,
        };
        self.offences.excuses_pipelined = origin.is_err();
        let origin = match origin {
            Ok(origin) => origin,
            Err(refusal) => return refusal,
        };
        let parameters = self.mail_parameters.clone();
        let (recipients, message) = (Vec::new(), Message::None);
        self.transaction = Some(Transaction { origin, reverse_path, parameters, recipients, message });
        Reply::new(250, (1, 0), "OK")
    }

    pub(super) fn rcpt(&mut self, path: ForwardPath, parameters: RecipientParameters) -> Step {
        let permitted = self.usable().permitted_to_recipient(parameters.clone());
        match &self.transaction {
            None => self.bad_unless_pipelined(self.out_of_transaction()),
            Some(_) if permitted != parameters => {
                let refused = ParameterName::of_refused(&parameters, &permitted);
                Step::Reply(CommandError::UnknownParameter(refused).reply())
            }
            Some(Transaction { message: Message::Chunks { .. }, .. }) => self.bad(chunks_first()),
            Some(transaction) if transaction.recipients.len() >= self.config.recipient_limit => Step::Reply(
                Reply::new(452, (5, 3), "too many recipients; send to the others in a transaction of their own"),
            ),
            Some(transaction) => {
                self.recipient_parameters = parameters;
                Step::CheckRecipient(transaction.origin, path)
            }
        }
    }

    /// Takes the policy's answer to [`Step::CheckRecipient`]: the mailbox that is meant, or the refusal.
    pub fn recipient_checked(&mut self, verdict: Result<Mailbox, Reply>) -> Reply {
        let mailbox = match verdict {
            Ok(mailbox) => mailbox,
            Err(refusal) => return refusal,
        };
        let refusal = self.out_of_transaction();
        let Some(Transaction { recipients, .. }) = &mut self.transaction else { return refusal };
        if recipients.iter().all(|known| known.mailbox != mailbox) {
            recipients.push(Recipient::new(mailbox, std::mem::take(&mut self.recipient_parameters)));
        }
        Reply::new(250, (1, 5), "OK")
    }

    pub(super) fn data(&mut self) -> Step {
        let refusal = self.out_of_transaction();
        match &mut self.transaction {
            None => self.bad_unless_pipelined(refusal),
            Some(Transaction { message: Message::Chunks { .. }, .. }) => self.bad(chunks_first()),
            Some(transaction) if transaction.recipients.is_empty() => Step::Reply(no_recipients()),
            Some(transaction) => {
                transaction.message = Message::Whole;
                let go_ahead = Reply::plain(354, "Start mail input; end with <CRLF>.<CRLF>");
                Step::Receive(Some(go_ahead), Framing::Dots)
            }
        }
    }

    /// RFC 3030 §2. Whatever the reply is, the octets of the chunk are no commands.
    pub(super) fn bdat(&mut self, Chunk { octets, is_last }: Chunk) -> Step {
        let most_octets = self.config.size_limit_octets.saturating_add(TRACE_OCTETS);
        let is_usable = self.usable() != Extensions::default();
        let refusal = match &mut self.transaction {
            None => return self.refuse_chunk(octets, Self::bad_unless_pipelined, self.out_of_transaction()),
            Some(_) if !is_usable => return self.refuse_chunk(octets, Self::bad, CommandError::NotImplemented.reply()),
            Some(transaction) if transaction.recipients.is_empty() => no_recipients(),
            Some(transaction) => {
                let before = if let Message::Chunks { octets } = transaction.message { octets } else { 0 };
                let all = before.saturating_add(octets);
                if all <= most_octets {
                    transaction.message = if is_last { Message::Whole } else { Message::Chunks { octets: all } };
                    return Step::Receive(None, Framing::Octets(octets));
                }
                too_large(self.config.size_limit_octets)
            }
        };
        // The rest of the message may be on its way already.
        self.transaction = None;
        self.offences.excuses_pipelined = true;
        self.skip(octets, refusal)
    }

    /// Reads a refused chunk to its end, unless it is longer than any message that is taken.
    fn skip(&self, octets: u64, reply: Reply) -> Step {
        let most_octets = self.config.size_limit_octets.saturating_add(TRACE_OCTETS);
        if octets <= most_octets { Step::Skip(octets, reply) } else { Step::Close(reply) }
    }

    /// Refuses a chunk as `judge` refuses the command.
    fn refuse_chunk(&mut self, octets: u64, judge: fn(&mut Self, Reply) -> Step, reply: Reply) -> Step {
        match judge(self, reply) {
            Step::Reply(reply) => self.skip(octets, reply),
            step => step,
        }
    }

    /// Whether the transaction waits for the rest of a message.
    pub fn is_receiving(&self) -> bool {
        self.transaction.as_ref().is_some_and(|transaction| !matches!(transaction.message, Message::None))
    }

    /// What is known of the message of this transaction; `None` when there is none.
    pub fn envelope(&self) -> Option<Envelope> {
        let (transaction, hello) = (self.transaction.as_ref()?, self.hello.clone()?);
        let Transaction { origin, reverse_path, parameters, recipients, .. } = transaction;
        Some(Envelope {
            hello,
            is_encrypted: self.is_encrypted,
            identity: self.identity.clone(),
            origin: *origin,
            reverse_path: reverse_path.clone(),
            parameters: parameters.clone(),
            recipients: recipients.clone(),
        })
    }

    /// The octets were read that [`Step::Receive`] asked for.
    pub fn received(&mut self) -> Received {
        if let Some(Transaction { message: Message::Chunks { octets }, .. }) = &self.transaction {
            return Received::Chunk(Reply::new(250, (0, 0), format!("{octets} octets received")));
        }
        self.transaction = None;
        Received::Message
    }

    /// Takes the reply to a message. An accepted one sets the count of bad commands back.
    pub fn committed(&mut self, reply: &Reply) {
        if reply.is_positive() {
            self.offences.bad_commands = 0;
        }
    }

    /// The reply to a command that belongs into a transaction.
    fn out_of_transaction(&self) -> Reply {
        if self.hello.is_none() { hello_first() } else { Reply::new(503, (5, 1), "say MAIL FROM first") }
    }
}

fn hello_first() -> Reply {
    Reply::new(503, (5, 1), "say EHLO or HELO first")
}

fn chunks_first() -> Reply {
    Reply::new(503, (5, 1), "the message comes in chunks; go on with BDAT, or RSET")
}

fn no_recipients() -> Reply {
    Reply::new(554, (5, 1), "no valid recipients")
}
