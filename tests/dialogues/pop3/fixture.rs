//! Who has which mail when a POP3 dialogue is played. Both runners include this file: mail-proto's in
//! memory, and pop3-gateway's over TCP. README.md beside it says the same for people.

/// What the header of a dialogue may set.
pub(crate) const SETTINGS: &[&str] = &["profile", "port", "require_tls", "pace"];

/// What happens at PASS with the right password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Login {
    /// The maildrop is opened.
    Opens,
    /// Another session holds it.
    InUse,
    /// The user has logged in a moment ago.
    TooSoon,
    /// The store does not answer.
    Unavailable,
}

/// What happens at QUIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Update {
    /// What is marked is deleted.
    Commits,
    /// The lock was lost meanwhile.
    LockLost,
    /// The store does not answer.
    Unavailable,
}

/// What happens when a message is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    /// These octets come.
    Octets(&'static [u8]),
    /// It was deleted behind the session's back.
    Gone,
    /// It cannot be read back.
    Damaged,
    /// The store does not answer.
    Unavailable,
}

/// A message of a maildrop. The n-th has the unique id `MessageId::from_number(n)`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message {
    /// The octets that the maildrop's listing says it has.
    pub(crate) octets: u64,
    /// What comes when it is read.
    pub(crate) read: Read,
}

/// An account.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Account {
    /// Its address.
    pub(crate) address: &'static str,
    /// Its password.
    pub(crate) password: &'static str,
    /// What happens at PASS.
    pub(crate) login: Login,
    /// What is in its maildrop.
    pub(crate) messages: &'static [Message],
    /// What happens at QUIT.
    pub(crate) update: Update,
}

const fn message(octets: &'static [u8]) -> Message {
    Message { octets: octets.len() as u64, read: Read::Octets(octets) }
}

const fn account(address: &'static str) -> Account {
    Account { address, password: "pass", login: Login::Opens, messages: &[], update: Update::Commits }
}

/// A message like the tutorial's first.
const TUTORIAL: &[u8] = b"Content-Type: text/plain; charset=\"utf-8\"\r\n\
    MIME-Version: 1.0\r\n\
    Content-Transfer-Encoding: base64\r\n\
    Subject: Test\r\n\
    From: usr1@mail.sustech.edu.cn\r\n\
    \r\n\
    VGhpcyBpcyBhIHRlc3QgZW1haWxpbmcgbXlzZWxmLg==\r\n";

const MESSAGES: &[Message] = &[
    message(TUTORIAL),
    message(b"Subject: dots\r\n\r\n.\r\n..\r\n.hidden\r\nlast\r\n"),
    message(b"Subject: cut\r\n\r\nno line end"),
    message(b".dot first\r\nno empty line\r\n"),
    message(b"\r\nbody at once\r\n\r\nafter a gap\r\n"),
    message(b""),
];

/// Messages that are odd, but none the worse for it.
const ODD: &[Message] = &[
    message(b"Subject: nul\r\n\r\na\0b\r\n\0\r\n"),
    message(b"Subject: caf\xe9\r\n\r\n\xff\xfe \xc3\xa9\r\n"),
    message(&LONG_LINE),
    message(b"Subject: headers only\r\nX-Empty:\r\n"),
    message(b"Subject: no body\r\n\r\n"),
    message(b"Subject: cr and lf\r\n\r\na\nb\rc\r\n\n.d\r\n"),
    message(b"."),
    message(b"Subject: cr last\r\n\r\nend\r"),
    message(b"\r\n"),
    message(b"Subject: looks like replies\r\n\r\n+OK\r\n-ERR\r\n.\r\n+OK\r\nQUIT\r\n"),
    message(&LONG_DOTS),
    message(b"Subject: folded\r\n\tonce\r\n \r\nX: y\r\n\r\nbody\r\n"),
];

/// The empty line, and 10,000 octets on the next.
const LONG_LINE: [u8; 10_004] = long(b'x');
const LONG_DOTS: [u8; 10_004] = long(b'.');

const fn long(octet: u8) -> [u8; 10_004] {
    let mut message = [octet; 10_004];
    [message[0], message[1], message[10_002], message[10_003]] = *b"\r\n\r\n";
    message
}

const TROUBLE: &[Message] = &[
    Message { octets: 100, read: Read::Octets(b"Subject: shorter than announced\r\n\r\nhalf\r\n") },
    Message { octets: 10, read: Read::Gone },
    Message { octets: 10, read: Read::Damaged },
    Message { octets: 10, read: Read::Unavailable },
    Message { octets: 10, read: Read::Octets(b"Subject: longer than announced\r\n") },
];

/// Everybody.
pub(crate) const ACCOUNTS: &[Account] = &[
    Account { password: "pass1", messages: MESSAGES, ..account("usr1@mail.sustech.edu.cn") },
    Account { password: " correct  horse ", ..account("spaces@mail.sustech.edu.cn") },
    Account { password: "   ", ..account("blank@mail.sustech.edu.cn") },
    Account { messages: ODD, ..account("odd@mail.sustech.edu.cn") },
    Account { messages: TROUBLE, ..account("trouble@mail.sustech.edu.cn") },
    Account { login: Login::InUse, ..account("busy@mail.sustech.edu.cn") },
    Account { login: Login::TooSoon, ..account("again@mail.sustech.edu.cn") },
    Account { login: Login::Unavailable, ..account("down@mail.sustech.edu.cn") },
    Account { messages: MESSAGES, update: Update::LockLost, ..account("lost@mail.sustech.edu.cn") },
    Account { messages: MESSAGES, update: Update::Unavailable, ..account("stuck@mail.sustech.edu.cn") },
];

/// The account of this address.
pub(crate) fn account_of(address: &str) -> Option<&'static Account> {
    ACCOUNTS.iter().find(|account| account.address == address)
}
