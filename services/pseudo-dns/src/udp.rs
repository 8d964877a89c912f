//! DNS over UDP (RFC 1035 §4.2.1).

use crate::{Answering, metrics::Transport};
use ::records::{Opening, Recording};
use internal_api::{Protocol, Role};
use mail_net::{Direction, Kind};
use service_kit::{shutdown::CancellationToken, telemetry};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::UdpSocket, sync::Semaphore};

/// More octets of a query are not read. It is cut then, and refused.
const MOST_OCTETS: usize = 4096;
/// How long nothing is received after that has failed.
const PAUSE: Duration = Duration::from_millis(50);
/// How many queries may wait at once because of faults.
const WAITING: usize = 1_000;

/// Answers queries until `shutdown`.
pub(crate) async fn serve(socket: UdpSocket, answering: &Answering, shutdown: CancellationToken) {
    let local = socket.local_addr().ok();
    let (socket, waiting) = (Arc::new(socket), Arc::new(Semaphore::new(WAITING)));
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
        if !answering.faults.is_on() {
            answer(&socket, answering, (query, peer), &recording).await;
        } else if let Ok(place) = Arc::clone(&waiting).try_acquire_owned() {
            // One that waits keeps no other from its answer.
            let (socket, answering, query, stop) =
                (Arc::clone(&socket), answering.clone(), query.to_vec(), shutdown.clone());
            telemetry::spawn(async move {
                stop.run_until_cancelled(answer(&socket, &answering, (&query, peer), &recording)).await;
                drop(place);
            });
        }
    }
}

/// Answers one query.
async fn answer(socket: &UdpSocket, answering: &Answering, (query, peer): (&[u8], SocketAddr), recording: &Recording) {
    let Some(response) = answering.respond(query, Transport::udp, (peer.ip(), recording)).await else {
        return recording.breaks("it gets no answer");
    };
    match socket.send_to(&response, peer).await {
        Ok(_) => {
            recording.octets(Direction::Sent, Kind::Body, &response);
            recording.ends("answered");
        }
        Err(error) => {
            tracing::debug!(%error, %peer, "a response could not be sent");
            recording.breaks(error);
        }
    }
}
