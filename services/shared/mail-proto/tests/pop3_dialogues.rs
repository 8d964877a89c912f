//! Every POP3 dialogue in memory: each turn whole, and octet by octet.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use bytes::BytesMut;
use dialogue::Peer;
use mail_proto::{
    Protocol,
    line::LineDecoder,
    pop3::{
        Listing, OpenFailure, Proof, ReadFailure, SendMessage, Session, SessionConfig, SizeStyle, Step, Transfer,
        UpdateFailure,
    },
    sasl::{self, ChannelBindings, LoginsUnavailable, Mechanism, ScramVerifier},
};
use std::fmt;

#[path = "../../../../tests/dialogues/pop3/fixture.rs"]
mod fixture;
mod recorder;

use fixture::{Account, Login, Read, Update};
use recorder::{Recorder, Verdicts};

#[test]
fn every_dialogue_in_memory() {
    let mut verdicts = Verdicts::of("pop3", Protocol::Pop3);
    let dialogues = dialogue::load_directory("../../../tests/dialogues/pop3", fixture::SETTINGS).unwrap();
    for dialogue in dialogues {
        for chunk_octets in [usize::MAX, 1] {
            let require_tls = dialogue.setting("require_tls") == Some("true");
            let size_style = match dialogue.setting("profile") {
                Some("tutorial") => SizeStyle::WithFinalDot,
                None | Some("rfc") => SizeStyle::Message,
                Some(other) => panic!("{}: no profile {other}", dialogue.file()),
            };
            let new_server = || {
                let mut server = Server::new(size_style, require_tls);
                server.begins_with_tls = dialogue.setting("port") == Some("pops");
                server
            };
            let mut server = Recorder::new(new_server());
            dialogue.play(&mut server, chunk_octets).unwrap_or_else(|mismatch| panic!("{mismatch}"));
            let events = server.events();
            for again in recorder::written(&dialogue, &events, fixture::SETTINGS) {
                again.play(&mut new_server(), chunk_octets).unwrap_or_else(|mismatch| panic!("{mismatch}"));
            }
            verdicts.judge(&dialogue, chunk_octets, events);
        }
    }
    verdicts.are_those_of_the_list();
}

/// A session over the fixture's maildrops, without a socket.
struct Server {
    session: Session<Uid>,
    decoder: LineDecoder,
    input: BytesMut,
    account: Option<&'static Account>,
    begins_with_tls: bool,
    /// From the reply to STLS until TLS is spoken: what comes is dropped.
    waits_for_tls: bool,
    closed: bool,
}

/// The unique id of a message, as a store writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Uid(u64);

impl From<u64> for Uid {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl From<Uid> for u64 {
    fn from(uid: Uid) -> Self {
        uid.0
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:013}", self.0)
    }
}

/// The longest command line in octets.
const LINE_OCTETS: usize = 512;

impl Server {
    fn new(size_style: SizeStyle, require_tls: bool) -> Self {
        let session = Session::new(SessionConfig {
            size_style,
            bad_command_limit: 10,
            retention: None,
            login_delay: None,
            domains: vec!["mail.sustech.edu.cn".parse().unwrap()],
            has_tls: true,
            require_tls,
            mechanisms: Mechanism::ALL.into_iter().collect(),
            plain_text_in_clear: true,
        });
        let mut decoder = LineDecoder::new(LINE_OCTETS);
        if size_style == SizeStyle::WithFinalDot {
            // Profile `tutorial`.
            decoder.take_bare_lf(true);
        }
        let input = BytesMut::new();
        Self { session, decoder, input, account: None, begins_with_tls: false, waits_for_tls: false, closed: false }
    }

    fn perform(&mut self, mut step: Step<Uid>, output: &mut Vec<u8>) {
        loop {
            step = match step {
                Step::Reply(reply) => return reply.encode(output),
                Step::Close(reply) => {
                    self.closed = true;
                    return reply.encode(output);
                }
                Step::StartTls(reply) => {
                    self.waits_for_tls = true;
                    return reply.encode(output);
                }
                Step::FindVerifier(user) => {
                    let account = fixture::account_of(&user);
                    let identity = account.map(|account| account.address.parse().unwrap());
                    let verifier = ScramVerifier::of_nobody(b"secret", &user);
                    let is_silent = account.is_some_and(|account| account.login == Login::Unavailable);
                    let found = if is_silent { Err(LoginsUnavailable) } else { Ok((identity, verifier)) };
                    self.session.verifier_found(found, "3rfcNHYJY1ZVvWVs7j")
                }
                Step::LoginFailed { reply, is_last, .. } => {
                    self.closed = is_last;
                    return reply.encode(output);
                }
                Step::OpenMaildrop { user, proof } => {
                    let account = fixture::account_of(&user.to_string());
                    let Proof::Password(password) = proof else { panic!("nobody can prove a password here") };
                    let outcome = open(account, password.expose());
                    self.account = account;
                    self.session.opened(outcome)
                }
                Step::SendList(reply, mut lines) => {
                    reply.encode(output);
                    while self.session.list(&mut lines, output) {}
                    return;
                }
                Step::SendMessage(message) => match self.send(message, output) {
                    Ok(()) => return,
                    Err(failure) => self.session.unreadable(failure),
                },
                Step::Update { .. } => self.session.updated(match self.account.unwrap().update {
                    Update::Commits => Ok(()),
                    Update::LockLost => Err(UpdateFailure::LockLost),
                    Update::Unavailable => Err(UpdateFailure::Unavailable),
                }),
            };
        }
    }

    fn send(&mut self, message: SendMessage<Uid>, output: &mut Vec<u8>) -> Result<(), ReadFailure> {
        let index = message.uid.0 as usize - 1;
        let octets = match self.account.unwrap().messages[index].read {
            Read::Octets(octets) => octets,
            Read::Gone => return Err(ReadFailure::Gone),
            Read::Damaged => return Err(ReadFailure::Damaged),
            Read::Unavailable => return Err(ReadFailure::Unavailable),
        };
        message.reply.encode(output);
        let mut transfer = Transfer::new(message.octets, message.extent);
        let sent = transfer.piece(octets, output).and_then(|()| transfer.finish(output));
        self.closed = sent.is_err();
        Ok(())
    }
}

fn open(account: Option<&Account>, password: &str) -> Result<Listing<Uid>, OpenFailure> {
    let account = account.filter(|account| account.password == password).ok_or(OpenFailure::Authentication)?;
    match account.login {
        Login::InUse => Err(OpenFailure::InUse),
        Login::TooSoon => Err(OpenFailure::TooSoon),
        Login::Unavailable => Err(OpenFailure::Unavailable),
        Login::Opens => {
            let uids = (1..).map(Uid);
            Ok(uids.zip(account.messages).map(|(uid, message)| (uid, message.octets)).collect())
        }
    }
}

impl Peer for Server {
    fn connect(&mut self) -> Vec<u8> {
        let mut output = Vec::new();
        if self.begins_with_tls {
            return output;
        }
        self.session.greeting().encode(&mut output);
        output
    }

    fn receive(&mut self, input: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        self.input.extend_from_slice(input);
        loop {
            if self.waits_for_tls {
                self.input.clear();
            }
            self.decoder.set_limit(if self.session.expects_response() { sasl::LINE_OCTETS } else { LINE_OCTETS });
            if self.closed {
                break;
            }
            let Some(line) = self.decoder.decode(&mut self.input) else { break };
            let step = self.session.line(line.as_deref().map_err(|error| *error));
            self.perform(step, &mut output);
        }
        output
    }

    fn start_tls(&mut self) -> Vec<u8> {
        let mut output = Vec::new();
        self.decoder = self.decoder.anew(LINE_OCTETS);
        self.waits_for_tls = false;
        self.session.encrypted(ChannelBindings { exporter: Some(vec![1; 32]), end_point: None });
        if self.begins_with_tls {
            self.session.greeting().encode(&mut output);
        }
        output
    }

    fn end_of_input(&mut self) -> Vec<u8> {
        self.closed = true;
        Vec::new()
    }

    fn is_closed(&self) -> bool {
        self.closed
    }
}
