//! A whole SMTP session: whatever a client sends and however it is cut, each line gets its reply.

use crate::{cuts, fuzz};
use bytes::BytesMut;
use mail_proto::{
    ForwardPath, Mailbox,
    dot::DotDecoder,
    line::LineDecoder,
    smtp::{Origin, Reply, Session, SessionConfig, Step},
};

/// The longest line in octets.
const LINE_OCTETS: usize = 100;
const RECIPIENTS: usize = 3;

/// A session that lets everybody send to everybody.
struct Server {
    session: Session,
    lines: LineDecoder,
    input: BytesMut,
    body: Option<(DotDecoder, Vec<u8>)>,
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
        });
        let (lines, input) = (LineDecoder::new(LINE_OCTETS), BytesMut::new());
        Self { session, lines, input, body: None, replies: Vec::new(), closed: false }
    }

    fn receive(&mut self, piece: &[u8]) {
        self.input.extend_from_slice(piece);
        while !self.closed
            && let Some(reply) = self.next()
        {
            self.replies.push(reply);
        }
        assert!(self.closed || self.input.len() < LINE_OCTETS, "the buffer stays bounded");
    }

    fn next(&mut self) -> Option<Reply> {
        if let Some((dots, message)) = &mut self.body {
            if !dots.decode(&mut self.input, message) {
                return None;
            }
            self.body = None;
            return Some(Reply::new(250, (0, 0), "OK"));
        }
        let line = self.lines.decode(&mut self.input)?;
        Some(match self.session.line(line.as_deref().map_err(|error| *error)) {
            Step::Reply(reply) => reply,
            Step::Close(reply) => {
                self.closed = true;
                reply
            }
            Step::CheckSender(path) => self.session.sender_checked(path, Ok(Origin::Submission)),
            Step::CheckRecipient(_, path) => self.session.recipient_checked(Ok(match path {
                ForwardPath::Postmaster => Mailbox::postmaster("a.test".parse().unwrap()),
                ForwardPath::Mailbox(mailbox) => mailbox,
            })),
            Step::ReceiveBody(go_ahead, envelope) => {
                assert!((1..=RECIPIENTS).contains(&envelope.recipients.len()), "{envelope:?}");
                self.body = Some(Default::default());
                go_ahead
            }
        })
    }
}

#[test]
fn smtp_session() {
    let vocabulary: &[&[u8]] = &[
        b"EHLO a\r\n",
        b"MAIL FROM:<a@b>\r\n",
        b"MAIL FROM:<> SIZE=2000\r\n",
        b"RCPT TO:<c@d>\r\n",
        b"RCPT TO:<postmaster>\r\n",
        b"DATA\r\n",
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
            assert!(server.closed && server.body.is_none(), "{codes:?}");
            assert!(codes.last() == Some(&421) || codes.last() == Some(&221), "{codes:?}");
            let line_feeds = sent.iter().filter(|octet| **octet == b'\n').count();
            assert!(codes.len() <= line_feeds, "{codes:?}");
            assert_eq!(server.replies, *expected.get_or_insert_with(|| server.replies.clone()));
        }
    });
}
