//! Which server answers where another server is.
#![allow(clippy::unwrap_used)]

mod support;

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{RData, Record, RecordType, rdata::NULL},
};
use std::{net::UdpSocket, thread};
use support::{Server, Town, closed_port};

const GREETING_ONLY: &[&str] = &["S: -ERR closed"];

/// Answers one query: with this text as a P record, or this code. Before that, a stray datagram is sent.
fn name_server(answer: Result<String, ResponseCode>) -> (u16, thread::JoinHandle<()>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(support::PATIENCE)).unwrap();
    let port = socket.local_addr().unwrap().port();
    let serving = thread::spawn(move || {
        let mut datagram = [0; 512];
        let (length, peer) = socket.recv_from(&mut datagram).unwrap();
        let query = Message::from_vec(&datagram[..length]).unwrap();
        assert_eq!(query.queries[0].name().to_ascii(), "pop.exmail.qq.com.");
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

fn pop(town: &Town, name_server: u16) -> String {
    let (code, output, errors) = town.agent(&format!("-p pass1 --dns 127.0.0.1:{name_server}"), "pop\nexit\n");
    assert_eq!((code, errors.as_str()), (0, ""));
    output.strip_prefix("[smtp|pop|exit]>>> ").unwrap().strip_suffix("\n[smtp|pop|exit]>>> ").unwrap().to_owned()
}

#[test]
fn the_answer_of_a_name_server_counts() {
    // The zone file would lead elsewhere.
    let town = Town::new(closed_port(), closed_port());
    let address = format!("127.0.0.1:{}", closed_port());
    let (port, serving) = name_server(Ok(address.clone()));
    let expected = format!("cannot reach pop.exmail.qq.com at {address}: Connection refused (os error 111)");
    assert_eq!(pop(&town, port), expected);
    serving.join().unwrap();

    let (port, serving) = name_server(Err(ResponseCode::NXDomain));
    assert_eq!(pop(&town, port), "no such name: pop.exmail.qq.com; add a P record to the zone file");
    serving.join().unwrap();
}

#[test]
fn without_an_answer_the_zone_file_is_read() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    for port in [closed_port(), silent.local_addr().unwrap().port()] {
        let server = Server::start(GREETING_ONLY);
        assert_eq!(pop(&Town::new(closed_port(), server.port), port), "-ERR closed");
        server.finish();
    }
    for useless in [Err(ResponseCode::ServFail), Ok("no port".to_owned())] {
        let server = Server::start(GREETING_ONLY);
        let (port, serving) = name_server(useless);
        assert_eq!(pop(&Town::new(closed_port(), server.port), port), "-ERR closed");
        serving.join().unwrap();
        server.finish();
    }
}
