//! The dialogue on a pipe, every octet that it prints.
#![allow(clippy::unwrap_used)]

mod support;

use support::{Server, Town, closed_port};

const LOGIN: &str = "b'+OK POP3 server ready'\nb'+OK'\nb'+OK user successfully logged on'\n";

#[test]
fn the_tutorial_message_is_sent() {
    let smtp = Server::start(&["
        S: 220 exmail.qq.com SMTP server ready
        C: ehlo [127.0.0.1]
        S: 250-exmail.qq.com HELLO
        S: 250-PIPELINING
        S: 250-SIZE 26214400
        S: 250 8BITMIME
        C: mail FROM:<usr1@mail.sustech.edu.cn>
        S: 250 2.1.0 OK
        C: rcpt TO:<usr1@mail.sustech.edu.cn>
        S: 250 2.1.5 OK
        C: data
        S: 354 Start mail input; end with <CRLF>.<CRLF>
        C: Content-Type: text/plain; charset=\"utf-8\"
        C: MIME-Version: 1.0
        C: Content-Transfer-Encoding: base64
        C: Subject: Test
        C: From: usr1@mail.sustech.edu.cn
        C:
        C: VGhpcyBpcyBhIHRlc3QgZW1haWxpbmcgbXlzZWxmLg==
        C: .
        S: 250 2.0.0 OK queued as 06gk2w1s8n4qz
        C: quit
        S: 221 2.0.0 Bye
    "]);
    let town = Town::new(smtp.port, closed_port());
    let output = town.dialogue("smtp\nusr1@mail.sustech.edu.cn\n\nTest\nThis is a test emailing myself.\nexit\n");
    assert_eq!(output, "[smtp|pop|exit]>>> To: To: Subject: Content: [smtp|pop|exit]>>> ");
    smtp.finish();
}

#[test]
fn the_tutorial_message_is_read() {
    let pop = Server::start(&["
        S: +OK POP3 server ready
        C: USER usr1@mail.sustech.edu.cn
        S: +OK
        C: PASS pass1
        S: +OK user successfully logged on
        C: STAT
        S: +OK 1 195
        C: LIST
        S: +OK 1 messages
        S: 1 195
        S: .
        C: RETR 1
        S: +OK
        S: Content-Type: text/plain; charset=\"utf-8\"
        S: MIME-Version: 1.0
        S: Content-Transfer-Encoding: base64
        S: Subject: Test
        S: From: usr1@mail.sustech.edu.cn
        S:
        S: VGhpcyBpcyBhIHRlc3QgZW1haWxpbmcgbXlzZWxmLg==
        S: .
        C: QUIT
        S: +OK
    "]);
    let town = Town::new(closed_port(), pop.port);
    let output = town.dialogue("pop\nstat\nlist\nretr 1\nquit\nexit\n");
    let expected = r#"[smtp|pop|exit]>>> b'+OK POP3 server ready'
b'+OK'
b'+OK user successfully logged on'
[pop]>>> 1 messages (195 bytes)
[pop]>>> [b'1 195']
[pop]>>> b'Content-Type: text/plain; charset="utf-8"'
b'MIME-Version: 1.0'
b'Content-Transfer-Encoding: base64'
b'Subject: Test'
b'From: usr1@mail.sustech.edu.cn'
b''
b'VGhpcyBpcyBhIHRlc3QgZW1haWxpbmcgbXlzZWxmLg=='
[pop]>>> b'+OK'
[smtp|pop|exit]>>> "#;
    assert_eq!(output, expected);
    pop.finish();
}

#[test]
fn every_pop_command_and_every_slip() {
    let pop = Server::start(&["
        S: +OK POP3 server ready
        C: USER usr1@mail.sustech.edu.cn
        S: +OK
        C: PASS pass1
        S: +OK user successfully logged on
        C: STAT
        S: +OK 0 0
        C: LIST
        S: +OK
        S: .
        C: LIST 1
        S: +OK 1 195
        C: LIST 9
        S: -ERR no such message
        C: UIDL
        S: +OK
        S: 1 a
        S: 2 b'
        S: .
        C: UIDL 2
        S: +OK 2 b'
        C: TOP 1 0
        S: +OK
        S: Subject: dots
        S:
        S: ..
        S: .
        C: CAPA
        S: +OK
        S: TOP
        S: UIDL
        S: .
        C: DELE 1
        S: +OK
        C: RETR 1
        S: -ERR message 1 is deleted
        C: RSET
        S: +OK
        C: NOOP
        S: +OK
        C: QUIT
        S: -ERR [SYS/TEMP] try again later
    "]);
    let town = Town::new(closed_port(), pop.port);
    let lines = "help|Exit now||pop|stat|list|list 1|list 9|uidl|UIDL  2|top 1 0|capa|dele 1|retr 1|\
                 retr|retr one|top 1|user x|pass y|what||rset|noop|quit|exit";
    let output = town.dialogue(&lines.replace('|', "\n"));
    let help = "smtp sends a message, pop reads your maildrop, exit or quit ends";
    let pop_help = "stat, list [n], retr n, dele n, rset, noop, quit, uidl [n], top n k, capa, exit (quit, and end)";
    let expected = [
        &format!("[smtp|pop|exit]>>> {help}\n[smtp|pop|exit]>>> {help}\n[smtp|pop|exit]>>> [smtp|pop|exit]>>> {LOGIN}"),
        "[pop]>>> 0 messages (0 bytes)\n[pop]>>> []\n[pop]>>> b'+OK 1 195'\n[pop]>>> -ERR no such message\n",
        "[pop]>>> [b'1 a', b\"2 b'\"]\n[pop]>>> b\"+OK 2 b'\"\n",
        "[pop]>>> b'Subject: dots'\nb''\nb'.'\n[pop]>>> b'TOP'\nb'UIDL'\n",
        "[pop]>>> b'+OK'\n[pop]>>> -ERR message 1 is deleted\n",
        "[pop]>>> syntax: RETR number\n[pop]>>> syntax: RETR number\n[pop]>>> syntax: TOP number lines\n",
        &format!("[pop]>>> {pop_help}\n[pop]>>> {pop_help}\n[pop]>>> {pop_help}\n[pop]>>> "),
        "[pop]>>> b'+OK'\n[pop]>>> b'+OK'\n[pop]>>> -ERR [SYS/TEMP] try again later\n[smtp|pop|exit]>>> ",
    ];
    assert_eq!(output, expected.concat());
    pop.finish();
}

#[test]
fn a_failed_login_brings_the_prompt_back() {
    let pop = Server::start(&[
        "
        S: +OK POP3 server ready
        C: USER usr1@mail.sustech.edu.cn
        S: +OK
        C: PASS pass1
        S: -ERR [AUTH] wrong user name or password
        C: QUIT
        S: +OK
        ",
        "S: -ERR [SYS/TEMP] too many connections",
        "S: SSH-2.0-OpenSSH_9.2",
        "
        S: +OK POP3 server ready
        C: USER usr1@mail.sustech.edu.cn
        S: +OK
        C: PASS pass1
        S: +OK user successfully logged on
        C: STAT
        ",
    ]);
    let town = Town::new(closed_port(), pop.port);
    let (code, output, errors) = town.agent("-p pass1", "pop\npop\npop\npop\nstat\nexit\n");
    let at = format!("pop.exmail.qq.com: P localhost:{0} by fdns.toml; localhost:{0}", pop.port);
    assert_eq!((code, errors), (0, format!("usr1@mail.sustech.edu.cn was refused at {at}\n")));
    let expected = [
        "[smtp|pop|exit]>>> b'+OK POP3 server ready'\nb'+OK'\n-ERR [AUTH] wrong user name or password\n",
        "[smtp|pop|exit]>>> -ERR [SYS/TEMP] too many connections\n",
        &format!("[smtp|pop|exit]>>> {at}: not a POP3 reply: SSH-2.0-OpenSSH_9.2\n"),
        &format!("[smtp|pop|exit]>>> {LOGIN}[pop]>>> the server closed the connection\n[smtp|pop|exit]>>> "),
    ];
    assert_eq!(output, expected.concat());
    pop.finish();
}

#[test]
fn refusals_are_told_in_the_servers_words() {
    let smtp = Server::start(&[
        "
        S: 220 b
        C: ehlo [127.0.0.1]
        S: 502 what?
        C: helo [127.0.0.1]
        S: 250 b
        C: mail FROM:<usr1@mail.sustech.edu.cn>
        S: 250 2.1.0 OK
        C: rcpt TO:<usr2@mail.sustech.edu.cn>
        S: 250 2.1.5 OK
        C: rcpt TO:<usr9@mail.sustech.edu.cn>
        S: 550-5.1.1 No such user
        S: 550 5.1.1 here
        C: data
        S: 354 go
        C: Content-Type: text/plain; charset=\"utf-8\"
        C: MIME-Version: 1.0
        C: Content-Transfer-Encoding: base64
        C: Subject: =?utf-8?b?w5xu?=
        C: From: usr1@mail.sustech.edu.cn
        C:
        C: Lg==
        C: .
        S: 250 2.0.0 OK queued as 1
        C: quit
        ",
        "
        S: 220 b
        C: ehlo [127.0.0.1]
        S: 250 b
        C: mail FROM:<usr1@mail.sustech.edu.cn>
        S: 550 5.1.0 Unknown sender
        C: rset
        S: 250 OK
        C: quit
        S: 221 Bye
        ",
        "S: 421 4.3.2 Too busy",
        "S: 220 b",
    ]);
    let town = Town::new(smtp.port, closed_port());
    let to = "usr2@mail.sustech.edu.cn";
    let input = format!(
        "smtp\n{to}\nnobody\nusr9@mail.sustech.edu.cn\n\nÜn\n.\n{0}{0}{0}smtp\n\nsmtp\n{to}\n\na\tb\nx\nexit\n",
        format!("smtp\n{to}\n\n\n\n")
    );
    let at = format!("smtp.exmail.qq.com: P {0} by fdns.toml; 127.0.0.1:{0}", smtp.port);
    let asked = "[smtp|pop|exit]>>> To: To: Subject: Content: ";
    let expected = [
        "[smtp|pop|exit]>>> To: To: nobody: an address has the form user@domain\nTo: To: Subject: Content: ",
        "usr9@mail.sustech.edu.cn: 550 5.1.1 No such user here\n",
        &format!("{asked}{to}: 550 5.1.0 Unknown sender\n"),
        &format!("{asked}421 4.3.2 Too busy\n"),
        &format!("{asked}{at}: the server closed the connection\n"),
        "[smtp|pop|exit]>>> To: no recipients: nothing was sent\n",
        &format!("{asked}the subject must be one line without control characters\n[smtp|pop|exit]>>> "),
    ];
    assert_eq!(town.dialogue(&input), expected.concat());
    smtp.finish();
}

#[test]
fn servers_that_are_not_there() {
    let (smtp, pop) = (closed_port(), closed_port());
    let town = Town::new(smtp, pop);
    let output = town.dialogue("pop\nsmtp\na@b\n\ns\nc\nexit\n");
    let refused = "Connection refused (os error 111); is the town running?";
    let expected = [
        &format!("[smtp|pop|exit]>>> pop.exmail.qq.com: P localhost:{pop} by fdns.toml; localhost:{pop}: {refused}\n"),
        "[smtp|pop|exit]>>> To: To: Subject: Content: ",
        &format!("smtp.exmail.qq.com: P {smtp} by fdns.toml; 127.0.0.1:{smtp}: {refused}\n[smtp|pop|exit]>>> "),
    ];
    assert_eq!(output, expected.concat());

    std::fs::write(town.directory.path().join("fdns.toml"), "[MX]\n\"a.\" = \"b.\"\n[P]\n").unwrap();
    let (_, output, _) = town.agent("-p pass1 --smtp b --pop nowhere", "pop\nsmtp\na@b\n\ns\nc\nexit\n");
    let expected = "[smtp|pop|exit]>>> no such name: nowhere, says fdns.toml; add a P record to the zone file\n\
                    [smtp|pop|exit]>>> To: To: Subject: Content: b has no P record, says fdns.toml; add one to the zone file\n\
                    [smtp|pop|exit]>>> ";
    assert_eq!(output, expected);

    std::fs::remove_file(town.directory.path().join("fdns.toml")).unwrap();
    let expected = "[smtp|pop|exit]>>> no pseudo-dns answers (none is configured): fdns.toml: No such file or directory (os error 2); \
                    check the path, or name another file with --zone\n[smtp|pop|exit]>>> ";
    assert_eq!(town.dialogue("pop\nexit\n"), expected);
    let (_, output, _) = town.agent("", "pop\nexit\n");
    assert_eq!(
        output,
        "[smtp|pop|exit]>>> no password; give -p PASSWORD or set MAILTOWN_PASSWORD\n[smtp|pop|exit]>>> "
    );
}

#[test]
fn the_input_may_end_anywhere() {
    let town = Town::new(closed_port(), closed_port());
    let table = [
        ("", "[smtp|pop|exit]>>> \n"),
        ("exit", "[smtp|pop|exit]>>> "),
        ("\r\nexit\r\n", "[smtp|pop|exit]>>> [smtp|pop|exit]>>> "),
        ("smtp", "[smtp|pop|exit]>>> To: \n"),
        ("smtp\na@b\n\n", "[smtp|pop|exit]>>> To: To: Subject: \n"),
        ("smtp\na@b\n\ns\n", "[smtp|pop|exit]>>> To: To: Subject: Content: \n"),
    ];
    for (input, expected) in table {
        assert_eq!(town.dialogue(input), expected, "{input:?}");
    }
    let (code, output, _) = town.agent("-p pass1", b"smtp\na@b\n\ns\nGr\xfc\xdfe\nexit\n");
    let expected = "[smtp|pop|exit]>>> To: To: Subject: Content: that line is not UTF-8\n[smtp|pop|exit]>>> ";
    assert_eq!((code, output.as_str()), (0, expected));
}

/// A QUIT would delete what was marked, and nobody has asked for that.
#[test]
fn the_end_of_the_input_is_no_quit() {
    let pop = Server::start(&["
        S: +OK POP3 server ready
        C: USER usr1@mail.sustech.edu.cn
        S: +OK
        C: PASS pass1
        S: +OK user successfully logged on
        C: DELE 1
        S: +OK
    "]);
    let town = Town::new(closed_port(), pop.port);
    let expected = format!("[smtp|pop|exit]>>> {LOGIN}[pop]>>> b'+OK'\n[pop]>>> \n");
    assert_eq!(town.dialogue("pop\ndele 1\n"), expected);
    pop.finish();
}

#[test]
fn profile_rfc_identifies_messages_and_tells_the_reply() {
    let smtp = Server::start(&["
        S: 220 b
        C: EHLO [127.0.0.1]
        S: 250 b
        C: MAIL FROM:<usr1@mail.sustech.edu.cn>
        S: 250 OK
        C: RCPT TO:<usr2@mail.sustech.edu.cn>
        S: 250 OK
        C: RCPT TO:<usr9@mail.sustech.edu.cn>
        S: 550 5.1.1 No such user
        C: DATA
        S: 354 go
        C: Content-Type: text/plain; charset=\"utf-8\"
        C: MIME-Version: 1.0
        C: Content-Transfer-Encoding: base64
        C: Subject: Test
        C: From: usr1@mail.sustech.edu.cn
        C: To: usr2@mail.sustech.edu.cn,
        C:  usr9@mail.sustech.edu.cn
        C* Date:
        C* Message-ID: <
        C:
        C: eA==
        C: .
        S: 250 2.0.0 OK queued as 06gk2w1s8n4qz
        C: QUIT
        S: 221 Bye
    "]);
    let town = Town::rfc(smtp.port, closed_port());
    let output = town.dialogue("smtp\nusr2@mail.sustech.edu.cn\nusr9@mail.sustech.edu.cn\n\nTest\nx\nexit\n");
    let expected = "[smtp|pop|exit]>>> To: To: To: Subject: Content: 250 2.0.0 OK queued as 06gk2w1s8n4qz\n\
                    usr9@mail.sustech.edu.cn: 550 5.1.1 No such user\n[smtp|pop|exit]>>> ";
    assert_eq!(output, expected);
    smtp.finish();
}

#[test]
fn exit_and_quit_end_what_they_can() {
    let pop = Server::start(&["
        S: +OK POP3 server ready
        C: USER usr1@mail.sustech.edu.cn
        S: +OK
        C: PASS pass1
        S: +OK user successfully logged on
        C: QUIT
        S: +OK
    "]);
    let town = Town::new(closed_port(), pop.port);
    assert_eq!(town.dialogue("pop\nexit\npop\n"), format!("[smtp|pop|exit]>>> {LOGIN}[pop]>>> b'+OK'\n"));
    pop.finish();
    assert_eq!(town.dialogue("quit\npop\n"), "[smtp|pop|exit]>>> ");
}

#[test]
fn verbose_shows_the_dialogue_without_the_password() {
    let pop = Server::start(&["
        S: +OK POP3 server ready
        C: USER usr1@mail.sustech.edu.cn
        S: +OK
        C: PASS pass1
        S: +OK user successfully logged on
        C: LIST
        S: +OK 1 messages
        S: 1 195
        S: .
        C: QUIT
        S: +OK
    "]);
    let town = Town::new(closed_port(), pop.port);
    let (code, output, errors) = town.agent("-p pass1 -v", "pop\nlist\nquit\nexit\n");
    let expected = format!("[smtp|pop|exit]>>> {LOGIN}[pop]>>> [b'1 195']\n[pop]>>> b'+OK'\n[smtp|pop|exit]>>> ");
    assert_eq!((code, output), (0, expected));
    let expected = format!(
        "-- pop.exmail.qq.com: P localhost:{0} by fdns.toml; localhost:{0}
S: +OK POP3 server ready
C: USER usr1@mail.sustech.edu.cn
S: +OK
C: PASS ****
S: +OK user successfully logged on
C: LIST
S: +OK 1 messages
S: 1 195
S: .
C: QUIT
S: +OK
",
        pop.port
    );
    assert_eq!(errors, expected);
    pop.finish();
}
