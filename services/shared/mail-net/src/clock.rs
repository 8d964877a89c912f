//! The time in two parts: the wall clock says what time it is, the I/O clock how long a peer may take.
//!
//! Nothing else in the workspace reads a clock or sleeps. Clippy's `disallowed_methods` enforces it.

#![expect(clippy::disallowed_methods, reason = "this is the one module that reads the clocks of the machine")]

use jiff::{SignedDuration, Timestamp};
use std::{fmt, future::Future, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{self, Instant},
};

/// Both clocks. A caller says which one it means: `clock.wall.now()`, `clock.io.sleep(pause)`.
///
/// Clones share their time. All of them may be used from any thread.
#[derive(Debug, Clone)]
pub struct Clock {
    /// For what is written down or shown: schedules, leases, dates and retention.
    pub wall: WallClock,
    /// For what is waited for: deadlines of sockets and calls, and pauses before another try.
    pub io: IoClock,
}

impl Clock {
    /// The clocks of the machine.
    pub fn system() -> Self {
        Self { wall: WallClock::new(Base::System), io: IoClock(()) }
    }

    /// A virtual wall clock, which shows `start` until [`WallClock::move_to`] moves it, and the I/O clock of the machine.
    pub fn virtual_at(start: Timestamp) -> Self {
        Self { wall: WallClock::new(Base::Fixed(start)), io: IoClock(()) }
    }

    /// Itself, or the clocks of the machine where the wall clock is virtual: for certificates, which other programs check
    /// against real time.
    #[must_use]
    pub fn real(&self) -> Self {
        if self.wall.is_virtual() { Self::system() } else { self.clone() }
    }
}

/// The date and the time of day.
///
/// It may jump, forward or back, when the machine's clock is set. A virtual one stands still, and is moved forward only, except
/// when a snapshot of the town is restored.
#[derive(Clone)]
pub struct WallClock(Arc<Wall>);

struct Wall {
    base: Base,
    /// What is added to the time of the base. Who sleeps is woken when it changes.
    offset: watch::Sender<SignedDuration>,
}

/// What a wall clock shows without its offset.
enum Base {
    /// What the machine's clock shows.
    System,
    /// Always this.
    Fixed(Timestamp),
}

/// Why a wall clock is not moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Immovable {
    /// It shows the time of the machine.
    #[error("the clock is that of the machine")]
    Real,
    /// The ids of messages end with this century.
    #[error("the moment is out of range; give one before {}", WallClock::END)]
    TooLate,
}

impl WallClock {
    /// How long a sleep trusts its timer before it looks at the clock again, because the machine's clock may be set.
    const LOOK_AGAIN: Duration = Duration::from_secs(30);

    /// A virtual clock is moved to moments before this one, 2089-01-01T00:00:00Z: ids of messages hold the time up to then.
    pub const END: Timestamp = Timestamp::constant(3_755_376_000, 0);

    fn new(base: Base) -> Self {
        Self(Arc::new(Wall { base, offset: watch::Sender::new(SignedDuration::ZERO) }))
    }

    /// The present time.
    pub fn now(&self) -> Timestamp {
        let base = match self.0.base {
            Base::System => Timestamp::now(),
            Base::Fixed(at) => at,
        };
        base.saturating_add(*self.0.offset.borrow()).unwrap_or(base)
    }

    /// The time that has passed since `then`; zero when `then` is still to come.
    pub fn since(&self, then: Timestamp) -> Duration {
        self.now().duration_since(then).try_into().unwrap_or_default()
    }

    /// The time that is left until `then`; zero when `then` has passed.
    pub fn until(&self, then: Timestamp) -> Duration {
        then.duration_since(self.now()).try_into().unwrap_or_default()
    }

    /// Returns as soon as it is `then` or later, and at once when it already is.
    ///
    /// A sleep notices within half a minute that the machine's clock was set.
    pub async fn sleep_until(&self, then: Timestamp) {
        let mut offset = self.0.offset.subscribe();
        loop {
            let left = self.until(then);
            if left.is_zero() {
                return;
            }
            // The sender lives as long as `self`, and a timer that ends early only looks again.
            match self.0.base {
                Base::System => drop(time::timeout(left.min(Self::LOOK_AGAIN), offset.changed()).await),
                Base::Fixed(_) => drop(offset.changed().await),
            }
        }
    }

    /// Whether it stands still until it is moved.
    pub fn is_virtual(&self) -> bool {
        matches!(self.0.base, Base::Fixed(_))
    }

    /// Moves a virtual clock forward to `then`, and wakes who has slept until then. It never goes back: when it is later
    /// already, nothing changes. Returns the present time.
    ///
    /// # Errors
    /// [`Immovable`].
    pub fn move_to(&self, then: Timestamp) -> Result<Timestamp, Immovable> {
        let Base::Fixed(base) = self.0.base else { return Err(Immovable::Real) };
        if then >= Self::END {
            return Err(Immovable::TooLate);
        }
        let wanted = then.duration_since(base);
        self.0.offset.send_if_modified(|offset| {
            let is_later = wanted > *offset;
            *offset = wanted.max(*offset);
            is_later
        });
        Ok(self.now())
    }

    /// Sets a virtual clock to `then`, which may be earlier than it is: a town that becomes what it was has the time that it
    /// had. Who sleeps looks at the clock again. Returns the present time.
    ///
    /// # Errors
    /// [`Immovable`].
    pub fn set_to(&self, then: Timestamp) -> Result<Timestamp, Immovable> {
        let Base::Fixed(base) = self.0.base else { return Err(Immovable::Real) };
        if then >= Self::END {
            return Err(Immovable::TooLate);
        }
        self.0.offset.send_replace(then.duration_since(base));
        Ok(self.now())
    }

    fn shift(&self, by: SignedDuration) {
        self.0.offset.send_modify(|offset| *offset = offset.saturating_add(by));
    }
}

impl fmt::Debug for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WallClock").field(&self.now()).finish()
    }
}

/// Measures and limits how long something takes. It never jumps.
///
/// It is the time of tokio: a test with `start_paused` drives it. All methods except [`instant`](Self::instant),
/// [`since`](Self::since) and [`block_for`](Self::block_for) need a tokio runtime.
#[derive(Debug, Clone, Copy)]
pub struct IoClock(());

impl IoClock {
    /// The present instant, to measure from or to make a deadline of.
    pub fn instant(self) -> Instant {
        Instant::now()
    }

    /// The time that has passed since `then`; zero when `then` is still to come.
    pub fn since(self, then: Instant) -> Duration {
        self.instant().saturating_duration_since(then)
    }

    /// Waits for `duration`.
    pub fn sleep(self, duration: Duration) -> time::Sleep {
        time::sleep(duration)
    }

    /// Blocks this thread for `duration`. For a program that does nothing meanwhile.
    pub fn block_for(self, duration: Duration) {
        std::thread::sleep(duration);
    }

    /// Waits until `deadline`.
    pub fn sleep_until(self, deadline: Instant) -> time::Sleep {
        time::sleep_until(deadline)
    }

    /// Runs `future` for at most `limit`.
    pub fn timeout<F: Future>(self, limit: Duration, future: F) -> time::Timeout<F> {
        time::timeout(limit, future)
    }

    /// Runs `future` until `deadline` at the latest.
    pub fn timeout_at<F: Future>(self, deadline: Instant, future: F) -> time::Timeout<F> {
        time::timeout_at(deadline, future)
    }

    /// Ticks at once, and from then on once in each `period`.
    ///
    /// # Panics
    ///
    /// When `period` is zero.
    pub fn interval(self, period: Duration) -> time::Interval {
        time::interval(period)
    }
}

/// For tests: clocks with a virtual wall clock, which the test moves forward, and back as well.
///
/// Their I/O time is that of tokio, which a test stops with `start_paused`.
#[derive(Debug, Clone)]
pub struct ManualClock(Clock);

impl ManualClock {
    /// Clocks whose wall time is `start`.
    pub fn starting_at(start: Timestamp) -> Self {
        Self(Clock::virtual_at(start))
    }

    /// The clocks, to be injected.
    pub fn clock(&self) -> Clock {
        self.0.clone()
    }

    /// The present wall time.
    pub fn now(&self) -> Timestamp {
        self.0.wall.now()
    }

    /// Moves the wall time forward, and wakes who has slept until then.
    pub fn advance(&self, by: Duration) {
        self.0.wall.shift(SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX));
    }

    /// Moves the wall time back, as happens when a machine's clock is corrected.
    pub fn turn_back(&self, by: Duration) {
        self.0.wall.shift(-SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::yield_now;

    const HOUR: Duration = Duration::from_secs(3600);

    fn manual() -> ManualClock {
        ManualClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap())
    }

    #[test]
    fn manual_time_moves_only_by_hand_for_all_clones() {
        let manual = manual();
        let (start, wall) = (manual.now(), manual.clock().wall);
        manual.advance(HOUR);
        assert_eq!(wall.now(), start + HOUR);
        manual.turn_back(2 * HOUR);
        assert_eq!(wall.now(), start - HOUR);
        assert_eq!((wall.since(start), wall.until(start)), (Duration::ZERO, HOUR));
        assert_eq!((wall.since(start - 3 * HOUR), wall.until(start - 3 * HOUR)), (2 * HOUR, Duration::ZERO));
        manual.advance(Duration::MAX);
        assert_eq!(wall.now(), Timestamp::MAX, "no overflow");
    }

    #[tokio::test(start_paused = true)]
    async fn sleepers_wake_when_manual_time_reaches_them_and_not_before() {
        let manual = manual();
        let (wall, then) = (manual.clock().wall, manual.now() + HOUR);
        let sleeper = tokio::spawn(async move { wall.sleep_until(then).await });
        manual.advance(HOUR - Duration::from_nanos(1));
        // I/O time does not wake them.
        manual.clock().io.sleep(2 * HOUR).await;
        assert!(!sleeper.is_finished());

        let thread = std::thread::spawn({
            let manual = manual.clone();
            move || manual.advance(Duration::from_nanos(1))
        });
        thread.join().unwrap();
        sleeper.await.unwrap();
        manual.clock().wall.sleep_until(then).await;
    }

    #[tokio::test]
    async fn a_virtual_clock_is_moved_forward_only() {
        let clock = Clock::virtual_at("2026-01-01T00:00:00Z".parse().unwrap());
        let (wall, start) = (clock.wall.clone(), clock.wall.now());
        let sleeper = tokio::spawn({
            let wall = wall.clone();
            async move { wall.sleep_until(start + HOUR).await }
        });
        yield_now().await;
        for (to, expected) in [(HOUR / 2, HOUR / 2), (HOUR / 4, HOUR / 2), (HOUR / 2, HOUR / 2)] {
            assert_eq!(wall.move_to(start + to), Ok(start + expected));
        }
        assert!(!sleeper.is_finished());
        assert_eq!(clock.wall.move_to(start + HOUR), Ok(start + HOUR), "clones move together");
        sleeper.await.unwrap();
        assert_eq!(wall.set_to(start), Ok(start), "but a restore sets it back");
        assert_eq!(wall.move_to(start + HOUR), Ok(start + HOUR));
        assert_eq!(wall.move_to("2089-01-01T00:00:00Z".parse().unwrap()), Err(Immovable::TooLate));
        assert_eq!(wall.set_to("2089-01-01T00:00:00Z".parse().unwrap()), Err(Immovable::TooLate));
        assert_eq!((wall.now(), WallClock::END.to_string().as_str()), (start + HOUR, "2089-01-01T00:00:00Z"));

        let system = Clock::system();
        assert_eq!(system.wall.move_to(start), Err(Immovable::Real));
        assert_eq!(system.wall.set_to(start), Err(Immovable::Real));
        assert_eq!([&clock, &system, &clock.real()].map(|clock| clock.wall.is_virtual()), [true, false, false]);
    }

    #[tokio::test]
    async fn an_offset_of_the_system_clock_wakes_sleepers() {
        let wall = Clock::system().wall;
        let then = wall.now() + HOUR;
        let sleeper = tokio::spawn({
            let wall = wall.clone();
            async move { wall.sleep_until(then).await }
        });
        yield_now().await;
        wall.shift(SignedDuration::from_hours(1));
        sleeper.await.unwrap();
        assert!(wall.since(then) < HOUR / 2);
    }

    #[tokio::test(start_paused = true)]
    async fn io_time_is_that_of_the_runtime() {
        let io = Clock::system().io;
        let start = io.instant();
        io.sleep(HOUR).await;
        assert_eq!(io.since(start), HOUR);
        assert_eq!(io.since(start + 2 * HOUR), Duration::ZERO);
        assert!(io.timeout(HOUR, std::future::pending::<()>()).await.is_err());
        assert!(io.timeout_at(start + 3 * HOUR, std::future::pending::<()>()).await.is_err());
        io.sleep_until(start + 4 * HOUR).await;
        assert_eq!(io.since(start), 4 * HOUR);
    }
}
