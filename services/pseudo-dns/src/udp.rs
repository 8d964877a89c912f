//! DNS over UDP (RFC 1035 §4.2.1).

use crate::{Answering, metrics::Transport};
use ::records::Opening;
use internal_api::{Protocol, Role};
use mail_net::{Direction, Kind};
use service_kit::shutdown::CancellationToken;
use std::time::Duration;
use tokio::net::UdpSocket;

/// More octets of a query are not read. It is cut then, and refused.
const MOST_OCTETS: usize = 4096;
/// How long nothing is received after that has failed.
const PAUSE: Duration = Duration::from_millis(50);

/// Answers queries until `shutdown`.
pub(crate) async fn serve(socket: UdpSocket, answering: &Answering, shutdown: CancellationToken) {
    let local = socket.local_addr().ok();
    let mut datagram = vec![0; MOST_OCTETS];
    while let Some(received) = shutdown.run_until_cancelled(socket.recv_from(&mut datagram)).await {
        let (octets, peer) = match received {
            Ok(received) => received,
            Err(error) => {
                facts::DnsReceiveFailed { error }.log();
                answering.io.sleep(PAUSE).await;
                continue;
            }
        };
        let (role, protocol) = (Role::Server, Protocol::DnsUdp);
        let recording = answering.recorder.open(Opening { role, protocol, local, remote: Some(peer) });
        let query = &datagram[..octets];
        recording.octets(Direction::Received, Kind::Body, query);
        let Some(response) = answering.responder.respond(query, Transport::udp) else {
            recording.ends("no query");
            continue;
        };
        match socket.send_to(&response, peer).await {
            Ok(_) => {
                recording.octets(Direction::Sent, Kind::Body, &response);
                recording.ends("answered");
            }
            Err(error) => {
                tracing::debug!(%error, %peer, "a response could not be sent");
                recording.ends(error);
            }
        }
    }
}
