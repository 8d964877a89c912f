//! A whole SMTP session: whatever a client sends and however it is cut, each line gets its reply.

use crate::{cuts, fuzz};
use bytes::BytesMut;
use mail_proto::{
    ForwardPath, Mailbox,
    chunk::ChunkDecoder,
    dot::DotDecoder,
    line::LineDecoder,
    sasl::{Mechanism, ScramVerifier},
    smtp::{Framing, Origin, Received, Reply, Session, SessionConfig, Step, Tolerance},
};

/// The longest line in octets.
const LINE_OCTETS: usize = 100;
const RECIPIENTS: usize = 3;

/// A session that lets everybody send to everybody.
struct Server {
    session: Session,
    lines: LineDecoder,
    input: BytesMut,
    /// What is read instead of lines; with the reply to it, if it is not a message.
    reading: Option<(Framing, Option<Reply>)>,
    dots: DotDecoder,
    chunk: ChunkDecoder,
    replies: Vec<Reply>,
    closed: bool,
}

impl Server {
    fn new() -> Self {
        let session = Session::new(SessionConfig {
            server_name: "a.test".parse().unwrap(),
            greeting: "a.test".to_owned(),
            size_limit_octets: 1000,
            recipient_limit: RECIPIENTS,
            bad_command_limit: u32::MAX,
            mechanisms: Mechanism::ALL.into_iter().collect(),
            plain_text_in_clear: true,
            discloses_addresses: true,
            tolerance: Tolerance::ALL,
            has_tls: true,
        });
        let (lines, input) = (LineDecoder::new(LINE_OCTETS), BytesMut::new());
        let (dots, chunk, replies) = (DotDecoder::default(), ChunkDecoder::default(), Vec::new());
        Self { session, lines, input, reading: None, dots, chunk, replies, closed: false }
    }

    fn receive(&mut self, piece: &[u8]) {
        self.input.extend_from_slice(piece);
        while !self.closed && self.next() {}
        assert!(self.closed || self.input.len() < LINE_OCTETS, "the buffer stays bounded");
    }

    /// Whether there was enough to go on with.
    fn next(&mut self) -> bool {
        match self.reading.take() {
            None => {
                let Some(line) = self.lines.decode(&mut self.input) else { return false };
                let step = self.session.line(line.as_deref().map_err(|error| *error));
                self.perform(step);
            }
            Some((framing, reply)) => {
                let is_whole = match framing {
                    Framing::Dots => self.dots.decode(&mut self.input, &mut Vec::new()),
                    Framing::Octets(_) => self.chunk.decode(&mut self.input, &mut Vec::new()),
                };
                if !is_whole {
                    self.reading = Some((framing, reply));
                    return false;
                }
                let reply = reply.unwrap_or_else(|| match self.session.received() {
                    Received::Chunk(reply) => reply,
                    Received::Message => Reply::new(250, (0, 0), "OK"),
                });
                self.replies.push(reply);
            }
        }
        true
    }

    fn perform(&mut self, step: Step) {
        let reply = match step {
            Step::Reply(reply) => reply,
            Step::Close(reply) => {
                self.closed = true;
                reply
            }
            Step::StartTls(reply) => {
                self.session.encrypted();
                reply
            }
            Step::Verify(_) => {
                let step = self.session.verified(Ok(None));
                return self.perform(step);
            }
            Step::FindVerifier(user) => {
                let step = self.session.verifier_found(Ok((None, ScramVerifier::of_nobody(b"secret", &user))), "nonce");
                return self.perform(step);
            }
            Step::LoggedIn(_) => panic!("nobody has logged in"),
            Step::LoginFailed { reply, is_last, .. } => {
                self.closed = is_last;
                reply
            }
            Step::VerifyAddress(inquiry) | Step::ExpandList(inquiry) => Reply::new(250, (1, 5), inquiry.whom),
            Step::CheckSender(path) => self.session.sender_checked(path, Ok(Origin::Submission)),
            Step::CheckRecipient(_, path) => self.session.recipient_checked(Ok(match path {
                ForwardPath::Postmaster => Mailbox::postmaster("a.test".parse().unwrap()),
                ForwardPath::Mailbox(mailbox) => mailbox,
            })),
            Step::Receive(go_ahead, framing) => {
                let envelope = self.session.envelope().unwrap();
                assert!((1..=RECIPIENTS).contains(&envelope.recipients.len()), "{envelope:?}");
                self.read(framing, None);
                self.replies.extend(go_ahead);
                return;
            }
            Step::Skip(octets, reply) => return self.read(Framing::Octets(octets), Some(reply)),
        };
        self.replies.push(reply);
    }

    fn read(&mut self, framing: Framing, reply: Option<Reply>) {
        match framing {
            Framing::Dots => self.dots = DotDecoder::default(),
            Framing::Octets(octets) => self.chunk.begin(octets),
        }
        self.reading = Some((framing, reply));
    }
}

#[test]
fn smtp_session() {
    let vocabulary: &[&[u8]] = &[
        b"EHLO a\r\n",
        b"AUTH PLAIN ",
        b"AUTH login\r\n",
        b"AUTH XOAUTH2 dXNlcj11AWF1dGg9QmVhcmVyIHQBAQ==\r\n",
        b"AUTH SCRAM-SHA-256 biwsbj11LHI9YQ==\r\n",
        b"*\r\n",
        b"dQ==\r\n",
        b"MAIL FROM:<a@b>\r\n",
        b"MAIL FROM:<> SIZE=2000\r\n",
        b"RCPT TO:<c@d>\r\n",
        b"RCPT TO:<postmaster>\r\n",
        b"DATA\r\n",
        b"BDAT 5\r\n",
        b"BDAT 2 LAST\r\n",
        b"STARTTLS\r\n",
        b"\r\n.\r\n",
        b".",
        b"RSET\r\n",
        b"NOOP\n",
        b"QUIT\r\n",
        b"POST / HTTP/1.1\r\n",
        b"\r\n",
        b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        b"\xff",
    ];
    fuzz("smtp_session", vocabulary, |input| {
        // Ends the last line, and a message if one is open. RSET and QUIT are then commands, whatever came before.
        let sent = [input, b"\r\n.\r\nRSET\r\nQUIT\r\n"].concat();
        let mut expected = None;
        for pieces in cuts(&sent) {
            let mut server = Server::new();
            pieces.into_iter().for_each(|piece| server.receive(piece));
            let codes: Vec<_> = server.replies.iter().map(Reply::code).collect();
            // A chunk of many octets takes all that follows.
            let is_in_chunk = matches!(server.reading, Some((Framing::Octets(_), _)));
            assert!(server.closed != is_in_chunk && server.reading.is_some() == is_in_chunk, "{codes:?}");
            assert!(is_in_chunk || codes.last() == Some(&421) || codes.last() == Some(&221), "{codes:?}");
            let line_feeds = sent.iter().filter(|octet| **octet == b'\n').count();
            assert!(codes.len() <= line_feeds, "{codes:?}");
            assert_eq!(server.replies, *expected.get_or_insert_with(|| server.replies.clone()));
        }
    });
}
