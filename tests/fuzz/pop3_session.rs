//! A whole POP3 session: whatever a client sends and however it is cut, each line gets its reply.

use crate::{cuts, fuzz};
use bytes::BytesMut;
use mail_proto::{
    line::LineDecoder,
    pop3::{OpenFailure, Proof, Reply, Session, SessionConfig, SizeStyle, Step},
    sasl::{ChannelBindings, Mechanism, ScramVerifier},
};

/// The longest line in octets.
const LINE_OCTETS: usize = 100;
/// The only password that opens the maildrop.
const PASSWORD: &str = "p";

/// A session with one maildrop of two messages.
struct Server {
    session: Session<u64>,
    lines: LineDecoder,
    input: BytesMut,
    replies: Vec<Reply>,
    /// How many messages QUIT has deleted.
    deleted: Option<usize>,
    closed: bool,
}

impl Server {
    fn new() -> Self {
        let session = Session::new(SessionConfig {
            size_style: SizeStyle::Message,
            bad_command_limit: u32::MAX,
            retention: None,
            login_delay: None,
            domains: vec!["a.test".parse().unwrap()],
            has_tls: true,
            require_tls: false,
            mechanisms: Mechanism::ALL.into_iter().collect(),
            plain_text_in_clear: true,
        });
        let (lines, input) = (LineDecoder::new(LINE_OCTETS), BytesMut::new());
        Self { session, lines, input, replies: Vec::new(), deleted: None, closed: false }
    }

    fn receive(&mut self, piece: &[u8]) {
        self.input.extend_from_slice(piece);
        while !self.closed
            && let Some(line) = self.lines.decode(&mut self.input)
        {
            let step = self.session.line(line.as_deref().map_err(|error| *error));
            self.perform(step);
        }
        assert!(self.closed || self.input.len() < LINE_OCTETS, "the buffer stays bounded");
    }

    fn perform(&mut self, step: Step<u64>) {
        let reply = match step {
            Step::Reply(reply) => reply,
            Step::Close(reply) => {
                self.closed = true;
                reply
            }
            // What follows was sent in clear, but is taken here: how it is cut must make no difference.
            Step::StartTls(reply) => {
                self.session.encrypted(ChannelBindings { exporter: Some(vec![1; 32]), end_point: None });
                reply
            }
            Step::FindVerifier(user) => {
                let step = self.session.verifier_found(Ok((None, ScramVerifier::of_nobody(b"secret", &user))), "nonce");
                return self.perform(step);
            }
            Step::OpenMaildrop { proof: Proof::Scram, .. } => panic!("nobody can prove a password"),
            Step::OpenMaildrop { proof: Proof::Password(password), .. } => {
                let fits = password.expose() == PASSWORD;
                let opened = fits.then(|| [(1, 10), (2, 20)].into_iter().collect());
                let step = self.session.opened(opened.ok_or(OpenFailure::Authentication));
                return self.perform(step);
            }
            Step::LoginFailed { reply, is_last, .. } => {
                self.closed = is_last;
                reply
            }
            Step::SendList(reply, mut lines) => {
                let mut output = Vec::new();
                while self.session.list(&mut lines, &mut output) {}
                assert!(output.ends_with(b".\r\n"), "{output:?}");
                reply
            }
            Step::SendMessage(message) => message.reply,
            Step::Update { delete } => {
                self.deleted = Some(delete.len());
                let step = self.session.updated(Ok(()));
                return self.perform(step);
            }
        };
        self.replies.push(reply);
    }
}

#[test]
fn pop3_session() {
    let vocabulary: &[&[u8]] = &[
        b"USER u\r\n",
        b"PASS p\r\n",
        b"PASS x\r\n",
        b"AUTH PLAIN AHUAcA==\r\n",
        b"AUTH PLAIN AHUAeA==\r\n",
        b"AUTH login\r\n",
        b"AUTH XOAUTH2 dXNlcj11AWF1dGg9QmVhcmVyIHQBAQ==\r\n",
        b"AUTH SCRAM-SHA-256 biwsbj11LHI9YQ==\r\n",
        b"AUTH\r\n",
        b"*\r\n",
        b"dQ==\r\n",
        b"cA==\r\n",
        b"STLS\r\n",
        b"CAPA\r\n",
        b"UTF8\r\n",
        b"LANG en\r\n",
        b"APOP a b\r\n",
        b"STAT\r\n",
        b"LIST 1\r\n",
        b"LIST\r\n",
        b"UIDL\r\n",
        b"RETR 2\r\n",
        b"TOP 1 0\r\n",
        b"DELE 1\r\n",
        b"RSET\r\n",
        b"UIDL\r\n",
        b"NOOP\n",
        b"QUIT\r\n",
        b"POST / HTTP/1.1\r\n",
        b"\r\n",
        b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        b"\xff",
    ];
    fuzz("pop3_session", vocabulary, |input| {
        // Ends the last line and an exchange. QUIT is then a command, whatever came before.
        let sent = [input, b"\r\n*\r\nQUIT\r\n"].concat();
        let mut expected = None;
        for pieces in cuts(&sent) {
            let mut server = Server::new();
            pieces.into_iter().for_each(|piece| server.receive(piece));
            assert!(server.closed, "{:?}", server.replies);
            let line_feeds = sent.iter().filter(|octet| **octet == b'\n').count();
            assert!(server.replies.len() <= line_feeds, "{:?}", server.replies);
            assert!(server.deleted.is_none_or(|deleted| deleted <= 1), "nothing but what DELE names");
            let outcome = (server.replies, server.deleted);
            assert_eq!(outcome, *expected.get_or_insert_with(|| outcome.clone()));
        }
    });
}
