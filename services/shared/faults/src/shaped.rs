//! A connection that is slow, in pieces, or cut.

use crate::{Cut, Way, What};
use mail_net::{Ends, Io, IoClock};
use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

/// A slow connection carries octets so often in a second.
const PIECES_PER_SECOND: u64 = 10;

/// How a connection carries octets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shape {
    received: Lane,
    sent: Lane,
    /// It breaks after so many octets, both ways together.
    cut_after: Option<u64>,
}

/// One way of a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Lane {
    /// In octets a second.
    rate: Option<u64>,
    /// The most octets of a piece.
    slice: Option<usize>,
}

impl Shape {
    /// What a fault makes of it.
    pub(crate) fn of(what: &What, way: Option<Way>) -> Self {
        let lane = match what {
            What::Throttle(rate) => Lane { rate: Some(*rate), slice: None },
            What::Slice(octets) => Lane { rate: None, slice: usize::try_from(*octets).ok() },
            What::Cut(Cut::AfterOctets(octets)) => return Self { cut_after: Some(*octets), ..Self::default() },
            _ => return Self::default(),
        };
        Self {
            received: if Way::is_received(way) { lane } else { Lane::default() },
            sent: if Way::is_sent(way) { lane } else { Lane::default() },
            cut_after: None,
        }
    }

    /// Whether it changes nothing.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Adds what `other` asks for.
    pub(crate) fn merge(&mut self, other: Self) {
        for (lane, other) in [(&mut self.received, other.received), (&mut self.sent, other.sent)] {
            lane.rate = other.rate.or(lane.rate);
            lane.slice = other.slice.or(lane.slice);
        }
        self.cut_after = other.cut_after.or(self.cut_after);
    }
}

impl Lane {
    /// How many of these octets go at once.
    fn piece(self, octets: usize) -> usize {
        let of_rate =
            self.rate.map_or(usize::MAX, |rate| usize::try_from(rate / PIECES_PER_SECOND).unwrap_or(usize::MAX).max(1));
        octets.min(of_rate).min(self.slice.unwrap_or(usize::MAX))
    }

    /// How long these octets take.
    fn takes(self, octets: usize) -> Option<Duration> {
        let rate = self.rate?.max(1);
        Some(Duration::from_nanos((octets as u64).saturating_mul(1_000_000_000) / rate))
    }
}

/// Changes the shape of a connection while it is used. Clones are of the same connection.
#[derive(Debug, Clone, Default)]
pub struct Shaping(Arc<Mutex<Shape>>);

impl Shaping {
    /// Adds what a fault asks for, from now on.
    pub fn add(&self, shape: Shape) {
        self.lock().merge(shape);
    }

    fn lock(&self) -> MutexGuard<'_, Shape> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many of these octets may go at once this way; `None` when the connection is cut.
    fn permitted(&self, lane: fn(&Shape) -> Lane, octets: usize) -> Option<usize> {
        let shape = self.lock();
        let left = shape.cut_after.map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX));
        (left > 0).then(|| lane(&shape).piece(octets).min(left))
    }

    /// Counts octets that went this way. Returns how long the next ones wait.
    fn went(&self, lane: fn(&Shape) -> Lane, octets: usize) -> Option<Duration> {
        let mut shape = self.lock();
        shape.cut_after = shape.cut_after.map(|left| left.saturating_sub(octets as u64));
        lane(&shape).takes(octets)
    }
}

/// A connection whose way of carrying octets can be changed.
pub struct ShapedIo {
    io: Box<dyn Io>,
    shaping: Shaping,
    clock: IoClock,
    reading: Option<Pin<Box<Sleep>>>,
    writing: Option<Pin<Box<Sleep>>>,
}

impl ShapedIo {
    /// This connection, and what changes it.
    pub fn wrap(io: Box<dyn Io>, clock: IoClock) -> (Box<dyn Io>, Shaping) {
        let shaping = Shaping::default();
        let shaped = Self { io, shaping: shaping.clone(), clock, reading: None, writing: None };
        (Box::new(shaped), shaping)
    }
}

/// Waits until the octets before have taken their time.
fn waited(sleep: &mut Option<Pin<Box<Sleep>>>, context: &mut Context<'_>) -> Poll<()> {
    if let Some(sleeping) = sleep {
        ready!(sleeping.as_mut().poll(context));
        *sleep = None;
    }
    Poll::Ready(())
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "cut by a fault")
}

impl Io for ShapedIo {
    fn ends(&self) -> io::Result<Ends> {
        self.io.ends()
    }

    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_readable(context)
    }

    fn has_arrived(&self) -> bool {
        self.io.has_arrived()
    }
}

impl AsyncRead for ShapedIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(waited(&mut self.reading, context));
        let Some(permitted) = self.shaping.permitted(|shape| shape.received, buffer.remaining()) else {
            return Poll::Ready(Err(cut()));
        };
        let mut piece = buffer.take(permitted);
        ready!(Pin::new(&mut self.io).poll_read(context, &mut piece))?;
        let filled = piece.filled().len();
        // The piece is the first part of what the buffer has not filled, and its octets were written.
        let octets = piece.filled().to_vec();
        buffer.put_slice(&octets);
        let (wait, clock) = (self.shaping.went(|shape| shape.received, filled), self.clock);
        self.reading = wait.map(|wait| Box::pin(clock.sleep(wait)));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ShapedIo {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        ready!(waited(&mut self.writing, context));
        let Some(permitted) = self.shaping.permitted(|shape| shape.sent, octets.len()) else {
            return Poll::Ready(Err(cut()));
        };
        let written = ready!(Pin::new(&mut self.io).poll_write(context, &octets[..permitted]))?;
        let (wait, clock) = (self.shaping.went(|shape| shape.sent, written), self.clock);
        self.writing = wait.map(|wait| Box::pin(clock.sleep(wait)));
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail_net::Clock;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn shaped(what: &What, way: Option<Way>) -> (Box<dyn Io>, Box<dyn Io>) {
        let (near, far) = mail_net::pair();
        let (near, shaping) = ShapedIo::wrap(near, Clock::system().io);
        shaping.add(Shape::of(what, way));
        (near, far)
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_connection_takes_its_time_in_its_direction() {
        let rate = What::Throttle(100);
        let clock = Clock::system().io;
        for (way, seconds) in [(Some(Way::Sent), 2), (Some(Way::Received), 0), (None, 2)] {
            let (mut near, mut far) = shaped(&rate, way);
            let started = clock.instant();
            near.write_all(&[b'x'; 200]).await.unwrap();
            near.write_all(b"y").await.unwrap();
            assert_eq!(clock.since(started).as_secs(), seconds, "{way:?}");
            far.read_exact(&mut [0; 201]).await.unwrap();
            far.write_all(&[b'z'; 300]).await.unwrap();
            let started = clock.instant();
            near.read_exact(&mut [0; 300]).await.unwrap();
            let expected = if way == Some(Way::Sent) { 0 } else { 2 };
            assert_eq!(clock.since(started).as_secs(), expected, "{way:?}");
        }
    }

    #[tokio::test]
    async fn pieces_are_small() {
        let (mut near, mut far) = shaped(&What::Slice(3), None);
        assert_eq!(near.write(b"EHLO x\r\n").await.unwrap(), 3);
        far.write_all(b"250 OK\r\n").await.unwrap();
        let mut buffer = [0; 64];
        assert_eq!(near.read(&mut buffer).await.unwrap(), 3);
        assert_eq!(&buffer[..3], b"250");
    }

    #[tokio::test]
    async fn a_connection_is_cut_after_so_many_octets_both_ways() {
        let (mut near, mut far) = shaped(&What::Cut(Cut::AfterOctets(10)), None);
        far.write_all(b"220 x\r\nabcdef").await.unwrap();
        near.write_all(b"EHLO").await.unwrap();
        let mut buffer = [0; 64];
        assert_eq!(near.read(&mut buffer).await.unwrap(), 6);
        assert_eq!(near.read(&mut buffer).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert!(near.write(b"x").await.is_err());
    }
}
