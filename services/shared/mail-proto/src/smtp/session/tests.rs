use super::*;
use crate::sasl::{LoginsUnavailable, Mechanism};

fn session() -> Session {
    Session::new(SessionConfig {
        server_name: "gmail.com".parse().unwrap(),
        greeting: "gmail.com".to_owned(),
        size_limit_octets: 1000,
        recipient_limit: 2,
        bad_command_limit: 3,
        has_tls: true,
        mechanisms: Mechanism::ALL.into_iter().collect(),
        plain_text_in_clear: false,
        discloses_addresses: false,
        tolerance: Tolerance::default(),
    })
}

/// Plays lines with a policy that allows everything; returns the first line of each reply.
fn play(session: &mut Session, lines: &[&str]) -> Vec<String> {
    let answer = |session: &mut Session, line: &&str| match session.line(Ok(line.as_bytes())) {
        Step::Reply(reply) | Step::Close(reply) | Step::LoggedIn(reply) | Step::LoginFailed { reply, .. } => reply,
        Step::Verify(credentials) => {
            let fits = credentials.user == "usr1@a.test" && credentials.password.expose() == "pass1";
            match session.verified(Ok(fits.then(|| credentials.user.parse().unwrap()))) {
                Step::LoggedIn(reply) | Step::LoginFailed { reply, .. } => reply,
                step => panic!("{step:?}"),
            }
        }
        Step::FindVerifier(_) => match session.verifier_found(Err(LoginsUnavailable), "nonce") {
            Step::Reply(reply) => reply,
            step => panic!("{step:?}"),
        },
        Step::VerifyAddress(inquiry) | Step::ExpandList(inquiry) => Reply::new(250, (1, 5), inquiry.whom),
        Step::CheckSender(path) => session.sender_checked(path, Ok(Origin::Submission)),
        Step::CheckRecipient(_, ForwardPath::Mailbox(mailbox)) => session.recipient_checked(Ok(mailbox)),
        Step::CheckRecipient(_, ForwardPath::Postmaster) => {
            session.recipient_checked(Err(Reply::new(550, (1, 1), "no")))
        }
        Step::Receive(go_ahead, _) => {
            let recipients = session.envelope().unwrap().recipients.len();
            match session.received() {
                Received::Chunk(reply) => reply,
                Received::Message => go_ahead.unwrap_or(Reply::new(250, (0, 0), format!("OK for {recipients}"))),
            }
        }
        Step::Skip(_, reply) => reply,
        Step::StartTls(reply) => {
            session.encrypted();
            reply
        }
    };
    lines.iter().map(|line| answer(session, line).on_one_line()).collect()
}

#[test]
fn a_recipient_named_twice_counts_once() {
    let replies = play(&mut session(), &["EHLO a", "MAIL FROM:<>", "RCPT TO:<a@b>", "RCPT TO:<a@B>", "RCPT TO:<c@b>"]);
    assert_eq!(replies[2..], ["250 2.1.5 OK"; 3]);
}

/// RFC 5321 §4.5.3.1.10: those beyond the limit belong into another transaction, and the client has done nothing wrong.
#[test]
fn recipients_beyond_the_limit_are_for_another_transaction() {
    let mut session = session();
    play(&mut session, &["EHLO a", "MAIL FROM:<>", "RCPT TO:<a@b>", "RCPT TO:<c@b>"]);
    let refused = "452 4.5.3 too many recipients; send to the others in a transaction of their own";
    assert_eq!(play(&mut session, &["RCPT TO:<d@b>"; 9]), [refused; 9]);
    assert_eq!(play(&mut session, &["DATA"]), ["354 Start mail input; end with <CRLF>.<CRLF>"]);
    play(&mut session, &["MAIL FROM:<>", "RCPT TO:<a@b>", "RCPT TO:<c@b>", "RCPT TO:<d@b>"]);
    assert_eq!(play(&mut session, &["BDAT 0 LAST"]), ["250 2.0.0 OK for 2"]);
}

/// RFC 1870 §3: the declaration is of one transaction.
#[test]
fn a_declared_size_is_that_of_the_last_mail_command() {
    let mut session = session();
    play(&mut session, &["EHLO a"]);
    assert_eq!(session.declared_octets(), None);
    play(&mut session, &["MAIL FROM:<> SIZE=7"]);
    assert_eq!(session.declared_octets(), Some(7));
    play(&mut session, &["RSET", "MAIL FROM:<>"]);
    assert_eq!(session.declared_octets(), None);
}

#[test]
fn every_way_out_of_a_transaction_forgets_it() {
    for end in ["RSET", "EHLO b", "HELO b", "DATA"] {
        let mut session = session();
        play(&mut session, &["EHLO a", "MAIL FROM:<a@b>", "RCPT TO:<a@b>", end]);
        assert_eq!(play(&mut session, &["RCPT TO:<a@b>"]), ["503 5.5.1 say MAIL FROM first"], "{end}");
        assert_eq!(play(&mut session, &["MAIL FROM:<c@b>"]), ["250 2.1.0 OK"], "{end}");
    }
}

#[test]
fn a_refused_sender_opens_no_transaction() {
    let mut session = session();
    play(&mut session, &["EHLO a"]);
    let refusal = Reply::new(550, (1, 0), "no");
    assert_eq!(session.sender_checked(ReversePath::Null, Err(refusal.clone())), refusal);
    // A pipelining client had sent all of this already.
    assert_eq!(play(&mut session, &["RCPT TO:<a@b>"; 20]), ["503 5.5.1 say MAIL FROM first"; 20]);
    play(&mut session, &["RSET"]);
    let replies = play(&mut session, &["RCPT TO:<a@b>"; 3]);
    assert_eq!(replies[2], "421 4.7.0 too many bad commands");
}

#[test]
fn what_follows_a_mail_command_with_bad_syntax_does_not_count() {
    for bad in ["MAIL FROM:<é@b>", "MAIL FROM:", "MAIL FROM:<a@b> X=1"] {
        let mut session = session();
        play(&mut session, &["EHLO a"]);
        assert!(play(&mut session, &[bad])[0].starts_with('5'), "{bad}");
        assert_eq!(play(&mut session, &["RCPT TO:<a@b>"; 20]), ["503 5.5.1 say MAIL FROM first"; 20], "{bad}");
        assert!(play(&mut session, &["RCPT TO:<\u{85}@b>"; 20])[19].starts_with("501 5.1.3"), "{bad}");
        assert_eq!(play(&mut session, &["DATA"]), ["503 5.5.1 say MAIL FROM first"], "{bad}");
        // The MAIL itself counts.
        assert_eq!(play(&mut session, &["MAIL FROM:"; 2])[1], "421 4.7.0 too many bad commands", "{bad}");
    }
}

#[test]
fn an_accepted_message_sets_the_count_back_and_a_refused_one_does_not() {
    let mut session = session();
    play(&mut session, &["EHLO a", "X", "X"]);
    session.committed(&Reply::new(452, (3, 1), "no"));
    session.committed(&Reply::new(250, (0, 0), "OK"));
    assert_eq!(play(&mut session, &["X", "X"]), ["500 5.5.1 command not recognised"; 2]);
    session.committed(&Reply::new(554, (6, 0), "no"));
    assert_eq!(play(&mut session, &["X"]), ["421 4.7.0 too many bad commands"]);
}

#[test]
fn another_protocol_ends_the_session() {
    let closed = Step::Close(Reply::new(421, (7, 0), "this is SMTP, not HTTP"));
    assert_eq!(session().line(Ok(b"POST / HTTP/1.1")), closed);
    assert_eq!(session().line(Err(LineError::HttpRequest)), closed);
    let closed = Step::Close(Reply::new(421, (7, 0), "this port begins in clear, not with TLS"));
    assert_eq!(session().line(Err(LineError::Tls)), closed);
}

#[test]
fn refusals_by_policy_are_no_bad_commands() {
    let mut session = session();
    play(&mut session, &["EHLO a", "MAIL FROM:<>"]);
    for _ in 0..10 {
        session.recipient_checked(Err(Reply::new(550, (1, 1), "no")));
    }
    assert_eq!(play(&mut session, &["NOOP"]), ["250 2.0.0 OK"]);
}

/// RFC 3030 §2.
#[test]
fn a_message_comes_in_chunks() {
    let mut session = session();
    play(&mut session, &["EHLO a", "MAIL FROM:<>", "RCPT TO:<a@b>"]);
    assert_eq!(
        play(&mut session, &["BDAT 5", "BDAT 7"]),
        ["250 2.0.0 5 octets received", "250 2.0.0 12 octets received"]
    );
    assert!(session.is_receiving());
    let refused = "503 5.5.1 the message comes in chunks; go on with BDAT, or RSET";
    assert_eq!(play(&mut session, &["DATA", "RCPT TO:<c@b>"]), [refused; 2]);
    assert_eq!(play(&mut session, &["BDAT 0 LAST"]), ["250 2.0.0 OK for 1"]);
    assert!(!session.is_receiving());
}

#[test]
fn a_refused_chunk_is_read_all_the_same() {
    let skipped = |session: &mut Session, line: &str| match session.line(Ok(line.as_bytes())) {
        Step::Skip(octets, reply) => (octets, reply.on_one_line()),
        step => panic!("{line}: {step:?}"),
    };
    let mut session = session();
    assert_eq!(skipped(&mut session, "BDAT 3"), (3, "503 5.5.1 say EHLO or HELO first".to_owned()));
    play(&mut session, &["EHLO a"]);
    assert_eq!(skipped(&mut session, "BDAT 4 LAST"), (4, "503 5.5.1 say MAIL FROM first".to_owned()));
    play(&mut session, &["MAIL FROM:<>"]);
    assert_eq!(skipped(&mut session, "bdat 5 last"), (5, "554 5.5.1 no valid recipients".to_owned()));
    // The transaction is over, and what was pipelined does not count.
    assert_eq!(skipped(&mut session, "BDAT 6"), (6, "503 5.5.1 say MAIL FROM first".to_owned()));
    play(&mut session, &["MAIL FROM:<>", "RCPT TO:<a@b>", "BDAT 900"]);
    let octets = TRACE_OCTETS + 101;
    let refused = "552 5.3.4 message too large; the limit is 1000 octets".to_owned();
    assert_eq!(skipped(&mut session, &format!("BDAT {octets}")), (octets, refused));
    assert!(!session.is_receiving());
    assert_eq!(skipped(&mut session, "BDAT 1 LAST").1, "503 5.5.1 say MAIL FROM first");
}

/// What follows cannot be told from commands.
#[test]
fn a_chunk_of_unknown_length_ends_the_session() {
    for line in ["BDAT", "BDAT x", "BDAT -1", "BDAT 1 FIRST", "BDAT 1 LAST LAST", "BDAT 99999999999999999999"] {
        let mut session = session();
        let Step::Close(reply) = session.line(Ok(line.as_bytes())) else { panic!("{line}") };
        assert_eq!(reply.on_one_line(), "421 4.5.4 say BDAT, a number of octets, and LAST with the last", "{line}");
    }
}

/// RFC 3030 §2: without EHLO nothing is announced.
#[test]
fn after_helo_there_are_no_extensions() {
    let mut session = session();
    play(&mut session, &["HELO a", "MAIL FROM:<>", "RCPT TO:<a@b>"]);
    assert_eq!(play(&mut session, &["BDAT 3 LAST"]), ["502 5.5.1 command not implemented"]);
    assert_eq!(play(&mut session, &["RCPT TO:<a@b> NOTIFY=NEVER"]), ["555 5.5.4 parameter not known: NOTIFY"]);
}

/// RFC 3207 §4.2.
#[test]
fn tls_begins_a_new_session() {
    let mut session = session();
    let announces = |session: &Session| session.extensions().lines().any(|line| line == "STARTTLS");
    play(&mut session, &["EHLO a", "MAIL FROM:<>", "RCPT TO:<a@b>"]);
    assert!(announces(&session));
    assert_eq!(play(&mut session, &["STARTTLS"]), ["220 2.0.0 ready to start TLS"]);
    assert!(!announces(&session) && session.envelope().is_none());
    assert_eq!(play(&mut session, &["MAIL FROM:<>"]), ["503 5.5.1 say EHLO or HELO first"]);
    play(&mut session, &["EHLO a", "MAIL FROM:<>"]);
    assert!(session.envelope().unwrap().is_encrypted);
    assert_eq!(play(&mut session, &["STARTTLS"]), ["503 5.5.1 TLS is spoken already"]);
}

/// `\0usr1@a.test\0pass1`.
const PLAIN: &str = "AUTH PLAIN AHVzcjFAYS50ZXN0AHBhc3Mx";

/// RFC 4954 §4: nobody sends a password where others could read it.
#[test]
fn passwords_in_clear_need_permission() {
    let mut session = session();
    play(&mut session, &["EHLO a"]);
    assert_eq!(session.extensions().auth.to_string(), "SCRAM-SHA-256");
    let replies = play(&mut session, &[PLAIN, "AUTH SCRAM-SHA-256-PLUS"]);
    assert!(replies.iter().all(|reply| reply.starts_with("538 5.7.11 ")), "{replies:?}");

    session.config.plain_text_in_clear = true;
    assert_eq!(session.extensions().auth.to_string(), "PLAIN LOGIN SCRAM-SHA-256 XOAUTH2 OAUTHBEARER");
    assert_eq!(play(&mut session, &[PLAIN]), ["235 2.7.0 authentication successful"]);
    assert_eq!(session.identity().map(Mailbox::to_string).as_deref(), Some("usr1@a.test"));
}

/// RFC 5802 §6: -PLUS needs something to bind.
#[test]
fn over_tls_every_mechanism_is_offered() {
    let mut session = session();
    session.encrypted();
    assert_eq!(session.extensions().auth.to_string(), "PLAIN LOGIN SCRAM-SHA-256 XOAUTH2 OAUTHBEARER");
    session.bound(ChannelBindings { exporter: Some(vec![7; 32]), end_point: None });
    assert_eq!(session.extensions().auth, Mechanism::ALL.into_iter().collect());
    // `y,,n=u,r=a`: the client believes that -PLUS is not offered.
    let replies = play(&mut session, &["EHLO a", "AUTH SCRAM-SHA-256 eSwsbj11LHI9YQ=="]);
    assert!(replies[1].starts_with("535 5.7.8 SCRAM-SHA-256-PLUS was offered"), "{replies:?}");
}

/// RFC 3207 §4.2.
#[test]
fn tls_forgets_who_is_logged_in() {
    let mut session = session();
    session.config.plain_text_in_clear = true;
    play(&mut session, &["EHLO a", PLAIN, "MAIL FROM:<usr1@a.test>", "RCPT TO:<a@b>"]);
    assert_eq!(session.envelope().unwrap().identity, session.identity().cloned());
    play(&mut session, &["RSET", "STARTTLS"]);
    assert_eq!(session.identity(), None);
    assert_eq!(play(&mut session, &["EHLO a", PLAIN])[1], "235 2.7.0 authentication successful");
    assert_eq!(play(&mut session, &["EHLO a", "RSET", PLAIN])[2], "503 5.5.1 already logged in");
}

#[test]
fn logins_that_cannot_be_checked_fail_for_now() {
    let mut session = session();
    let away = "454 4.7.0 logins cannot be checked now, try again later";
    // `n,,n=u,r=a`.
    assert_eq!(play(&mut session, &["EHLO a", "AUTH SCRAM-SHA-256 biwsbj11LHI9YQ=="])[1], away);
    assert!(!session.expects_response());
    session.config.plain_text_in_clear = true;
    let Step::Verify(_) = session.line(Ok(PLAIN.as_bytes())) else { panic!("nothing to verify") };
    assert_eq!(session.verified(Err(LoginsUnavailable)), Step::Reply(Reply::new(454, (7, 0), &away[10..])));
    // That is not the client's fault.
    assert_eq!(session.offences.bad_commands, 0);

    session.config.mechanisms = Mechanisms::NONE;
    assert!(play(&mut session, &["EHLO a", PLAIN])[1].starts_with("502 5.5.1 "));
    assert_eq!(play(&mut session, &["MAIL FROM:<> AUTH=<>"]), ["555 5.5.4 parameter not known: AUTH"]);
}

/// RFC 4954 §5.
#[test]
fn nobody_is_believed_who_names_another_submitter() {
    let mut session = session();
    session.config.plain_text_in_clear = true;
    let mail = ["MAIL FROM:<usr1@a.test> AUTH=e+3Dmc2@example.com", "RCPT TO:<a@b>"];
    play(&mut session, &["EHLO a"]);
    play(&mut session, &mail);
    assert_eq!(session.envelope().unwrap().parameters.submitter, Some(ReversePath::Null));
    play(&mut session, &["RSET", PLAIN]);
    play(&mut session, &mail);
    assert_eq!(session.envelope().unwrap().parameters.submitter, Some(ReversePath::Null));
    for parameter in ["", " AUTH=usr1@a.test"] {
        play(&mut session, &["RSET", &format!("MAIL FROM:<usr1@a.test>{parameter}"), "RCPT TO:<a@b>"]);
        assert_eq!(session.envelope().unwrap().parameters.submitter, Some("<usr1@a.test>".parse().unwrap()));
    }
}

#[test]
fn the_last_of_too_many_guesses_closes() {
    let mut session = session();
    session.config.plain_text_in_clear = true;
    play(&mut session, &["EHLO a", "X", "X", "AUTH PLAIN"]);
    assert!(session.expects_response());
    let step = session.line(Ok(b"*"));
    assert!(matches!(step, Step::LoginFailed { failure: Failure::Cancelled, is_last: true, .. }), "{step:?}");
}

/// RFC 7628 §3.2.3. A client that has learned of its refusal may go without another word.
#[test]
fn a_token_that_is_refused_counts_before_it_is_acknowledged() {
    let mut session = session();
    session.encrypted();
    session.config.bad_command_limit = 9;
    play(&mut session, &["EHLO a"]);
    let acknowledgements = [
        (Ok(&b"AQ=="[..]), "535 5.7.8 authentication credentials invalid"),
        (Ok(b"*"), "535 5.7.8 authentication credentials invalid"),
        (Err(LineError::TooLong), "500 5.5.6 authentication exchange line is too long"),
        (Err(LineError::BareLf), "500 5.5.2 lines end with CRLF"),
    ];
    for (acknowledgement, expected) in acknowledgements {
        // `n,a=u,^Aauth=Bearer x^A^A`.
        let step = session.line(Ok(b"AUTH OAUTHBEARER bixhPXUsAWF1dGg9QmVhcmVyIHgBAQ=="));
        assert!(matches!(step, Step::Verify(_)), "{step:?}");
        let step = session.verified(Ok(None));
        let Step::LoginFailed { failure: Failure::Credentials, reply, is_last: false } = step else {
            panic!("{step:?}")
        };
        assert!(reply.on_one_line().starts_with("334 ") && session.expects_response(), "{reply}");
        let Step::Reply(reply) = session.line(acknowledgement) else { panic!("counted again") };
        assert!(reply.on_one_line().starts_with(expected), "{reply}");
        assert!(!session.expects_response());
    }
    assert_eq!(session.offences.bad_commands, 4);
}

#[test]
fn lines_with_passwords_are_known() {
    for secret in [PLAIN, "auth plain x", "AUTH LOGIN", "AUTH\tx"] {
        assert!(crate::smtp::is_secret(secret.as_bytes()), "{secret}");
    }
    for other in ["MAIL FROM:<a@b> AUTH=<>", "AUTHX", "NOOP AUTH", ""] {
        assert!(!crate::smtp::is_secret(other.as_bytes()), "{other}");
    }
}

/// They count as failed logins, so that whoever watches for guesses sees them.
#[test]
fn lines_of_an_exchange_that_cannot_be_read_are_failed_logins() {
    for (error, expected) in [
        (LineError::TooLong, "500 5.5.6 authentication exchange line is too long"),
        (LineError::BareLf, "500 5.5.2 lines end with CRLF"),
    ] {
        let mut session = session();
        session.encrypted();
        play(&mut session, &["EHLO a", "AUTH PLAIN"]);
        let step = session.line(Err(error));
        let Step::LoginFailed { failure: Failure::Malformed, reply, is_last: false } = step else { panic!("{step:?}") };
        assert!(reply.on_one_line().starts_with(expected), "{reply}");
        assert!(!session.expects_response());
    }
}

/// RFC 5321 §7.3. EXPN is then a command that there is not, which EHLO does not announce.
#[test]
fn who_is_not_trusted_learns_of_no_address() {
    let mut session = session();
    let lines = ["VRFY usr1", "EXPN all", "HELP EXPN"];
    let said = play(&mut session, &lines);
    assert_eq!(said[0], "252 2.5.0 cannot verify, but will accept mail and attempt delivery");
    assert_eq!(said[1], "502 5.5.1 command not implemented");
    let all = |expn| {
        format!(
            "214 2.0.0 HELO EHLO MAIL SOML SAML RCPT DATA BDAT STARTTLS AUTH RSET VRFY{expn} HELP NOOP QUIT (RFC 5321)"
        )
    };
    assert_eq!(said[2], all(""));
    assert!(!session.extensions().expn && session.extensions().limits.recipients == Some(2));
    session.config.discloses_addresses = true;
    let said = play(&mut session, &["VRFY usr1", "EXPN all", "HELP EXPN", "HELP"]);
    let usage = "214 2.0.0 EXPN address of a list (RFC 5321 section 4.1.1.7)";
    assert_eq!(said, ["250 2.1.5 usr1", "250 2.1.5 all", usage, &all(" EXPN")]);
    assert!(session.extensions().expn);
}
