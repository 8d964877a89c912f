//! How many connections a destination may have at once: as many as it has shown that it bears.
//!
//! As Postfix does it: the number begins small. It grows by one when as many messages were delivered as there are
//! connections, and shrinks by one with each connection that fails or is refused.

use super::route::Destination;
use std::collections::HashMap;

/// How many connections a destination may have about which nothing is known.
const INITIAL: f64 = 5.0;
/// About how many destinations something is remembered that have no connection.
const REMEMBERED: usize = 1000;

/// The limit of one destination. Its fraction is what the next connection still lacks.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Window(f64);

impl Window {
    fn connections(self, most: usize) -> usize {
        (self.0 as usize).clamp(1, most.max(1))
    }

    /// A message was delivered while this number of connections was in use. A limit far beyond them proves nothing.
    fn succeeded(&mut self, in_use: usize, most: usize) {
        if self.0 <= in_use as f64 + INITIAL {
            self.0 = (self.0 + 1.0 / self.0).min((most as f64).max(1.0));
        }
    }

    fn failed(&mut self, most: usize) {
        self.0 = (self.0.min(most as f64) - 1.0).max(1.0);
    }
}

/// The limits of all destinations.
#[derive(Debug, Default)]
pub(super) struct Windows(HashMap<Destination, Window>);

impl Windows {
    /// How many connections this destination may have; `most` is the configuration's limit.
    pub(super) fn connections(&self, destination: &Destination, most: usize) -> usize {
        self.0.get(destination).copied().unwrap_or(Window(INITIAL)).connections(most)
    }

    /// Notes that an exchange of this destination has given a verdict on a message, while the destination had `in_use` connections.
    pub(super) fn succeeded(&mut self, destination: &Destination, in_use: usize, most: usize) {
        self.of(destination).succeeded(in_use, most);
    }

    /// Notes that no exchange of this destination could be talked to.
    pub(super) fn failed(&mut self, destination: &Destination, most: usize) {
        self.of(destination).failed(most);
    }

    /// Forgets destinations, once there are many, except those that are in use.
    pub(super) fn forget_unless(&mut self, is_in_use: impl Fn(&Destination) -> bool) {
        if self.0.len() > REMEMBERED {
            self.0.retain(|destination, _| is_in_use(destination));
        }
    }

    fn of(&mut self, destination: &Destination) -> &mut Window {
        self.0.entry(destination.clone()).or_insert(Window(INITIAL))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What happens: `+` a message delivered over one of as many connections as are allowed, `1` over a single one,
    /// `-` a connection failed.
    fn after(events: &str, most: usize) -> usize {
        let (mut windows, destination) = (Windows::default(), "a.test".parse().unwrap());
        for event in events.chars() {
            let allowed = windows.connections(&destination, most);
            match event {
                '+' => windows.succeeded(&destination, allowed, most),
                '1' => windows.succeeded(&destination, 1, most),
                _ => windows.failed(&destination, most),
            }
        }
        windows.connections(&destination, most)
    }

    #[test]
    fn connections_grow_with_success_and_shrink_with_failure() {
        let many = "+".repeat(1000);
        let table = [
            ("", 16, 5),
            // By one with as many messages as there are connections, and a little more.
            ("+++++", 16, 5),
            ("++++++", 16, 6),
            ("+++++++++++++", 16, 7),
            (&many, 16, 16),
            (&many, 2, 2),
            // A single connection proves no more than a few.
            (&"1".repeat(1000), 16, 6),
            ("-", 16, 4),
            ("----", 16, 1),
            ("----------", 16, 1),
            // From one, a single message makes two, and more than two others three.
            ("----------+", 16, 2),
            ("----------++++", 16, 3),
            // What the configuration did not allow anyhow is not what shrinks.
            ("-", 2, 1),
            ("", 1, 1),
            ("-", 1, 1),
        ];
        for (events, most, expected) in table {
            assert_eq!(after(events, most), expected, "{:.20} of {most}", events);
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let destination = |number: usize| format!("{number}.test").parse().unwrap();
        let mut windows = Windows::default();
        for number in 0..3 * REMEMBERED {
            windows.failed(&destination(number), 16);
            windows.forget_unless(|other| *other == destination(0));
            assert!(windows.0.len() <= REMEMBERED + 1);
        }
        assert_eq!(windows.connections(&destination(0), 16), 4, "it is in use");
        assert_eq!(windows.connections(&destination(1), 16), 5, "it was forgotten");
    }
}
