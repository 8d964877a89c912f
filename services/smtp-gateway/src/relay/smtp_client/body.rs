//! The octets of a message on their way to an exchange: through dots after DATA, or as they are after BDAT (RFC 3030).

use super::{BUFFER_OCTETS, Connection};
use crate::relay::{
    broken::Broken,
    forwarded::{self, Beginning},
    slots::{DomainSlot, Interruption, Stage},
};
use internal_api::RawMessage;
use mail_net::Kind;
use mail_proto::{dot::DotEncoder, smtp::Reply, smtp::client::AnswerReader};
use std::{io, time::Duration};

/// A message as the store has it.
#[derive(Debug)]
pub(super) struct Body<'m> {
    pub(super) raw: RawMessage,
    pub(super) octets: u64,
    /// What goes before it.
    pub(super) trace: Option<&'m str>,
}

/// How the exchange finds the end of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// By a line with a dot.
    Dots,
    /// By the number of octets, which goes before them.
    Octets,
}

impl Connection {
    /// The whole message and its end; without the end when the store fails us on the way, so that the exchange cannot take
    /// a part for the whole.
    pub(super) async fn send_body(
        &mut self,
        slot: &DomainSlot,
        framing: Framing,
        Body { mut raw, octets, trace }: Body<'_>,
    ) -> Result<(), Broken> {
        let (mut next, added) = match trace {
            Some(trace) => {
                let Beginning { octets, added } = forwarded::beginning(trace, &mut raw).await?;
                (Some(octets), added)
            }
            None => (raw.chunk().await?, 0),
        };
        let mut dots = DotEncoder::default();
        let mut left = (framing == Framing::Octets).then_some(octets + added);
        if let Some(octets) = left {
            let command = self.client.last_chunk(octets);
            self.stream.push(&command[..]);
        }
        while let Some(chunk) = next {
            // A chunk is as large as the store pleases; the wire gets it in bounded pieces.
            for piece in chunk.chunks(BUFFER_OCTETS) {
                match &mut left {
                    Some(left) => {
                        *left = left.checked_sub(piece.len() as u64).ok_or_else(another_length)?;
                        self.stream.write(Kind::Body, |output| output.extend_from_slice(piece));
                    }
                    None => self.stream.write(Kind::Body, |output| dots.encode(piece, output)),
                }
                // The last octet is what a final dot is.
                if left != Some(0) {
                    slot.wait(Stage::BeforeDot, self.stream.flush_if_full()).await?.map_err(io::Error::from)?;
                }
            }
            next = raw.chunk().await?;
        }
        if left.is_some_and(|left| left > 0) {
            return Err(another_length().into());
        }
        if slot.is_stopping() {
            return Err(Interruption::Shutdown.into());
        }
        if left.is_none() {
            self.stream.write(Kind::Body, |output| dots.finish(output));
        }
        slot.wait(Stage::AfterDot, self.stream.flush()).await?.map_err(io::Error::from)?;
        Ok(())
    }

    /// The reply to a message, however its lines end, and if the connection does. A reply that is not understood would
    /// have the message sent again.
    pub(super) async fn answer(&mut self) -> io::Result<Reply> {
        if self.faulted.is_on() {
            return Box::pin(self.reply_or_fault(self.patience.final_dot)).await;
        }
        self.unspoilt_answer(self.patience.final_dot).await
    }

    pub(super) async fn unspoilt_answer(&mut self, patience: Duration) -> io::Result<Reply> {
        let deadline = self.stream.deadline_after(patience);
        let mut answers = AnswerReader::default();
        self.stream.take_bare_lf(true);
        let reply = loop {
            match self.stream.line(deadline).await {
                Ok(line) => {
                    let line = line.map_err(io::Error::other)?;
                    if let Some(reply) = answers.line(&line).map_err(io::Error::other)? {
                        break reply;
                    }
                }
                Err(closed) => break answers.end(self.stream.unfinished_line()).ok_or(closed)?,
            }
        };
        self.stream.take_bare_lf(self.takes_bare_lf);
        Ok(reply)
    }
}

fn another_length() -> io::Error {
    io::Error::other("the message has not the length that the queue says")
}
