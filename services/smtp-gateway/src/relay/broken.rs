//! Why a connection to an exchange is of no more use.

use super::{route::Exchange, slots::Interruption, verdict::Verdict};
use internal_api::{ApiError, ProblemKind};
use mail_proto::smtp::{Reply, client::LoginError};
use std::{io, sync::Arc};

/// Why a transaction, or the way to one, did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The exchange will not talk to us.
    #[error("{}", .0.on_one_line())]
    Refused(Reply),
    /// The exchange has answered DATA with something else than "go on" or a refusal.
    #[error("DATA was answered with {}", .0.on_one_line())]
    Unexpected(Reply),
    /// The connection failed, hung, or carried what is not SMTP.
    #[error("{0}")]
    Connection(#[from] io::Error),
    /// Each reply has come in time, and all together have not.
    #[error("the transaction took too long")]
    TooSlow,
    /// TLS was agreed on with the exchange, and has failed.
    #[error("{0}")]
    Tls(String),
    /// The certificate of the exchange is not one of its name, or nobody who is trusted has issued it.
    #[error("{0}")]
    Certificate(String),
    /// TLS is wanted, and the exchange does not offer it, or has refused it by this reply.
    #[error("{}", .0.as_ref().map_or("it does not offer STARTTLS".to_owned(), |said| format!("it refuses STARTTLS: {said}")))]
    InTheClear(Option<String>),
    /// The sender requires TLS, and this is why there is none that is verified (RFC 8689 §4.2.1).
    #[error("the sender requires TLS, but {0}")]
    Insecure(Box<Broken>),
    /// The sender requires TLS, and anybody can have forged the name of the exchange (RFC 8689 §4.2.1).
    #[error("the sender requires TLS, but its name was looked up over DNS, where anybody can forge it")]
    Unproven,
    /// The sender requires TLS for the whole way, and the exchange does not announce REQUIRETLS (RFC 8689 §4.2.1).
    #[error("the sender requires TLS for the whole way, and it does not support REQUIRETLS")]
    PromisesNothing,
    /// The exchange lacks an extension that a message needs; the reply says which.
    #[error("{}", .0.on_one_line())]
    Unable(Reply),
    /// The exchange does not know us.
    #[error("{0}")]
    Login(#[from] LoginError),
    /// The password cannot be had.
    #[error("{0}")]
    Password(io::Error),
    /// Our own store failed us.
    #[error("{0}")]
    Store(#[from] ApiError),
    /// The exchange is this very server: its address is our own.
    #[error("the exchange is this server")]
    Ourselves,
    /// The exchange calls itself as this server does.
    #[error("the exchange calls itself {0}, as this server does")]
    OurName(String),
    /// This server gave the transaction up.
    #[error("{0}")]
    Interrupted(#[from] Interruption),
}

impl Broken {
    /// Whether to say QUIT before closing (RFC 5321 §4.1.4).
    pub(super) fn leaves_an_open_dialogue(&self) -> bool {
        matches!(
            self,
            Self::Refused(_)
                | Self::Unexpected(_)
                | Self::OurName(_)
                | Self::InTheClear(_)
                | Self::PromisesNothing
                | Self::Unable(_)
                | Self::Login(_)
        )
    }

    /// Whether the exchange is well, but not safe enough for a message, or not able to take it.
    pub(super) fn is_about_fitness(&self) -> bool {
        matches!(self, Self::Insecure(_) | Self::Unproven | Self::PromisesNothing | Self::Unable(_))
    }

    /// The same for a message whose sender requires TLS: an exchange that cannot prove who it is will not do.
    pub(super) fn where_tls_is_required(self) -> Self {
        match self {
            Self::Certificate(_) | Self::InTheClear(None) => Self::Insecure(Box::new(self)),
            other => other,
        }
    }

    /// Whether the exchange has led back to this server.
    pub(super) fn is_a_loop(&self) -> bool {
        matches!(self, Self::Ourselves | Self::OurName(_))
    }

    /// Whether it says nothing about other messages, or about the exchange.
    pub(super) fn is_about_one_message(&self) -> bool {
        matches!(self, Self::Store(error) if error.kind() == Some(ProblemKind::MessageDamaged))
    }

    /// The verdict on messages that are not tried because of this: what was said was not about them.
    pub(super) fn verdict_on_the_untried(&self, exchange: &Exchange) -> Verdict {
        match self {
            Self::Interrupted(Interruption::Shutdown) => Verdict::Released,
            Self::Store(_) => Verdict::Ours(self.reply(exchange)),
            // It was this server that broke off.
            Self::TooSlow => {
                let text = format!("not tried, because {} took too long with others", exchange.name);
                Verdict::Ours(Reply::new(451, (4, 2), text))
            }
            _ => {
                let said = self.reply(exchange).on_one_line();
                let text = format!("not tried, because {} broke off others: {said}", exchange.name);
                Verdict::Ours(Reply::new(451, (4, 2), text))
            }
        }
    }

    /// The verdict on a recipient about whom nothing else was decided.
    pub(super) fn verdict(&self, exchange: &Arc<Exchange>) -> Verdict {
        match self {
            Self::Refused(reply) => Verdict::Said(reply.clone(), Arc::clone(exchange)),
            Self::Interrupted(Interruption::Shutdown) => Verdict::Released,
            _ => Verdict::Ours(self.reply(exchange)),
        }
    }

    fn reply(&self, Exchange { name, address, .. }: &Exchange) -> Reply {
        match self {
            Self::Refused(reply) | Self::Unable(reply) => reply.clone(),
            Self::Unexpected(_) => Reply::new(451, (5, 0), self.to_string()),
            Self::Connection(error) => Reply::new(451, (4, 1), format!("{name} ({address}): {}", describe(error))),
            // RFC 3463 §3.5: the connection was there, and the transaction could not be completed.
            Self::TooSlow => Reply::new(451, (4, 2), format!("{name} ({address}): {self}")),
            // RFC 4954 §6. Whatever the exchange says: the configuration may be put right.
            Self::Login(_) => Reply::new(451, (7, 8), format!("{name} ({address}): {self}")),
            Self::Password(error) => Reply::new(451, (3, 5), format!("no password for {name}: {error}")),
            // RFC 3463 §3.8: a cryptographic failure.
            Self::Tls(_) | Self::Certificate(_) | Self::InTheClear(_) => {
                Reply::new(451, (7, 5), format!("{name} ({address}): {self}"))
            }
            Self::Insecure(_) | Self::Unproven => Reply::new(550, (7, 10), format!("{name} ({address}): {self}")),
            Self::PromisesNothing => Reply::new(550, (7, 30), format!("{name} ({address}): {self}")),
            Self::Store(error) if error.kind() == Some(ProblemKind::MessageDamaged) => {
                Reply::new(554, (3, 0), "the message was damaged while it was queued")
            }
            Self::Store(_) => Reply::new(451, (3, 0), "the mailbox store is unavailable"),
            Self::Ourselves => Reply::new(554, (4, 6), format!("mail loops back: {name} ({address}) is this server")),
            Self::OurName(_) => {
                Reply::new(451, (4, 6), format!("{name} ({address}) calls itself by the name of this server"))
            }
            Self::Interrupted(reason) => Reply::new(451, (4, 1), format!("{name} ({address}): {reason}")),
        }
    }
}

fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut => "no answer in time".to_owned(),
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        _ => error.to_string(),
    }
}

/// A transaction that broke.
#[derive(Debug)]
pub(super) struct BrokenTransaction {
    /// Why.
    pub(super) broken: Broken,
    /// For each recipient, in their order, what decided: the exchange before it broke, or the break.
    pub(super) verdicts: Vec<Verdict>,
    /// Whether the connection had carried other messages before, and broke before this one was sent or refused.
    pub(super) is_old_and_undecided: bool,
}

impl BrokenTransaction {
    /// Whether nothing is known about the message: the exchange has ended a connection that was in use for long
    /// enough.
    pub(super) fn is_about_an_old_connection(&self) -> bool {
        match &self.broken {
            Broken::Store(_) | Broken::Interrupted(_) | Broken::TooSlow => false,
            // It may hang on each, and takes its time.
            Broken::Connection(error) if error.kind() == io::ErrorKind::TimedOut => false,
            _ => self.is_old_and_undecided,
        }
    }
}

/// Whether the refusal of a sender is about the connection and not about the message, its sender (RFC 3463 §3.2),
/// its mailbox (§3.3), its size (§3.4) or its form (§3.7).
pub(super) fn is_about_the_session(refusal: &Reply) -> bool {
    refusal.code() != 552 && !matches!(refusal.status(), Some((1 | 2 | 6, _) | (3, 4)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use internal_api::Problem;
    use mail_net::{Dial, Hop, TcpDial};

    fn store(kind: ProblemKind) -> Broken {
        Broken::Store(Problem::from(kind).into())
    }

    #[test]
    fn nothing_fails_for_good_by_what_was_said_of_another() {
        let exchange =
            Exchange { preference: 0, name: "mx.test".to_owned(), address: "127.0.0.1:25".to_owned(), is_proven: true };
        let table = [
            (
                Broken::Refused(Reply::new(552, (3, 4), "too big")),
                "451 4.4.2 not tried, because mx.test broke off others: 552 5.3.4 too big",
            ),
            (
                Broken::Connection(io::ErrorKind::TimedOut.into()),
                "451 4.4.2 not tried, because mx.test broke off others: 451 4.4.1 mx.test (127.0.0.1:25): no answer in time",
            ),
            (Broken::TooSlow, "451 4.4.2 not tried, because mx.test took too long with others"),
            (store(ProblemKind::Overloaded), "451 4.3.0 the mailbox store is unavailable"),
        ];
        for (broken, expected) in table {
            let Verdict::Ours(reply) = broken.verdict_on_the_untried(&exchange) else { panic!("{broken}") };
            assert_eq!(reply.on_one_line(), expected);
        }
    }

    #[test]
    fn only_what_the_exchange_has_ended_at_once_goes_over_a_new_connection() {
        let is_new = |broken, is_old_and_undecided| {
            BrokenTransaction { broken, verdicts: Vec::new(), is_old_and_undecided }.is_about_an_old_connection()
        };
        let closed = || Broken::Connection(io::ErrorKind::ConnectionReset.into());
        assert!(is_new(closed(), true) && !is_new(closed(), false));
        assert!(is_new(Broken::Refused(Reply::new(421, (7, 0), "enough")), true));
        assert!(!is_new(Broken::Connection(io::ErrorKind::TimedOut.into()), true));
        assert!(!is_new(store(ProblemKind::MessageDamaged), true));
    }

    #[test]
    fn a_refused_sender_may_be_about_the_session() {
        for (code, status, is_about_it) in
            [(503, (5, 1), true), (421, (3, 2), true), (452, (3, 1), true), (550, (1, 8), false), (552, (3, 4), false)]
        {
            assert_eq!(is_about_the_session(&Reply::new(code, status, "")), is_about_it, "{code} {status:?}");
        }
        assert!(is_about_the_session(&Reply::plain(503, "")) && !is_about_the_session(&Reply::plain(552, "")));
    }

    #[tokio::test]
    async fn an_unknown_host_is_explained() {
        let exchange = Exchange {
            preference: 0,
            name: "mx.invalid".to_owned(),
            address: "mx.invalid:25".to_owned(),
            is_proven: true,
        };
        let failed = TcpDial::default().dial(Hop::SmtpToPeer, &exchange.address.parse().unwrap()).await.err().unwrap();
        let said = Broken::from(failed).reply(&exchange).on_one_line();
        assert!(said.starts_with("451 4.4.1 mx.invalid (mx.invalid:25): no such host ("), "{said}");
    }
}
