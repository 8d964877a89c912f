//! `send` and `fetch`: what they print where, and how they exit.
#![allow(clippy::disallowed_methods, reason = "a test waits for processes, sockets and files in real time")]
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use support::{Server, Town, closed_port};

#[test]
fn send_tells_the_id_and_who_was_refused() {
    let smtp = Server::start(&[
        "
        S: 220 b
        C: ehlo [127.0.0.1]
        S: 250-b
        S: 250 PIPELINING
        C: mail FROM:<usr1@mail.sustech.edu.cn>
        S: 250 OK
        C: rcpt TO:<usr@gmail.com>
        S: 250 OK
        C: rcpt TO:<usr2@mail.sustech.edu.cn>
        S: 250 OK
        C: data
        S: 354 go
        C: Content-Type: text/plain; charset=\"utf-8\"
        C: MIME-Version: 1.0
        C: Content-Transfer-Encoding: base64
        C: Subject: Hi
        C: From: usr1@mail.sustech.edu.cn
        C:
        C: b25lDQouDQo=
        C: .
        S: 250 2.0.0 OK queued as 06gk2w1s8n4qz
        C: quit
        S: 221 Bye
        ",
        "
        S: 220 b
        C: ehlo [127.0.0.1]
        S: 250 b
        C: mail FROM:<usr1@mail.sustech.edu.cn>
        S: 250 OK
        C: rcpt TO:<usr@gmail.com>
        S: 550 5.7.1 not you
        C: rcpt TO:<usr2@mail.sustech.edu.cn>
        S: 250 OK
        C: data
        S: 354 go
        C: Content-Type: text/plain; charset=\"utf-8\"
        C: MIME-Version: 1.0
        C: Content-Transfer-Encoding: base64
        C: Subject: Hi
        C: From: usr1@mail.sustech.edu.cn
        C:
        C: .
        S: 250 Fine
        C: quit
        S: 221 Bye
        ",
        "S: 554 5.3.2 closed",
    ]);
    let town = Town::new(smtp.port, closed_port());
    let arguments = "send --to usr@gmail.com --to usr2@mail.sustech.edu.cn --subject Hi";
    assert_eq!(town.agent(arguments, "one\n.\n"), (0, "queued as 06gk2w1s8n4qz\n".to_owned(), String::new()));
    let refused = (1, "250 Fine\n".to_owned(), "usr@gmail.com: 550 5.7.1 not you\n".to_owned());
    assert_eq!(town.agent(arguments, ""), refused);
    assert_eq!(town.agent(arguments, ""), (1, String::new(), "error: 554 5.3.2 closed\n".to_owned()));
    smtp.finish();
    let (code, output, errors) = town.agent(arguments, b"\xff");
    let expected = "error: standard input: invalid utf-8 sequence of 1 bytes from index 0\n";
    assert_eq!((code, output.as_str(), errors.as_str()), (1, "", expected));
}

#[test]
fn fetch_prints_and_deletes() {
    let pop = Server::start(&["
        S: +OK POP3 server ready
        C: USER usr1@mail.sustech.edu.cn
        S: +OK
        C: PASS pass1
        S: +OK user successfully logged on
        C: UIDL
        S: +OK
        S: 1 aa
        S: 3 ../b
        S: .
        C: RETR 1
        S: +OK
        S: Subject: one
        S:
        S: From here
        S: ..
        S: .
        C: DELE 1
        S: +OK
        C: RETR 3
        S: +OK
        S: Subject: three
        S:
        S: .
        C: DELE 3
        S: +OK
        C: QUIT
        S: +OK
    "]);
    let town = Town::new(closed_port(), pop.port);
    let (code, output, errors) = town.agent("-p pass1 fetch", "");
    let now = jiff::Timestamp::now().as_second();
    let dates: Vec<_> = output.lines().filter_map(|line| line.strip_prefix("From MAILER-DAEMON ")).collect();
    let output = dates.iter().fold(output.clone(), |output, date| output.replace(date, "DATE"));
    let expected = "From MAILER-DAEMON DATE\nSubject: one\n\n>From here\n.\n\n\
                    From MAILER-DAEMON DATE\nSubject: three\n\n\n";
    assert_eq!((code, output.as_str(), errors.as_str()), (0, expected, ""));
    for date in dates {
        let civil = jiff::civil::DateTime::strptime("%a %b %e %H:%M:%S %Y", date).unwrap();
        let fetched = civil.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp().as_second();
        assert!((now - 60..=now).contains(&fetched), "{date}");
    }
    pop.finish();
}

#[test]
fn fetch_waits_for_a_message() {
    let empty = "
        S: +OK POP3 server ready
        C: USER usr1@mail.sustech.edu.cn
        S: +OK
        C: PASS pass1
        S: +OK user successfully logged on
        C: UIDL
        S: +OK
        S: .
        C: QUIT
        S: +OK
    ";
    let full = "
        S: +OK POP3 server ready
        C: USER usr1@mail.sustech.edu.cn
        S: +OK
        C: PASS pass1
        S: +OK user successfully logged on
        C: UIDL
        S: +OK
        S: 1 aa
        S: .
        C: RETR 1
        S: +OK
        S: Subject: one
        S: .
        C: DELE 1
        S: +OK
        C: QUIT
        S: +OK
    ";
    let pop = Server::start(vec![empty, empty, full, empty, empty].leak());
    let town = Town::new(closed_port(), pop.port);
    let (code, output, errors) = town.agent("-p pass1 fetch --wait 30", "");
    assert_eq!((code, errors.as_str()), (0, ""));
    assert!(output.ends_with("\nSubject: one\n\n"), "{output}");
    let nothing = "error: no mail for usr1@mail.sustech.edu.cn in 0 s\n".to_owned();
    assert_eq!(town.agent("-p pass1 fetch --wait 0", ""), (1, String::new(), nothing));
    assert_eq!(town.agent("-p pass1 fetch", ""), (0, String::new(), String::new()));
    pop.finish();
}

#[test]
fn fetch_keeps_into_files_octet_for_octet() {
    let pop = Server::start(&["
        S: +OK POP3 server ready
        C: USER usr1@mail.sustech.edu.cn
        S: +OK
        C: PASS pass1
        S: +OK user successfully logged on
        C: UIDL
        S: +OK
        S: 1 ../b
        S: .
        C: RETR 1
        S: +OK
        S: Subject: one
        S:
        S: ..
        S: .
        C: QUIT
        S: +OK
    "]);
    let town = Town::new(closed_port(), pop.port);
    assert_eq!(town.agent("-p pass1 fetch --keep --output mail", ""), (0, String::new(), String::new()));
    pop.finish();
    let files: Vec<_> =
        fs::read_dir(town.directory.path().join("mail")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files, [town.directory.path().join("mail").join("%2E%2E%2Fb.eml")]);
    assert_eq!(fs::read(&files[0]).unwrap(), b"Subject: one\r\n\r\n.\r\n");
}

#[test]
fn fetch_fails_with_the_servers_reply() {
    let pop = Server::start(&[
        "
        S: +OK POP3 server ready
        C: USER usr1@mail.sustech.edu.cn
        S: +OK
        C: PASS pass1
        S: -ERR [IN-USE] another session holds this maildrop
        ",
        "
        S: +OK POP3 server ready
        C: USER usr1@mail.sustech.edu.cn
        S: +OK
        C: PASS pass1
        S: +OK
        C: UIDL
        S: +OK
        S: 1 a
        S: .
        C: RETR 1
        S: -ERR [SYS/TEMP] later
        ",
    ]);
    let town = Town::new(closed_port(), pop.port);
    let failure = |reply: &str| (1, String::new(), format!("error: {reply}\n"));
    let at = format!("pop.exmail.qq.com: P localhost:{0} by fdns.toml; localhost:{0}", pop.port);
    let in_use = format!("usr1@mail.sustech.edu.cn at {at}: -ERR [IN-USE] another session holds this maildrop");
    assert_eq!(town.agent("-p pass1 fetch", ""), failure(&in_use));
    assert_eq!(town.agent("-p pass1 fetch", ""), failure("-ERR [SYS/TEMP] later"));
    assert_eq!(town.agent("fetch", ""), failure("no password; give -p PASSWORD or set MAILTOWN_PASSWORD"));
    pop.finish();
}

#[test]
fn options_may_stand_after_the_subcommand() {
    let pop = Server::start(&["
        S: +OK POP3 server ready
        C: USER usr1@mail.sustech.edu.cn
        S: +OK
        C: PASS pass1
        S: +OK
        C: UIDL
        S: +OK
        S: .
        C: QUIT
        S: +OK
    "]);
    let town = Town::new(closed_port(), pop.port);
    let run = |arguments: &str| {
        let arguments: Vec<_> = arguments.split_whitespace().collect();
        town.agent_as_given(&arguments)
    };
    let files = "--config config.toml --zone fdns.toml";
    let fetch = format!("fetch --keep -e usr1@mail.sustech.edu.cn -p pass1 {files} --hosts loopback");
    assert_eq!(run(&fetch), (0, String::new(), String::new()));
    pop.finish();
    for arguments in ["", "fetch", "send --to a@b"] {
        let (code, output, errors) = run(arguments);
        assert_eq!((code, output.as_str()), (2, ""), "{errors}");
        let expected =
            "error: who are you? give -e ADDRESS or set MAILTOWN_EMAIL\n\nUsage: agent [OPTIONS] -e <ADDRESS>";
        assert!(errors.starts_with(expected), "{errors}");
    }
}

#[test]
fn a_bad_start_is_one_line() {
    let town = Town::new(closed_port(), closed_port());
    fs::remove_file(town.directory.path().join("config.toml")).unwrap();
    let (code, output, errors) = town.agent("-p pass1", "");
    let expected = "error: config.toml: No such file or directory (os error 2); run the agent in the directory of mailtown's sources, or give --config FILE and --zone FILE\n";
    assert_eq!((code, output.as_str(), errors.as_str()), (1, "", expected));
    // Nobody needs a configuration who names both servers.
    let (code, output, _) = town.agent("-p pass1 --smtp a --pop b", "exit\n");
    assert_eq!((code, output.as_str()), (0, "[smtp|pop|exit]>>> "));

    let town = Town::new(closed_port(), closed_port());
    let (code, output, errors) = town.agent("-p pass1 -e usr@elsewhere.org", "pop\nexit\n");
    assert_eq!((code, output.as_str()), (2, ""), "the address is given once: {errors}");
}
