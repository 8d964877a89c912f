use super::*;

const BARE_LF: &str = "-ERR lines end with CRLF, not with LF alone; use nc -C, curl --crlf or Python's policy=SMTP";

fn config() -> SessionConfig {
    SessionConfig { size_style: SizeStyle::Message, bad_command_limit: 3, retention: None, domains: Vec::new() }
}

fn session() -> Session<&'static str> {
    Session::new(config())
}

fn logged_in() -> Session<&'static str> {
    let mut session = session();
    session.opened(Ok([("a", 120), ("b", 200)]));
    session
}

fn reply(step: Step<&str>) -> String {
    match step {
        Step::Reply(reply) => reply.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn pass_asks_to_open_the_maildrop_of_the_user_named_before() {
    let mut session = session();
    assert_eq!(reply(session.line(Ok(b"USER usr1@mail.sustech.edu.cn"))), "+OK");
    let user = "usr1@mail.sustech.edu.cn".parse().unwrap();
    let password = " two words ".parse().unwrap();
    assert_eq!(session.line(Ok(b"PASS  two words ")), Step::OpenMaildrop { user, password });
    assert_eq!(
        reply(session.opened(Err::<[_; 0], _>(OpenFailure::InUse))),
        "-ERR [IN-USE] another session holds this maildrop"
    );
    assert_eq!(reply(session.line(Ok(b"PASS again"))), "-ERR USER comes before PASS");
    assert_eq!(reply(session.line(Ok(b"STAT"))), "-ERR log in first");
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
    assert_eq!(session.line(Ok(b"QUIT")), Step::Update { delete: vec!["b"] });
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
    session.opened(Ok([("a", 120)]));
    let expected = |extent, reply| Step::SendMessage(SendMessage { uid: "a", octets: 120, extent, reply });
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
            Session::<&str>::new(SessionConfig { retention: seconds.map(Duration::from_secs), ..config() });
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
    let mut session = Session::<&str>::new(config(&["one.test"]));
    assert_eq!(reply(session.line(Ok(b"USER usr1"))), "+OK");
    let Step::OpenMaildrop { user, .. } = session.line(Ok(b"PASS x")) else { panic!("nothing is opened") };
    assert_eq!(user.to_string(), "usr1@one.test");

    let mut session = Session::<&str>::new(config(&["one.test", "two.test"]));
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
    // Before the login nothing but the login itself sets the count back: passwords could be guessed for ever.
    let mut session = self::session();
    assert_eq!(reply(session.line(Ok(b"XYZZY"))), "-ERR unknown command");
    assert_eq!(reply(session.line(Ok(b"USER a@b"))), "+OK");
    assert_eq!(reply(session.line(Ok(b"XYZZY"))), "-ERR unknown command");
    session.opened(Ok([("a", 120)]));
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
