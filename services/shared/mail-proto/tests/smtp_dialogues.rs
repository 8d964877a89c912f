//! Every SMTP dialogue in memory: each turn whole, and octet by octet.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use bytes::BytesMut;
use dialogue::Peer;
use mail_proto::{
    Domain, ForwardPath, Mailbox, Protocol, ReversePath,
    chunk::ChunkDecoder,
    dot::DotDecoder,
    line::LineDecoder,
    sasl::{self, Credentials, Mechanism, ScramVerifier},
    smtp::{
        Framing, Origin, Received, Reply, Session, SessionConfig, Step, Tolerance,
        session::{bare_line_ending, too_large},
    },
};

const LOCAL_DOMAIN: &str = "mail.sustech.edu.cn";
const SIZE_LIMIT_OCTETS: u64 = 70_000;
const LINE_OCTETS: usize = 2048;

mod recorder;

use recorder::{Recorder, Verdicts};

#[test]
fn every_dialogue_in_memory() {
    let mut verdicts = Verdicts::of("smtp", Protocol::Smtp);
    for dialogue in dialogue::load_directory("../../../tests/dialogues/smtp", &["profile", "tolerance"]).unwrap() {
        let tolerance = match dialogue.setting("tolerance") {
            None => Tolerance::default(),
            Some("all") => Tolerance::ALL,
            // Only a connection knows what comes early.
            Some(_) => continue,
        };
        for chunk_octets in [usize::MAX, 1] {
            let tutorial = dialogue.setting("profile") != Some("rfc");
            let mut server = Recorder::new(Server::new(tutorial, tolerance));
            dialogue.play(&mut server, chunk_octets).unwrap_or_else(|mismatch| panic!("{mismatch}"));
            let events = server.events();
            for again in recorder::written(&dialogue, &events, &["profile", "tolerance"]) {
                let mut server = Server::new(tutorial, tolerance);
                again.play(&mut server, chunk_octets).unwrap_or_else(|mismatch| panic!("{mismatch}"));
            }
            verdicts.judge(&dialogue, chunk_octets, events);
        }
    }
    verdicts.are_those_of_the_list();
}

/// A session with a policy and without a socket or a store.
struct Server {
    session: Session,
    lines: LineDecoder,
    input: BytesMut,
    /// What is read instead of lines.
    reading: Option<Reading>,
    message: Message,
    tutorial: bool,
    tolerance: Tolerance,
    closed: bool,
}

/// Octets that are no commands.
enum Reading {
    Message(Framing),
    /// They are dropped, and this is replied.
    Chunk(ChunkDecoder, Reply),
}

/// A message so far.
#[derive(Default)]
struct Message {
    dots: DotDecoder,
    chunks: ChunkDecoder,
    octets: Vec<u8>,
}

impl Message {
    fn new(tolerance: Tolerance) -> Self {
        let dots = if tolerance.bare_lf_in_data { DotDecoder::completing_lf() } else { DotDecoder::default() };
        Self { dots, ..Self::default() }
    }
}

impl Server {
    fn new(tutorial: bool, tolerance: Tolerance) -> Self {
        let session = Session::new(SessionConfig {
            server_name: "exmail.qq.com".parse().unwrap(),
            greeting: "exmail.qq.com".to_owned(),
            size_limit_octets: SIZE_LIMIT_OCTETS,
            recipient_limit: 100,
            bad_command_limit: 10,
            has_tls: true,
            mechanisms: Mechanism::ALL.into_iter().collect(),
            plain_text_in_clear: true,
            discloses_addresses: true,
            tolerance,
        });
        let (mut lines, input) = (LineDecoder::new(LINE_OCTETS), BytesMut::new());
        if tolerance.lf_commands {
            lines.take_bare_lf(true);
        }
        let message = Message::new(tolerance);
        Self { session, lines, input, reading: None, message, tutorial, tolerance, closed: false }
    }

    /// The reply, unless there are octets to be read first.
    fn perform(&mut self, step: Step) -> Option<Reply> {
        Some(match step {
            Step::Reply(reply) | Step::StartTls(reply) => reply,
            Step::Close(reply) => {
                self.closed = true;
                reply
            }
            Step::Verify(Credentials { user, password }) => {
                let identity = mailbox_of(&user).filter(|user| password_of(user) == Some(password.expose()));
                let step = self.session.verified(Ok(identity));
                return self.perform(step);
            }
            Step::FindVerifier(user) => {
                let verifier = ScramVerifier::of_nobody(b"secret", &user);
                let step = self.session.verifier_found(Ok((mailbox_of(&user), verifier)), "3rfcNHYJY1ZVvWVs7j");
                return self.perform(step);
            }
            Step::LoggedIn(reply) => reply,
            Step::LoginFailed { reply, is_last, .. } => {
                self.closed = is_last;
                reply
            }
            Step::VerifyAddress(inquiry) => {
                inquired(&inquiry.whom, |address| Reply::new(250, (1, 5), format!("<{address}>")))
            }
            Step::ExpandList(inquiry) => inquired(&inquiry.whom, expanded),
            Step::CheckSender(path) => {
                let verdict = sender(self.session.identity(), &path);
                self.session.sender_checked(path, verdict)
            }
            Step::CheckRecipient(origin, path) => {
                let verdict = recipient(origin, path, self.tutorial);
                self.session.recipient_checked(verdict)
            }
            Step::Receive(go_ahead, framing) => {
                if let Framing::Octets(octets) = framing {
                    self.message.chunks.begin(octets);
                }
                self.reading = Some(Reading::Message(framing));
                return go_ahead;
            }
            Step::Skip(octets, reply) => {
                let mut chunk = ChunkDecoder::default();
                chunk.begin(octets);
                self.reading = Some(Reading::Chunk(chunk, reply));
                return None;
            }
        })
    }

    fn commit(&mut self) -> Reply {
        let Message { dots, chunks, octets } = std::mem::replace(&mut self.message, Message::new(self.tolerance));
        let reply = match dots.bare_line_ending().or(chunks.bare_line_ending()) {
            _ if octets.len() as u64 > SIZE_LIMIT_OCTETS => too_large(SIZE_LIMIT_OCTETS),
            Some(line) => bare_line_ending(line),
            None => Reply::new(250, (0, 0), "OK queued as 1"),
        };
        self.session.committed(&reply);
        reply
    }

    /// Appends the replies to what was received.
    fn reply_to_all(&mut self, output: &mut Vec<u8>) {
        while !self.closed {
            let reply = match self.reading.take() {
                None => {
                    let is_response = self.session.expects_response();
                    self.lines.set_limit(if is_response { sasl::LINE_OCTETS } else { LINE_OCTETS });
                    let Some(line) = self.lines.decode(&mut self.input) else { return };
                    let step = self.session.line(line.as_deref().map_err(|error| *error));
                    self.perform(step)
                }
                Some(Reading::Message(framing)) => {
                    let Message { dots, chunks, octets } = &mut self.message;
                    let is_whole = match framing {
                        Framing::Dots => dots.decode(&mut self.input, octets),
                        Framing::Octets(_) => chunks.decode(&mut self.input, octets),
                    };
                    if !is_whole {
                        self.reading = Some(Reading::Message(framing));
                        return;
                    }
                    Some(match self.session.received() {
                        Received::Chunk(reply) => reply,
                        Received::Message => self.commit(),
                    })
                }
                Some(Reading::Chunk(mut chunk, reply)) => {
                    if !chunk.decode(&mut self.input, &mut Vec::new()) {
                        self.reading = Some(Reading::Chunk(chunk, reply));
                        return;
                    }
                    Some(reply)
                }
            };
            if !self.session.is_receiving() && self.reading.is_none() {
                self.message = Message::new(self.tolerance);
            }
            if let Some(reply) = reply {
                reply.encode(output);
            }
        }
    }
}

fn is_local(domain: &Domain) -> bool {
    domain.as_str() == LOCAL_DOMAIN
}

fn is_own_name(domain: &Domain) -> bool {
    domain.as_str() == "exmail.qq.com" || domain.address().is_some_and(|address| address.is_loopback())
}

/// `away` is an alias, of an address elsewhere, and `all` is a list.
fn exists(mailbox: &Mailbox) -> bool {
    matches!(mailbox.local_part().as_str(), "usr1" | "usr2" | "postmaster" | "away" | "all")
}

/// The reply to VRFY or EXPN; `known` has it for an address that there is.
fn inquired(whom: &str, known: impl FnOnce(&Mailbox) -> Reply) -> Reply {
    let inside = whom.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).unwrap_or(whom);
    let Some(address) = mailbox_of(inside) else {
        return Reply::new(501, (1, 3), format!("{whom} is no address"));
    };
    let is_own = is_own_name(address.domain());
    let address = if is_own { address.in_domain(LOCAL_DOMAIN.parse().unwrap()) } else { address };
    match (is_local(address.domain()), exists(&address)) {
        (true, true) => known(&address),
        (true, false) => Reply::new(550, (1, 1), format!("<{address}>: no such mailbox here")),
        // No list is elsewhere.
        (false, _) if address.local_part().as_str() == "staff" => {
            Reply::new(550, (1, 2), format!("<{address}> is not local"))
        }
        (false, _) => Reply::new(252, (1, 5), format!("<{address}> is not local; mail for it is relayed")),
    }
}

fn expanded(address: &Mailbox) -> Reply {
    let line = |text| Reply::new(250, (1, 5), text);
    match address.local_part().as_str() {
        "away" => line("<usr@gmail.com>"),
        "all" => line("<usr1@mail.sustech.edu.cn>").line("<usr@gmail.com>"),
        _ => Reply::new(550, (1, 0), format!("<{address}> is a mailbox, and no list")),
    }
}

fn mailbox_of(user: &str) -> Option<Mailbox> {
    if user.contains('@') { user.parse().ok() } else { format!("{user}@{LOCAL_DOMAIN}").parse().ok() }
}

fn password_of(user: &Mailbox) -> Option<&'static str> {
    match (user.local_part().as_str(), is_local(user.domain())) {
        ("usr1", true) => Some("pass1"),
        ("usr2", true) => Some("pass2"),
        _ => None,
    }
}

fn sender(identity: Option<&Mailbox>, path: &ReversePath) -> Result<Origin, Reply> {
    match path.mailbox() {
        Some(sender) if identity == Some(sender) => Ok(Origin::Submission),
        Some(sender) if let Some(identity) = identity => {
            let text = format!("<{sender}>: you are logged in as {identity}, and may send only as yourself");
            Err(Reply::new(553, (7, 1), text))
        }
        Some(sender) if is_local(sender.domain()) && exists(sender) => Ok(Origin::Submission),
        Some(sender) if is_local(sender.domain()) => {
            Err(Reply::new(550, (1, 0), format!("<{sender}>: no such sender here")))
        }
        _ => Ok(Origin::Delivery),
    }
}

fn recipient(origin: Origin, path: ForwardPath, tutorial: bool) -> Result<Mailbox, Reply> {
    let mailbox = match path {
        ForwardPath::Mailbox(mailbox) if is_own_name(mailbox.domain()) => {
            mailbox.in_domain(LOCAL_DOMAIN.parse().unwrap())
        }
        ForwardPath::Mailbox(mailbox) => mailbox,
        ForwardPath::Postmaster => Mailbox::postmaster(LOCAL_DOMAIN.parse().unwrap()),
    };
    match (is_local(mailbox.domain()), origin) {
        (false, Origin::Submission) => Ok(mailbox),
        (false, Origin::Delivery) => Err(Reply::new(554, (7, 1), format!("<{mailbox}>: relay access denied"))),
        (true, Origin::Submission) if tutorial => Ok(mailbox),
        (true, _) if exists(&mailbox) => Ok(mailbox),
        (true, _) => Err(Reply::new(550, (1, 1), format!("<{mailbox}>: no such mailbox here"))),
    }
}

impl Peer for Server {
    fn connect(&mut self) -> Vec<u8> {
        self.session.greeting().to_string().into_bytes()
    }

    fn receive(&mut self, input: &[u8]) -> Vec<u8> {
        self.input.extend_from_slice(input);
        let mut output = Vec::new();
        self.reply_to_all(&mut output);
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
