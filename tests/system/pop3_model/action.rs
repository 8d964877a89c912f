//! What may happen, at random.

use super::{CLIENTS, MAILDROPS};
use proptest::prelude::*;

/// What happens next.
#[derive(Debug, Clone)]
pub(super) enum Action {
    /// A client logs in, if it is not.
    LogIn { client: usize, maildrop: usize },
    /// All clients that are not logged in do it at once.
    Race { maildrop: usize },
    /// A client sends commands in one write: one that is logged in where there is one, if it is not to be a `stranger`.
    Say { client: usize, stranger: bool, commands: Vec<Command> },
    /// A connection breaks.
    Break { client: usize },
    /// A message arrives, also in the other maildrop.
    Arrive { maildrop: usize, in_both: bool, content: Vec<u8> },
    /// Nothing is heard of any session for so long that its lease ends.
    LeasesEnd,
}

/// A command of the TRANSACTION state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Stat,
    List(Option<u64>),
    Uidl(Option<u64>),
    Retr(u64),
    Top(u64, u64),
    Dele(u64),
    Rset,
    Noop,
    Quit,
}

impl Command {
    pub(super) fn line(&self) -> String {
        match self {
            Self::Stat => "STAT\r\n".to_owned(),
            Self::List(None) => "LIST\r\n".to_owned(),
            Self::List(Some(number)) => format!("LIST {number}\r\n"),
            Self::Uidl(None) => "UIDL\r\n".to_owned(),
            Self::Uidl(Some(number)) => format!("UIDL {number}\r\n"),
            Self::Retr(number) => format!("RETR {number}\r\n"),
            Self::Top(number, lines) => format!("TOP {number} {lines}\r\n"),
            Self::Dele(number) => format!("DELE {number}\r\n"),
            Self::Rset => "RSET\r\n".to_owned(),
            Self::Noop => "NOOP\r\n".to_owned(),
            Self::Quit => "QUIT\r\n".to_owned(),
        }
    }

    pub(super) fn is_answered_in_lines(&self) -> bool {
        matches!(self, Self::List(None) | Self::Uidl(None) | Self::Retr(_) | Self::Top(..))
    }
}

fn command() -> impl Strategy<Value = Command> {
    let number = prop_oneof![30 => 1..=4u64, 2 => 5..=9u64, 1 => Just(0), 1 => 10..=40u64, 1 => Just(u64::MAX)];
    let lines = prop_oneof![8 => 0..=4u64, 1 => Just(u64::MAX)];
    prop_oneof![
        2 => Just(Command::Stat),
        2 => Just(Command::List(None)),
        2 => number.clone().prop_map(|number| Command::List(Some(number))),
        3 => Just(Command::Uidl(None)),
        1 => number.clone().prop_map(|number| Command::Uidl(Some(number))),
        3 => number.clone().prop_map(Command::Retr),
        2 => (number.clone(), lines).prop_map(|(number, lines)| Command::Top(number, lines)),
        6 => number.prop_map(Command::Dele),
        2 => Just(Command::Rset),
        1 => Just(Command::Noop),
        3 => Just(Command::Quit),
    ]
}

/// CR and LF alone are refused by the store.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => Just(b"\r\n".to_vec()),
        3 => Just(b".".to_vec()),
        2 => Just(b"Subject: a\r\n".to_vec()),
        2 => Just(b"text\r\n".to_vec()),
        1 => Just(b"no line end".to_vec()),
        1 => Just(b"\0\xff\xc3\xa9".to_vec()),
        1 => Just(vec![b'.'; 5000]),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

/// Some messages, and then anything.
pub(super) fn case() -> impl Strategy<Value = Vec<Action>> {
    let messages = prop::collection::vec(content(), 0..5).prop_map(|messages| {
        let arrive = |content| Action::Arrive { maildrop: 0, in_both: false, content };
        messages.into_iter().map(arrive).collect::<Vec<_>>()
    });
    (messages, prop::collection::vec(action(), 1..40)).prop_map(|(messages, actions)| [messages, actions].concat())
}

fn action() -> impl Strategy<Value = Action> {
    let (client, maildrop) = (0..CLIENTS, 0..MAILDROPS.len());
    let commands = prop::collection::vec(command(), 1..5);
    prop_oneof![
        // Mostly the first maildrop, so that clients meet.
        6 => (client.clone(), prop_oneof![3 => Just(0), 1 => maildrop.clone()])
            .prop_map(|(client, maildrop)| Action::LogIn { client, maildrop }),
        1 => maildrop.clone().prop_map(|maildrop| Action::Race { maildrop }),
        12 => (client.clone(), prop::bool::weighted(0.1), commands)
            .prop_map(|(client, stranger, commands)| Action::Say { client, stranger, commands }),
        1 => client.prop_map(|client| Action::Break { client }),
        4 => (maildrop, any::<bool>(), content())
            .prop_map(|(maildrop, in_both, content)| Action::Arrive { maildrop, in_both, content }),
        1 => Just(Action::LeasesEnd),
    ]
}
