//! What goes wrong on purpose in a client's dialogue.

use super::{Broken, Client, Connection, End, stream_limits};
use crate::gateway::Gateway;
use faults::{Action, Cut, Outcome, Point, ShapedIo};
use mail_net::{Hop, LineStream};
use records::Recording;

impl Client {
    /// Begins the connection while there are faults. Returns the client if its dialogue is to begin.
    pub(super) async fn begin(mut self, gateway: &Gateway, recording: &Recording) -> Option<Self> {
        let (io, shaping) = ShapedIo::wrap(self.io, gateway.clock.io);
        self.io = io;
        self.shaping = Some(shaping.clone());
        let point = Point { client: Some(self.peer.ip()), ..Point::connect(Hop::ClientToPop3) };
        let Some(outcome) = gateway.faults.at(&point) else { return Some(self) };
        recording.fault(&gateway.faults, &outcome);
        shaping.add(outcome.shape);
        gateway.pause(outcome.delay).await;
        if outcome.action.is_some() {
            recording.breaks(format_args!("the fault {}", outcome.names()));
        }
        let is_readable = !self.port.begins_with_tls();
        let stream = |client: Self| {
            let limits = stream_limits(&gateway.stack.current().limits);
            let stream = LineStream::new(client.io, limits, gateway.clock.clone()).with_place(client.place);
            stream.with_taps(recording.taps())
        };
        match outcome.action {
            None | Some(Action::Dns(_) | Action::Status(_)) => return Some(self),
            Some(Action::Reply(text)) if is_readable => say(stream(self), &format!("{text}\r\n")).await,
            Some(Action::Corrupt(octets)) if is_readable => say(stream(self), &octets).await,
            Some(Action::Stall) => {
                let mut stream = stream(self);
                gateway.shutdown.run_until_cancelled(be_silent(&mut stream)).await;
            }
            Some(Action::Reply(_) | Action::Corrupt(_) | Action::Cut(_) | Action::Refuse) => {}
        }
        None
    }
}

impl Connection<'_> {
    /// What goes wrong at this command.
    pub(super) fn fault_at(&self, line: &[u8]) -> Option<Box<Outcome>> {
        if self.session.expects_response() {
            return None;
        }
        let faults = &self.gateway.faults;
        let (verb, client) = (verb(line), Some(self.peer.ip()));
        let verbs = [verb.as_str()];
        let is_shapable = self.shaping.is_some();
        let point = Point { client, is_shapable, ..Point::of(Hop::ClientToPop3, &verbs) };
        let outcome = faults.at(&point)?;
        self.recording.fault(faults, &outcome);
        Some(outcome)
    }

    /// Takes a command at which something goes wrong.
    pub(super) async fn go_wrong(&mut self, outcome: Outcome, line: &[u8]) -> Result<Option<End>, Broken> {
        if let Some(shaping) = &self.shaping {
            shaping.add(outcome.shape);
        }
        // What was said before neither waits nor is lost with it.
        self.stream.flush().await?;
        self.gateway.pause(outcome.delay).await;
        // What goes on after its first reply is not begun.
        let goes_on = matches!(verb(line).as_str(), "AUTH" | "STLS");
        match outcome.action {
            None | Some(Action::Dns(_) | Action::Status(_)) => return self.obey(line).await,
            Some(Action::Reply(text)) => {
                self.stream.push(text.as_bytes());
                self.stream.push(b"\r\n".as_slice());
                return Ok(None);
            }
            Some(Action::Corrupt(octets)) => {
                self.stream.push(octets.as_bytes());
                return Ok(None);
            }
            Some(Action::Stall) => {
                let shutdown = self.gateway.shutdown.clone();
                shutdown.run_until_cancelled(be_silent(&mut self.stream)).await;
            }
            Some(Action::Cut(Cut::AfterReply)) => {
                self.obey(line).await?;
                self.stream.flush().await?;
            }
            Some(Action::Cut(Cut::BeforeReply)) if !goes_on => drop(self.obey(line).await?),
            Some(Action::Cut(_) | Action::Refuse) => {}
        }
        Ok(Some(End::Fault))
    }

    async fn obey(&mut self, line: &[u8]) -> Result<Option<End>, Broken> {
        let step = self.session.line(Ok(line));
        self.perform(step).await
    }
}

async fn say(mut stream: LineStream, octets: &str) {
    stream.push(octets.as_bytes());
    stream.close().await;
}

/// Says nothing until the client goes, or was silent for too long.
async fn be_silent(stream: &mut LineStream) {
    let deadline = stream.deadline();
    while stream.line(deadline).await.is_ok() {}
}

/// The verb of a command in upper case.
fn verb(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    text.split_whitespace().next().unwrap_or_default().to_ascii_uppercase()
}
