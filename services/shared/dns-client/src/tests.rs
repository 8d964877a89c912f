//! Against a name server that follows a script.
#![allow(clippy::unwrap_used)]

use super::*;
use hickory_proto::rr::{
    Record,
    rdata::{A, MX, NULL},
};
use mail_net::Clock;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
};

/// Both sockets of a name server on one port.
async fn sockets() -> (UdpSocket, TcpListener, NameServer) {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        if let Ok(udp) = UdpSocket::bind(address).await {
            return (udp, tcp, NameServer::new(address.to_string(), 2, Clock::system().io));
        }
    }
}

async fn received(socket: &UdpSocket) -> (Message, SocketAddr) {
    let mut datagram = [0; 4096];
    let (length, peer) = socket.recv_from(&mut datagram).await.unwrap();
    (Message::from_vec(&datagram[..length]).unwrap(), peer)
}

async fn send(socket: &UdpSocket, peer: SocketAddr, message: &Message) {
    socket.send_to(&message.to_vec().unwrap(), peer).await.unwrap();
}

fn response(query: Message, code: ResponseCode, data: &[RData]) -> Message {
    let mut response = query.into_response();
    response.metadata.response_code = code;
    let name = response.queries[0].name().clone();
    response.add_answers(data.iter().map(|data| Record::from_rdata(name.clone(), 5, data.clone())));
    response
}

fn mx(preference: u16, exchange: &str) -> RData {
    RData::MX(MX::new(preference, Name::from_ascii(exchange).unwrap()))
}

fn p(rdata: &[u8]) -> RData {
    RData::Unknown { code: RecordType::from(P_RECORD_TYPE), rdata: NULL::with(rdata.to_vec()) }
}

/// Has a server answer one question with `code` and `data`.
async fn answered<T>(code: ResponseCode, data: &[RData], ask: impl AsyncFn(&NameServer) -> T) -> T {
    let (udp, _tcp, server) = sockets().await;
    let answering = async {
        let (query, peer) = received(&udp).await;
        send(&udp, peer, &response(query, code, data)).await;
    };
    tokio::join!(ask(&server), answering).0
}

fn text<T: std::fmt::Debug>(outcome: Result<Lookup<T>, LookupError>) -> String {
    match outcome {
        Ok(lookup) => format!("{lookup:?}"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn answers_are_told_apart() {
    let other = RData::A(A(Ipv4Addr::new(192, 0, 2, 1)));
    let mail = [mx(20, "b."), mx(5, "A.Example."), other.clone()];
    let table: [(ResponseCode, &[RData], &str, &str, &str); 6] = [
        (ResponseCode::NoError, &mail, "Found(5 a.example., 20 b.)", "NoRecords", "Found(192.0.2.1)"),
        (ResponseCode::NoError, &[mx(0, ".")], "Found(0 .)", "NoRecords", "NoRecords"),
        (ResponseCode::NoError, &[p(b"\x0225")], "NoRecords", "Found(25)", "NoRecords"),
        (
            ResponseCode::NoError,
            &[p(b"\x05nope!")],
            "NoRecords",
            "the answer of the name server is malformed",
            "NoRecords",
        ),
        (ResponseCode::NXDomain, &[], "NameUnknown", "NameUnknown", "NameUnknown"),
        (
            ResponseCode::ServFail,
            &[],
            "the name server said: Server Failure",
            "the name server said: Server Failure",
            "the name server said: Server Failure",
        ),
    ];
    for (code, data, exchanges, port, address) in table {
        let found = answered(code, data, async |server| server.mail_exchanges("x.example").await).await;
        let found = text(found.map(|found| {
            found.map(|exchanges| {
                let exchange = |exchange: &MailExchange| format!("{} {}", exchange.preference, exchange.exchange);
                exchanges.iter().map(exchange).collect::<Vec<_>>().join(", ")
            })
        }));
        assert_eq!(found.replace('"', ""), exchanges, "{code} {data:?}");
        let found = answered(code, data, async |server| server.port("x.example.").await).await;
        let found = text(found.map(|found| found.map(|port| port.to_string())));
        assert_eq!(found.replace('"', ""), port, "{code} {data:?}");
        let found = answered(code, data, async |server| server.address("x.example").await).await;
        assert_eq!(text(found), address, "{code} {data:?}");
    }
}

#[tokio::test]
async fn what_does_not_fit_is_asked_over_tcp() {
    let (udp, tcp, server) = sockets().await;
    let answering = async {
        let (query, peer) = received(&udp).await;
        let mut truncated = query.into_response();
        truncated.metadata.truncation = true;
        send(&udp, peer, &truncated).await;
        let (mut stream, _) = tcp.accept().await.unwrap();
        let mut query = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut query).await.unwrap();
        let whole = response(Message::from_vec(&query).unwrap(), ResponseCode::NoError, &[mx(1, "a.")]);
        let octets = whole.to_vec().unwrap();
        stream.write_u16(octets.len() as u16).await.unwrap();
        stream.write_all(&octets).await.unwrap();
    };
    let (found, ()) = tokio::join!(server.mail_exchanges("x.example"), answering);
    assert_eq!(found.unwrap().found().unwrap().len(), 1);
}

#[tokio::test]
async fn only_the_answer_counts_and_a_lost_query_is_sent_again() {
    let (udp, _tcp, server) = sockets().await;
    let answering = async {
        received(&udp).await;
        let (query, peer) = received(&udp).await;
        udp.send_to(b"stray", peer).await.unwrap();
        send(&udp, peer, &query).await;
        let mut foreign = response(query.clone(), ResponseCode::NXDomain, &[]);
        foreign.metadata.id = !query.metadata.id;
        send(&udp, peer, &foreign).await;
        let mut other = response(query.clone(), ResponseCode::NXDomain, &[]);
        other.queries[0].set_name(Name::from_ascii("other.example.").unwrap());
        send(&udp, peer, &other).await;
        send(&udp, peer, &response(query, ResponseCode::NoError, &[p(b"\x0225")])).await;
    };
    let (found, ()) = tokio::join!(server.port("x.example"), answering);
    assert_eq!(found.unwrap(), Lookup::Found("25".parse().unwrap()));
}

#[tokio::test]
async fn without_an_answer_it_ends_soon() {
    let (_udp, _tcp, silent) = sockets().await;
    assert_eq!(text(silent.port("x.example").await), "no answer for 2 s");
    let (udp, tcp, closed) = sockets().await;
    drop((udp, tcp));
    assert_eq!(text(closed.port("x.example").await), "Connection refused (os error 111)");
    for name in ["a..b", &"a".repeat(64)] {
        assert_eq!(text(closed.port(name).await), format!("{name:?} is no domain name"));
    }
}
