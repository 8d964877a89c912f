//! A session as the events of a golden dialogue.

use super::side;
use dialogue::Event;
use internal_api::{Mark, Seen, SessionRecords};
use mail_proto::Side;
use std::borrow::Cow;

/// What was said in a session, in order.
pub(crate) struct Heard<'s>(Vec<Piece<'s>>);

enum Piece<'s> {
    Said(Side, Cow<'s, [u8]>),
    Tls,
}

impl<'s> Heard<'s> {
    /// What was said in this session.
    pub(crate) fn of(records: &'s SessionRecords) -> Self {
        let pieces = records.records.iter().filter_map(|record| match &record.what {
            Seen::Octets(seen) => Some(Piece::Said(side(&records.session, seen.direction), seen.octets.bytes()?)),
            Seen::Mark(Mark::Encrypted { .. }) => Some(Piece::Tls),
            _ => None,
        });
        Self(pieces.collect())
    }

    /// The events. The record does not tell which side has closed the connection.
    pub(crate) fn events(&self) -> impl Iterator<Item = Event<'_>> {
        self.0.iter().map(|piece| match piece {
            Piece::Said(Side::Client, octets) => Event::Client(octets),
            Piece::Said(Side::Server, octets) => Event::Server(octets),
            Piece::Tls => Event::Tls,
        })
    }
}
