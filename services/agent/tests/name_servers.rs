//! Which server answers where another server is.
#![allow(clippy::unwrap_used)]

mod support;

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{RData, Record, RecordType, rdata::NULL},
};
use std::{
    fs,
    io::ErrorKind,
    net::{TcpListener, UdpSocket},
    thread,
};
use support::{Server, Town, closed_port};

const GREETING_ONLY: &[&str] = &["S: -ERR closed"];

/// Answers one query: with this text as a P record, or this code. Before that, a stray datagram is sent.
fn name_server(answer: Result<String, ResponseCode>) -> (u16, thread::JoinHandle<()>) {
    name_server_of("pop.exmail.qq.com.", answer)
}

fn name_server_of(name: &'static str, answer: Result<String, ResponseCode>) -> (u16, thread::JoinHandle<()>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(support::PATIENCE)).unwrap();
    let port = socket.local_addr().unwrap().port();
    let serving = thread::spawn(move || {
        let mut datagram = [0; 512];
        let (length, peer) = socket.recv_from(&mut datagram).unwrap();
        let query = Message::from_vec(&datagram[..length]).unwrap();
        assert_eq!(query.queries[0].name().to_ascii(), name);
        assert_eq!(query.queries[0].query_type(), RecordType::from(65280));
        socket.send_to(b"stray", peer).unwrap();
        let mut response = query.into_response();
        match answer {
            Ok(text) => {
                let rdata = NULL::with([&[text.len() as u8], text.as_bytes()].concat());
                let data = RData::Unknown { code: RecordType::from(65280), rdata };
                response.add_answer(Record::from_rdata(response.queries[0].name().clone(), 5, data));
            }
            Err(code) => response.metadata.response_code = code,
        }
        socket.send_to(&response.to_vec().unwrap(), peer).unwrap();
    });
    (port, serving)
}

/// What the agent prints for `pop` on standard output and on standard error.
fn pop(town: &Town, arguments: &str) -> (String, String) {
    let (code, output, errors) = town.agent(&format!("-p pass1 {arguments}"), "pop\nexit\n");
    assert_eq!(code, 0);
    let output = output.strip_prefix("[smtp|pop|exit]>>> ").unwrap().strip_suffix("\n[smtp|pop|exit]>>> ").unwrap();
    (output.to_owned(), errors)
}

#[test]
fn the_answer_of_a_name_server_counts() {
    // The zone file would lead elsewhere.
    let town = Town::new(closed_port(), closed_port());
    let address = format!("127.0.0.1:{}", closed_port());
    let (port, serving) = name_server(Ok(address.clone()));
    let refused = "Connection refused (os error 111); is the town running?";
    let expected = format!("pop.exmail.qq.com: P {address} by pseudo-dns 127.0.0.1:{port}; {address}: {refused}");
    assert_eq!(pop(&town, &format!("--dns 127.0.0.1:{port}")), (expected, String::new()));
    serving.join().unwrap();

    let (port, serving) = name_server(Err(ResponseCode::NXDomain));
    let expected =
        format!("no such name: pop.exmail.qq.com, says pseudo-dns 127.0.0.1:{port}; add a P record to the zone file");
    assert_eq!(pop(&town, &format!("--dns 127.0.0.1:{port}")), (expected, String::new()));
    serving.join().unwrap();
}

#[test]
fn the_next_name_server_is_asked() {
    let town = Town::new(closed_port(), closed_port());
    let server = Server::start(GREETING_ONLY);
    let (port, serving) = name_server(Ok(format!("127.0.0.1:{}", server.port)));
    let gone = closed_port();
    let arguments = format!("--dns no-such-host.invalid:53,127.0.0.1:{gone} --dns 127.0.0.1:{port}");
    assert_eq!(pop(&town, &arguments), ("-ERR closed".to_owned(), String::new()));
    serving.join().unwrap();
    server.finish();
}

#[test]
fn a_port_alone_is_on_the_host_of_the_name() {
    let town = Town::new(closed_port(), closed_port());
    for (hosts, host) in [("names", "pop.invalid"), ("loopback", "127.0.0.1")] {
        let (port, serving) = name_server_of("pop.invalid.", Ok("9".to_owned()));
        let arguments = format!("--pop pop.invalid --hosts {hosts} --dns 127.0.0.1:{port}");
        let (output, _) = pop(&town, &arguments);
        let expected = format!("pop.invalid: P 9 by pseudo-dns 127.0.0.1:{port}; {host}:9: ");
        assert!(output.starts_with(&expected), "{output}");
        assert_eq!(output.contains("no such host"), hosts == "names", "{output}");
        serving.join().unwrap();
    }
}

#[test]
fn without_an_answer_the_zone_file_is_read_and_that_is_said() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let silent_port = silent.local_addr().unwrap().port();
    for (port, why) in [(closed_port(), "Connection refused (os error 111)"), (silent_port, "no answer for 1 s")] {
        let server = Server::start(GREETING_ONLY);
        let why = format!("127.0.0.1:{port} ({why})");
        assert_falls_back(server, port, &why);
    }
    for useless in [Err(ResponseCode::ServFail), Ok("no port".to_owned())] {
        let server = Server::start(GREETING_ONLY);
        let (port, serving) = name_server(useless);
        assert_falls_back(server, port, &format!("127.0.0.1:{port} (cannot tell)"));
        serving.join().unwrap();
    }
}

#[test]
fn without_any_file_the_built_in_ones_are_used() {
    let town = Town::new(closed_port(), closed_port());
    for file in ["config.toml", "fdns.toml"] {
        fs::remove_file(town.directory.path().join(file)).unwrap();
    }
    let (code, output, errors) = town.agent_without_files(&["-p", "pass1", "--pop", "no.such.name"], "pop\nexit\n");
    let expected = "[smtp|pop|exit]>>> no such name: no.such.name, says the built-in zone; add a P record to the zone file\n\
                    [smtp|pop|exit]>>> ";
    assert_eq!((code, output.as_str()), (0, expected));
    // Whether a town of the built-in ports runs here is not known.
    let fell_back = "; no.such.name is looked up in the built-in zone\n";
    assert!(
        errors.is_empty() || errors.starts_with("no pseudo-dns answers at ") && errors.ends_with(fell_back),
        "{errors}"
    );
}

/// The mail of another town would be fetched and deleted.
#[test]
fn a_town_that_an_option_names_is_that_or_none() {
    // Nobody may connect to the server of the zone file.
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    other.set_nonblocking(true).unwrap();
    let town = Town::new(closed_port(), other.local_addr().unwrap().port());
    let gone = closed_port();
    let ports = format!(r#"{{"exmail.qq.com": {{"dns": {{"host": "127.0.0.1", "port": {gone}}}}}}}"#);
    fs::write(town.directory.path().join("ports.json"), ports).unwrap();
    fs::write(town.directory.path().join("empty.json"), "{}").unwrap();
    let refused = format!("127.0.0.1:{gone} (Connection refused (os error 111))");
    let is_gone = format!("error: no pseudo-dns answers at {refused}: is that town running?\n");
    let nobody = "error: empty.json: no pseudo-dns is in it; give --dns HOST:PORT\n";
    for (option, variable, value, expected) in [
        ("--dns", "MAILTOWN_DNS_SERVERS", format!("127.0.0.1:{gone}"), is_gone.as_str()),
        ("--ports-file", "MAILTOWN_PORTS_FILE", "ports.json".to_owned(), &is_gone),
        ("--ports-file", "MAILTOWN_PORTS_FILE", "empty.json".to_owned(), nobody),
    ] {
        let expected = (1, String::new(), expected.to_owned());
        assert_eq!(town.agent(&format!("-p pass1 {option} {value} fetch"), ""), expected);
        assert_eq!(town.agent_in(&[(variable, &value)], "-p pass1 fetch", ""), expected);
        assert_eq!(town.agent(&format!("-p pass1 {option} {value} send --to a@b.test"), "Hello\n"), expected);
    }
    let (port, serving) = name_server(Err(ResponseCode::ServFail));
    let expected = format!("error: no pseudo-dns answers at 127.0.0.1:{port} (cannot tell): is that town running?\n");
    assert_eq!(town.agent(&format!("-p pass1 --dns 127.0.0.1:{port} fetch"), ""), (1, String::new(), expected));
    serving.join().unwrap();
    assert_eq!(other.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

fn assert_falls_back(server: Server, name_server: u16, why: &str) {
    let (output, errors) = pop(&Town::new(closed_port(), server.port).with_dns(name_server), "");
    assert_eq!(output, "-ERR closed");
    let expected = format!("no pseudo-dns answers at {why}; pop.exmail.qq.com is looked up in fdns.toml\n");
    assert_eq!(errors, expected);
    server.finish();
}
