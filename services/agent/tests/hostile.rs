//! Servers that never end what they say: the agent gives up, and its memory stays small.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread::{self, JoinHandle},
};
use support::{PATIENCE, Town, closed_port};

/// What a hostile server may make of the agent's memory.
const MOST_RESIDENT_KIB: u64 = 64 * 1024;

/// Plays `script` (a line of the client's, then what the server says) and then sends `flood` until the client is gone.
fn flooding(script: &'static [&'static str], flood: Vec<u8>) -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        greet(&mut stream, script);
        let flood = flood.repeat(1 + 65_536 / flood.len());
        while stream.write_all(&flood).is_ok() {}
    });
    (port, serving)
}

fn greet(stream: &mut TcpStream, script: &[&str]) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    for (index, reply) in script.iter().enumerate() {
        if index > 0 {
            reader.read_line(&mut String::new()).unwrap();
        }
        stream.write_all(reply.as_bytes()).unwrap();
    }
}

/// Runs the dialogue; returns the end of its output, and the most memory that it had.
fn run(town: &Town, input: &str) -> (String, u64) {
    let mut agent = Command::new(env!("CARGO_BIN_EXE_agent"))
        .args(["-e", "usr1@mail.sustech.edu.cn", "-p", "pass1", "--config", "config.toml", "--zone", "fdns.toml"])
        .current_dir(town.directory.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // The input stays open: the agent then waits for more, and its peak can be read.
    let mut stdin = agent.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    let mut stdout = BufReader::new(agent.stdout.take().unwrap());
    let mut output = Vec::new();
    let end = b"[smtp|pop|exit]>>> ";
    let mut prompts = 0;
    // The first prompt is there from the start, the second one once the flood was given up.
    while prompts < 2 && stdout.read_until(b' ', &mut output).unwrap() > 0 {
        prompts += usize::from(output.ends_with(end));
        if output.len() > 4096 && prompts < 2 {
            output.drain(..output.len() - 2048);
        }
    }
    let resident = peak_resident_kib(&agent);
    drop(stdin);
    agent.wait().unwrap();
    (String::from_utf8_lossy(&output).into_owned(), resident)
}

fn peak_resident_kib(agent: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

const GREETING: &str = "+OK\r\n";
const LOGGED_IN: &[&str] = &[GREETING, GREETING, GREETING];

#[test]
fn a_pop3_server_that_never_ends() {
    let xs = vec![b'x'; 1000];
    let line = b"1 195\r\n".to_vec();
    // What was said before the flood, what is asked, the flood, and what the agent says.
    type Row = (&'static [&'static str], &'static str, Vec<u8>, &'static str);
    let table: [Row; 7] = [
        (&[""], "", xs.clone(), "line too long"),
        (&[GREETING, GREETING, "+OK "], "", xs.clone(), "line too long"),
        (LOGGED_IN, "stat\n", xs.clone(), "line too long"),
        (&[GREETING, GREETING, GREETING, GREETING], "list\n", line.clone(), "more than 1000000 lines"),
        (&[GREETING, GREETING, GREETING, GREETING], "uidl\n", xs.clone(), "a line of more than 1048576 octets"),
        (&[GREETING, GREETING, GREETING, GREETING], "retr 1\n", xs, "a line of more than 1048576 octets"),
        (&[GREETING, GREETING, GREETING, GREETING], "capa\n", b"x\ny".to_vec(), "a line of more than 1048576 octets"),
    ];
    for (script, asked, flood, said) in table {
        let (port, serving) = flooding(script, flood);
        let (output, resident) = run(&Town::new(closed_port(), port), &format!("pop\n{asked}"));
        assert!(output.contains(said), "{asked}: {output}");
        assert!(resident < MOST_RESIDENT_KIB, "{asked}: {resident} KiB");
        serving.join().unwrap();
    }
}

#[test]
fn an_smtp_server_that_never_ends() {
    // What was said before the flood, the flood, and what the agent says.
    type Row = (&'static [&'static str], &'static [u8], &'static str);
    let table: [Row; 4] = [
        (&[""], b"220-x\r\n", "an SMTP reply without end"),
        (&["220"], b"xxxxxxxxxxxx", "line too long"),
        (&["220 b\r\n"], b"250-x\r\n", "an SMTP reply without end"),
        (&["220 b\r\n", "250 b\r\n"], b"250-x\r\n", "an SMTP reply without end"),
    ];
    for (script, flood, said) in table {
        let (port, serving) = flooding(script, flood.to_vec());
        let town = Town::new(port, closed_port());
        let (output, resident) = run(&town, "smtp\nusr@gmail.com\n\nTest\nx\n");
        assert!(output.contains(said), "{}: {output}", flood.escape_ascii());
        assert!(resident < MOST_RESIDENT_KIB, "{resident} KiB");
        serving.join().unwrap();
    }
}

#[test]
fn a_listing_without_end_is_not_fetched() {
    let (port, serving) = flooding(&[GREETING, GREETING, GREETING, GREETING], b"1 a\r\n".to_vec());
    let (code, output, errors) = Town::new(closed_port(), port).agent("-p pass1 fetch", "");
    let expected = "error: the server lists more than 1000000 lines\n";
    assert_eq!((code, output.as_str(), errors.as_str()), (1, "", expected));
    serving.join().unwrap();
}

/// A message may be larger than what the agent keeps in memory.
#[test]
fn a_large_message_is_fetched_as_it_comes() {
    const MESSAGE_OCTETS: u64 = 200_000_000;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        greet(&mut stream, &[GREETING, GREETING, GREETING, "+OK\r\n1 a\r\n.\r\n", GREETING]);
        let line = b"x".repeat(998);
        let piece = [&line, &b"\r\n"[..]].concat().repeat(100);
        for _ in 0..MESSAGE_OCTETS / piece.len() as u64 {
            stream.write_all(&piece).unwrap();
        }
        stream.write_all(b".\r\n").unwrap();
        greet(&mut stream, &["", GREETING]);
        // The agent's peak stays readable while it waits for this reply.
        let mut quit = String::new();
        BufReader::new(stream.try_clone().unwrap()).read_line(&mut quit).unwrap();
        assert_eq!(quit, "QUIT\r\n");
        stream
    });
    let town = Town::new(closed_port(), port);
    let agent = Command::new(env!("CARGO_BIN_EXE_agent"))
        .args(["-e", "usr1@mail.sustech.edu.cn", "-p", "pass1", "--config", "config.toml", "--zone", "fdns.toml"])
        .args(["fetch", "--output", "mail"])
        .current_dir(town.directory.path())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut stream = serving.join().unwrap();
    let resident = peak_resident_kib(&agent);
    stream.write_all(b"+OK\r\n").unwrap();
    assert!(agent.wait_with_output().unwrap().status.success());
    assert!(resident < MOST_RESIDENT_KIB, "{resident} KiB");
    let file = fs::metadata(town.directory.path().join("mail").join("a.eml")).unwrap();
    assert_eq!(file.len(), MESSAGE_OCTETS);
}
