//! One question and its answer over UDP or TCP.

use hickory_proto::op::{Edns, Message, MessageType, Query};
use mail_net::IoClock;
use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
};

/// How long to wait for a datagram: a name server on this machine answers in less than a millisecond.
const UDP_TIMEOUT: Duration = Duration::from_secs(1);
/// How long connecting, asking and answering over TCP may take together.
const TCP_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest response that is asked for: more would be fragmented (DNS flag day 2020).
const UDP_OCTETS: u16 = 1232;

/// A query with an id of its own.
pub(crate) fn question(query: Query) -> Message {
    let mut message = Message::query();
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_OCTETS);
    message.set_edns(edns);
    message.add_query(query);
    message
}

/// The answer over UDP. The query is sent again when there is none.
pub(crate) async fn over_udp(server: SocketAddr, query: &Message, tries: u32, io: IoClock) -> io::Result<Message> {
    let any = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // Connected, so that only the server's datagrams arrive, and a closed port is told at once.
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    socket.connect(server).await?;
    let octets = query.to_vec().map_err(io::Error::other)?;
    for _ in 0..tries {
        socket.send(&octets).await?;
        if let Ok(answer) = io.timeout(UDP_TIMEOUT, receive(&socket, query)).await {
            return answer;
        }
    }
    Err(silent(UDP_TIMEOUT * tries))
}

/// Waits for the answer, whatever else arrives.
async fn receive(socket: &UdpSocket, query: &Message) -> io::Result<Message> {
    let mut datagram = [0; 4096];
    loop {
        let octets = socket.recv(&mut datagram).await?;
        if let Some(answer) = read(&datagram[..octets], query) {
            return Ok(answer);
        }
    }
}

/// The answer over TCP (RFC 1035 §4.2.2).
pub(crate) async fn over_tcp(server: SocketAddr, query: &Message, io: IoClock) -> io::Result<Message> {
    let octets = query.to_vec().map_err(io::Error::other)?;
    let length = u16::try_from(octets.len()).map_err(io::Error::other)?;
    let asking = async {
        let mut stream = TcpStream::connect(server).await?;
        stream.write_all(&[&length.to_be_bytes(), &octets[..]].concat()).await?;
        let mut answer = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut answer).await?;
        read(&answer, query).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "another question was answered"))
    };
    io.timeout(TCP_TIMEOUT, asking).await.unwrap_or_else(|_| Err(silent(TCP_TIMEOUT)))
}

/// `None` when this does not answer the query. A server that does not understand the query does not repeat its question.
fn read(octets: &[u8], query: &Message) -> Option<Message> {
    let answer = Message::from_vec(octets).ok()?;
    let is_answer = answer.metadata.message_type == MessageType::Response
        && answer.metadata.id == query.metadata.id
        && (answer.queries == query.queries || answer.queries.is_empty());
    is_answer.then_some(answer)
}

fn silent(patience: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no answer for {} s", patience.as_secs()))
}
