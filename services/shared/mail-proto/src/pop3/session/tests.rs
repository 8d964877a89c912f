use super::*;
use crate::sasl::Mechanism;
use base64::{Engine, engine::general_purpose::STANDARD};

const BARE_LF: &str = "-ERR lines end with CRLF, not with LF alone; use nc -C, curl --crlf or Python's policy=SMTP";

fn config() -> SessionConfig {
    SessionConfig {
        size_style: SizeStyle::Message,
        bad_command_limit: 3,
        retention: None,
        login_delay: None,
        domains: Vec::new(),
        has_tls: true,
        require_tls: false,
        mechanisms: Mechanism::ALL.into_iter().collect(),
        plain_text_in_clear: false,
    }
}

fn session() -> Session<u64> {
    Session::new(config())
}

fn logged_in() -> Session<u64> {
    let mut session = session();
    session.opened(Ok([(1, 120), (2, 200)].into_iter().collect()));
    session
}

fn encrypted(config: SessionConfig) -> Session<u64> {
    let mut session = Session::new(config);
    session.encrypted(ChannelBindings { exporter: Some(vec![1; 32]), end_point: None });
    session
}

/// The lines of a reply after the first one and before the dot.
fn lines(step: Step<u64>) -> Vec<String> {
    let Step::Reply(reply) = step else { panic!("{step:?}") };
    let mut output = Vec::new();
    reply.encode(&mut output);
    let text = String::from_utf8(output).unwrap();
    text.lines().skip(1).take_while(|line| *line != ".").map(str::to_owned).collect()
}

fn capability(session: &mut Session<u64>, tag: &str) -> Option<String> {
    lines(session.line(Ok(b"CAPA"))).into_iter().find(|line| line.split(' ').next() == Some(tag))
}

fn plain(message: &str) -> Vec<u8> {
    format!("AUTH PLAIN {}", STANDARD.encode(message)).into_bytes()
}

fn reply(step: Step<u64>) -> String {
    match step {
        Step::Reply(reply) | Step::LoginFailed { reply, is_last: false, .. } => reply.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn pass_asks_to_open_the_maildrop_of_the_user_named_before() {
    let mut session = session();
    assert_eq!(reply(session.line(Ok(b"USER usr1@mail.sustech.edu.cn"))), "+OK");
    let user = "usr1@mail.sustech.edu.cn".parse().unwrap();
    let proof = Proof::Password(" two words ".parse().unwrap());
    assert_eq!(session.line(Ok(b"PASS  two words ")), Step::OpenMaildrop { user, proof });
    assert_eq!(reply(session.opened(Err(OpenFailure::InUse))), "-ERR [IN-USE] another session holds this maildrop");
    assert_eq!(reply(session.line(Ok(b"PASS again"))), "-ERR USER comes before PASS");
    assert_eq!(reply(session.line(Ok(b"STAT"))), "-ERR log in first");
}

/// RFC 1939 §7: PASS comes immediately after a USER command that succeeded.
#[test]
fn between_user_and_pass_there_is_nothing_but_capa() {
    for command in ["STAT", "NOOP", "XYZZY", "PASS", "USER", "UTF8", "LANG en", "AUTH", "STLS x", "APOP a b"] {
        let mut session = session();
        assert_eq!(reply(session.line(Ok(b"USER a@b"))), "+OK");
        drop(reply(session.line(Ok(command.as_bytes()))));
        assert_eq!(reply(session.line(Ok(b"PASS x"))), "-ERR USER comes before PASS", "{command}");
    }
    for error in [LineError::TooLong, LineError::BareLf] {
        let mut session = session();
        assert_eq!(reply(session.line(Ok(b"USER a@b"))), "+OK");
        drop(reply(session.line(Err(error))));
        assert_eq!(reply(session.line(Ok(b"PASS x"))), "-ERR USER comes before PASS", "{error}");
    }
    let mut session = session();
    assert_eq!(reply(session.line(Ok(b"USER a@b"))), "+OK");
    assert_eq!(reply(session.line(Ok(b"CAPA"))), "+OK capability list follows");
    assert!(matches!(session.line(Ok(b"PASS x")), Step::OpenMaildrop { .. }));
}

#[test]
fn no_question_is_asked_for_a_name_that_is_no_address() {
    let mut session = session();
    assert_eq!(reply(session.line(Ok(b"USER nobody"))), "+OK");
    assert_eq!(reply(session.line(Ok(b"PASS x"))), "-ERR [AUTH] wrong user or password");
}

#[test]
fn only_quit_in_transaction_state_deletes() {
    let mut session = logged_in();
    assert_eq!(reply(session.line(Ok(b"DELE 2"))), "+OK message 2 deleted");
    assert_eq!(session.line(Ok(b"QUIT")), Step::Update { delete: vec![2] });
    assert_eq!(session.updated(Ok(())), Step::Close(Reply::ok("")));
    assert_eq!(session.line(Ok(b"STAT")), Step::Close(Reply::error("session is over")));

    let mut session = self::session();
    assert_eq!(session.line(Ok(b"QUIT")), Step::Close(Reply::ok("")));
}

#[test]
fn a_failed_update_is_told_before_closing() {
    for failure in [UpdateFailure::LockLost, UpdateFailure::Unavailable] {
        let mut session = logged_in();
        session.line(Ok(b"QUIT"));
        let Step::Close(reply) = session.updated(Err(failure)) else { panic!("stays open") };
        assert!(reply.to_string().starts_with("-ERR [SYS/TEMP] "), "{reply}");
    }
}

#[test]
fn too_many_bad_commands_close_and_delete_nothing() {
    let mut session = logged_in();
    reply(session.line(Ok(b"DELE 1")));
    assert_eq!(reply(session.line(Ok(b"XYZZY"))), "-ERR unknown command");
    assert_eq!(reply(session.line(Err(LineError::BareLf))), BARE_LF);
    // An answer about a message is no bad command.
    assert_eq!(reply(session.line(Ok(b"RETR 9"))), "-ERR no such message");
    assert_eq!(session.line(Ok(b"USER x@y")), Step::Close(Reply::error("too many bad commands")));
    assert_eq!(session.line(Ok(b"QUIT")), Step::Close(Reply::error("session is over")));
}

#[test]
fn messages_are_sent_with_the_octets_they_must_have() {
    let mut session = Session::new(SessionConfig { size_style: SizeStyle::WithFinalDot, ..config() });
    session.opened(Ok([(1, 120)].into_iter().collect()));
    let expected = |extent, reply| {
        let is_in_sequence = extent == Extent::Whole;
        Step::SendMessage(SendMessage { uid: 1, number: 1, is_in_sequence, octets: 120, extent, reply })
    };
    assert_eq!(session.line(Ok(b"RETR 1")), expected(Extent::Whole, Reply::ok("123 octets")));
    assert_eq!(session.line(Ok(b"TOP 1 4")), expected(Extent::Top(4), Reply::ok("top of message follows")));
    let temporary = "-ERR [SYS/TEMP] the mailbox store is not available, try again later";
    assert_eq!(reply(session.unreadable(ReadFailure::Unavailable)), temporary);
    assert_eq!(reply(session.unreadable(ReadFailure::Damaged)), "-ERR [SYS/PERM] the message is damaged");
    assert_eq!(reply(session.unreadable(ReadFailure::Gone)), "-ERR the message is gone");
}

#[test]
fn capa_tells_for_how_many_whole_days_a_message_is_kept() {
    let day = 24 * 60 * 60;
    let table = [
        (None, Some("EXPIRE NEVER")),
        (Some(7 * day), Some("EXPIRE 7")),
        (Some(2 * day - 1), Some("EXPIRE 1")),
        (Some(day), Some("EXPIRE 1")),
        (Some(day - 1), None),
        (Some(1), None),
    ];
    for (seconds, expected) in table {
        let mut session =
            Session::<u64>::new(SessionConfig { retention: seconds.map(Duration::from_secs), ..config() });
        let Step::Reply(reply) = session.line(Ok(b"CAPA")) else { panic!("no reply") };
        let mut output = Vec::new();
        reply.encode(&mut output);
        let text = String::from_utf8(output).unwrap();
        assert_eq!(text.lines().find(|line| line.starts_with("EXPIRE")), expected, "{text}");
    }
}

#[test]
fn a_user_name_without_a_domain_is_in_the_only_one() {
    let config = |domains: &[&str]| SessionConfig {
        domains: domains.iter().map(|domain| domain.parse().unwrap()).collect(),
        ..config()
    };
    let mut session = Session::<u64>::new(config(&["one.test"]));
    assert_eq!(reply(session.line(Ok(b"USER usr1"))), "+OK");
    let Step::OpenMaildrop { user, .. } = session.line(Ok(b"PASS x")) else { panic!("nothing is opened") };
    assert_eq!(user.to_string(), "usr1@one.test");

    let mut session = Session::<u64>::new(config(&["one.test", "two.test"]));
    assert_eq!(reply(session.line(Ok(b"USER usr1"))), "+OK");
    let hint = "-ERR [AUTH] log in with the whole address, such as user@one.test";
    assert_eq!(reply(session.line(Ok(b"PASS x"))), hint);
    assert_eq!(reply(session.line(Ok(b"USER usr1@two.test"))), "+OK");
    assert!(matches!(session.line(Ok(b"PASS x")), Step::OpenMaildrop { .. }));
}

#[test]
fn only_bad_commands_in_a_row_close() {
    let mut session = logged_in();
    for _ in 0..5 {
        assert_eq!(reply(session.line(Ok(b"XYZZY"))), "-ERR unknown command");
        assert_eq!(reply(session.line(Ok(b"XYZZY"))), "-ERR unknown command");
        assert_eq!(reply(session.line(Ok(b"NOOP"))), "+OK");
    }
    for command in [&b"RETR 1"[..], b"TOP 1 0"].repeat(3) {
        assert_eq!(reply(session.line(Ok(b"XYZZY"))), "-ERR unknown command");
        assert_eq!(reply(session.line(Ok(b"XYZZY"))), "-ERR unknown command");
        assert!(matches!(session.line(Ok(command)), Step::SendMessage(_)), "{command:?}");
    }
    // Before the login nothing but the login itself sets the count back: passwords could be guessed for ever.
    let mut session = self::session();
    assert_eq!(reply(session.line(Ok(b"XYZZY"))), "-ERR unknown command");
    assert_eq!(reply(session.line(Ok(b"USER a@b"))), "+OK");
    assert_eq!(reply(session.line(Ok(b"XYZZY"))), "-ERR unknown command");
    session.opened(Ok([(1, 120)].into_iter().collect()));
    assert_eq!(reply(session.line(Ok(b"XYZZY"))), "-ERR unknown command");
    assert_eq!(reply(session.line(Ok(b"XYZZY"))), "-ERR unknown command");
    assert_eq!(session.line(Ok(b"XYZZY")), Step::Close(Reply::error("too many bad commands")));
}

#[test]
fn another_protocol_ends_the_session() {
    let closed = || Step::Close(Reply::error("this is POP3, not HTTP"));
    assert_eq!(session().line(Ok(b"POST / HTTP/1.1")), closed());
    assert_eq!(session().line(Err(LineError::HttpRequest)), closed());
    let closed = Step::Close(Reply::error("this port begins in clear, not with TLS"));
    assert_eq!(session().line(Err(LineError::Tls)), closed);
}

#[test]
fn capabilities_follow_the_state() {
    let mut session = session();
    assert_eq!(capability(&mut session, "SASL").as_deref(), Some("SASL SCRAM-SHA-256"));
    assert_eq!(capability(&mut session, "STLS").as_deref(), Some("STLS"));
    assert_eq!(capability(&mut session, "USER").as_deref(), Some("USER"));
    assert!(matches!(session.line(Ok(b"STLS")), Step::StartTls(_)));
    let mut session = encrypted(config());
    let all = "SASL PLAIN LOGIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS XOAUTH2 OAUTHBEARER";
    assert_eq!(capability(&mut session, "SASL").as_deref(), Some(all));
    assert_eq!(capability(&mut session, "STLS"), None);
    session.opened(Ok([(1, 1)].into_iter().collect()));
    assert_eq!(capability(&mut session, "SASL").as_deref(), Some(all));
    let mut logged_in = logged_in();
    assert_eq!(capability(&mut logged_in, "STLS"), None);
    assert_eq!(capability(&mut logged_in, "USER").as_deref(), Some("USER"));
    // Nothing to log in with, no certificate.
    let mut poor = Session::new(SessionConfig { has_tls: false, mechanisms: Mechanisms::NONE, ..config() });
    assert_eq!((capability(&mut poor, "SASL"), capability(&mut poor, "STLS")), (None, None));
    assert_eq!(reply(poor.line(Ok(b"STLS"))), "-ERR this server has no certificate");
    assert_eq!(reply(poor.line(Ok(b"AUTH PLAIN"))), "-ERR no such mechanism; CAPA lists them");
}

#[test]
fn passwords_may_need_tls() {
    let config = SessionConfig { require_tls: true, plain_text_in_clear: true, bad_command_limit: 9, ..config() };
    let mut session = Session::new(config.clone());
    assert_eq!(capability(&mut session, "USER"), None);
    assert_eq!(capability(&mut session, "SASL").as_deref(), Some("SASL SCRAM-SHA-256"));
    for command in [&b"USER a@b"[..], b"PASS x", b"AUTH PLAIN", b"AUTH LOGIN", b"AUTH XOAUTH2"] {
        let reply = reply(session.line(Ok(command)));
        assert!(reply.starts_with("-ERR [AUTH] say STLS first: "), "{reply}");
    }
    let mut session = encrypted(config);
    assert_eq!(capability(&mut session, "USER").as_deref(), Some("USER"));
    assert_eq!(reply(session.line(Ok(b"USER a@b"))), "+OK");
    assert!(matches!(session.line(Ok(b"PASS x")), Step::OpenMaildrop { .. }));
}

#[test]
fn tls_makes_a_fresh_session() {
    let mut session = session();
    assert_eq!(reply(session.line(Ok(b"USER a@b"))), "+OK");
    assert_eq!(reply(session.line(Ok(b"LANG en"))), "+OK en replies are in English");
    session.encrypted(ChannelBindings::default());
    assert_eq!(reply(session.line(Ok(b"PASS x"))), "-ERR USER comes before PASS");
    assert_eq!(reply(session.line(Ok(b"LANG xx"))), "-ERR i-default no such language; LANG lists them");
    assert_eq!(reply(session.line(Ok(b"STLS"))), "-ERR TLS is spoken already");
    // Its bad commands stay.
    assert_eq!(session.line(Ok(b"XYZZY")), Step::Close(Reply::error("too many bad commands")));
}

#[test]
fn a_password_in_an_exchange_opens_the_maildrop() {
    let open =
        || Step::OpenMaildrop { user: "a@b.test".parse().unwrap(), proof: Proof::Password("pass".parse().unwrap()) };
    for wanted in ["", "a@b.test"] {
        let mut session = encrypted(config());
        assert_eq!(session.line(Ok(&plain(&format!("{wanted}\0a@b.test\0pass")))), open());
        assert_eq!(reply(session.opened(Ok([(1, 1)].into_iter().collect()))), "+OK user successfully logged on");
        assert!(!session.expects_response());
        assert_eq!(reply(session.line(Ok(b"AUTH PLAIN"))), "-ERR already logged in");
    }
    let mut session = encrypted(config());
    assert_eq!(reply(session.line(Ok(b"AUTH LOGIN"))), "+ VXNlcm5hbWU6");
    assert_eq!(reply(session.line(Ok(b"YUBiLnRlc3Q="))), "+ UGFzc3dvcmQ6");
    assert_eq!(session.line(Ok(b"cGFzcw==")), open());
    let wrong = session.opened(Err(OpenFailure::Authentication));
    assert_eq!(reply(wrong), "-ERR [AUTH] wrong user or password");
    assert!(!session.expects_response());
}

/// Neither a name that is no address nor a wish to be somebody else is worth a question.
#[test]
fn nobody_is_asked_for_what_cannot_be_right() {
    for message in ["b@b.test\0a@b.test\0pass", "\0nobody\0pass"] {
        let failed = encrypted(config()).line(Ok(&plain(message)));
        assert!(matches!(&failed, Step::LoginFailed { failure: Failure::Credentials, .. }), "{failed:?}");
        assert_eq!(reply(failed), "-ERR [AUTH] wrong user or password");
    }
}

#[test]
fn a_maildrop_in_use_ends_the_exchange() {
    for (failure, code) in [(OpenFailure::InUse, "[IN-USE]"), (OpenFailure::Unavailable, "[SYS/TEMP]")] {
        let mut session = encrypted(config());
        session.line(Ok(&plain("\0a@b.test\0pass")));
        assert!(reply(session.opened(Err(failure))).starts_with(&format!("-ERR {code} ")));
        assert!(!session.expects_response());
    }
}

#[test]
fn an_exchange_ends_in_many_ways() {
    let table: [(Result<&[u8], LineError>, &str); 5] = [
        (Ok(b"*"), "-ERR authentication cancelled"),
        (Ok(b"CAPA!"), "-ERR a response is base64, with nothing before or after it"),
        (Ok(b"QUJD"), "-ERR the message is none of this mechanism"),
        (Err(LineError::TooLong), "-ERR authentication exchange line is too long"),
        (Err(LineError::BareLf), BARE_LF),
    ];
    for (line, expected) in table {
        let mut session = encrypted(config());
        assert_eq!(reply(session.line(Ok(b"AUTH PLAIN"))), "+ ");
        assert!(session.expects_response());
        assert_eq!(reply(session.line(line)), expected);
        assert!(!session.expects_response());
        assert_eq!(reply(session.line(Ok(b"CAPA"))), "+OK capability list follows");
    }
    assert_eq!(reply(encrypted(config()).line(Ok(b"AUTH PLAIN ="))), "-ERR the message is none of this mechanism");
}

/// The exchange of RFC 7628 §3.2.3: the reason comes as a challenge, which is to be acknowledged.
#[test]
fn a_token_that_is_refused_is_acknowledged() {
    let mut session = encrypted(config());
    let message = STANDARD.encode("n,a=a@b.test,\u{1}auth=Bearer x\u{1}\u{1}");
    let step = session.line(Ok(format!("AUTH OAUTHBEARER {message}").as_bytes()));
    assert!(matches!(step, Step::OpenMaildrop { .. }), "{step:?}");
    let refused = session.opened(Err(OpenFailure::Authentication));
    assert!(counts_a_guess(&refused), "{refused:?}");
    assert!(reply(refused).starts_with("+ "));
    assert_eq!(session.line(Ok(b"AQ==")), Step::Reply(wrong_password()), "counted before");
    // Nobody needs to be asked for a user who has no address, which counts all the same.
    let step =
        session.line(Ok(format!("AUTH XOAUTH2 {}", STANDARD.encode("user=x\u{1}auth=Bearer x\u{1}\u{1}")).as_bytes()));
    assert!(counts_a_guess(&step) && reply(step).starts_with("+ "));
    // The acknowledgements are bad commands, also one that cannot be read.
    assert_eq!(reply(session.line(Err(LineError::TooLong))), "-ERR authentication exchange line is too long");
    assert_eq!(session.line(Ok(b"XYZZY")), Step::Close(Reply::error("too many bad commands")));
}

fn counts_a_guess(step: &Step<u64>) -> bool {
    matches!(step, Step::LoginFailed { failure: Failure::Credentials, is_last: false, .. })
}

fn wrong_password() -> Reply {
    Reply::error_code(ResponseCode::Auth, "wrong user or password")
}

#[test]
fn scram_opens_the_maildrop_without_a_password() {
    use crate::sasl::{ClientExchange, ScramVerifier};
    let user: Mailbox = "a@b.test".parse().unwrap();
    let verifier = ScramVerifier::new("pass", b"salt of 16 octet".to_vec(), 4096).unwrap();
    let mut session = session();
    let mut client = ClientExchange::scram("a@b.test", &"pass".to_owned().into(), "cnonce").unwrap();
    let command = format!("AUTH {} {}", client.mechanism(), client.initial());
    assert_eq!(session.line(Ok(command.as_bytes())), Step::FindVerifier("a@b.test".to_owned()));
    let mut challenge = reply(session.verifier_found(Ok((Some(user.clone()), verifier)), "snonce"));
    for _ in 0..2 {
        let response = client.challenge(challenge.strip_prefix("+ ").unwrap()).unwrap();
        let step = session.line(Ok(response.as_bytes()));
        if let Step::OpenMaildrop { .. } = step {
            assert_eq!(step, Step::OpenMaildrop { user: user.clone(), proof: Proof::Scram });
            assert_eq!(client.succeeded(), Ok(()));
            assert_eq!(reply(session.opened(Ok([(1, 1)].into_iter().collect()))), "+OK user successfully logged on");
            return;
        }
        challenge = reply(step);
    }
    panic!("not logged in");
}

#[test]
fn utf8_and_languages() {
    let mut session = encrypted(config());
    assert_eq!(capability(&mut session, "UTF8").as_deref(), Some("UTF8 USER"));
    assert_eq!(lines(session.line(Ok(b"LANG"))), ["i-default English, for everybody", "en English"]);
    assert_eq!(reply(session.line(Ok(b"LANG en-GB"))), "+OK en replies are in English");
    assert_eq!(reply(session.line(Ok(b"LANG de"))), "-ERR en no such language; LANG lists them");
    assert_eq!(reply(session.line(Ok(b"LANG *"))), "+OK i-default replies are in English");
    assert!(!session.speaks_utf8());
    assert_eq!(reply(session.line(Ok(b"UTF8"))), "+OK UTF-8 from now on");
    assert!(session.speaks_utf8());
    assert_eq!(reply(session.line(Ok("USER ü@b.test".as_bytes()))), "+OK");
    // RFC 4013 §2.3.
    assert_eq!(reply(session.line(Ok("PASS ü\u{200e}".as_bytes()))), "-ERR [AUTH] wrong user or password");
    session.opened(Ok([(1, 1)].into_iter().collect()));
    assert_eq!(reply(session.line(Ok(b"UTF8"))), "-ERR too late: this comes before the login");
    assert_eq!(reply(session.line(Ok(b"LANG en"))), "+OK en replies are in English");
    let mut session = self::session();
    session.line(Ok(b"UTF8"));
    assert_eq!(reply(session.line(Ok(b"STLS"))), "-ERR STLS comes before UTF8");
}

#[test]
fn apop_is_refused_with_its_reason() {
    let apop = &b"APOP a@b c4c9334bac560ecc979e58001b3e22fb"[..];
    assert_eq!(reply(session().line(Ok(apop))), "-ERR APOP needs passwords in plain text; use USER or AUTH");
    assert_eq!(reply(logged_in().line(Ok(apop))), "-ERR already logged in");
}

/// RETR of one message after the other is a sequence, in which marked messages do not count.
#[test]
fn who_reads_in_sequence_is_noticed() {
    let mut session = session();
    session.opened(Ok((1..=6).map(|number| (number, 100)).collect()));
    let is_in_sequence =
        |session: &mut Session<u64>, number: u64| match session.line(Ok(format!("RETR {number}").as_bytes())) {
            Step::SendMessage(message) => message.is_in_sequence,
            other => panic!("{other:?}"),
        };
    assert!(is_in_sequence(&mut session, 1));
    assert!(is_in_sequence(&mut session, 2));
    assert!(!is_in_sequence(&mut session, 2));
    assert!(!is_in_sequence(&mut session, 5));
    reply(session.line(Ok(b"DELE 2")));
    assert!(!is_in_sequence(&mut session, 1));
    assert!(is_in_sequence(&mut session, 3), "2 is marked");
    assert!(is_in_sequence(&mut session, 4));
    let following = |number, octets, limit| -> Vec<u64> {
        session.following(number, octets, limit).iter().map(|message| message.uid).collect()
    };
    assert_eq!(following(1, 300, 10), [1, 3, 4], "in 300 octets");
    assert_eq!(following(1, 299, 10), [1, 3]);
    assert_eq!(following(1, 1000, 1), [1]);
    assert_eq!(following(6, 1000, 10), [6]);
    assert_eq!(following(7, 1000, 10), [0; 0]);
}
