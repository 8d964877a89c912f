//! The kinds of fields.

use std::{fmt::Display, time::Duration};
use tracing::Value;

/// A value without spaces that a client did not choose: an id, an address, a number with a unit.
pub trait Shown {
    /// What is logged.
    fn value(&self) -> impl Value;
}

impl<T: Display> Shown for T {
    fn value(&self) -> impl Value {
        tracing::field::display(self)
    }
}

/// Any text. It is logged in quotation marks, so that nothing in it looks like another field or line.
pub trait Quoted {
    /// What is logged.
    fn value(&self) -> impl Value;
}

impl<T: Display> Quoted for T {
    fn value(&self) -> impl Value {
        self.to_string()
    }
}

/// How many there are of something.
pub trait Count {
    /// What is logged.
    fn value(&self) -> impl Value;
}

macro_rules! counts {
    ($($number:ty),*) => {$(
        impl Count for $number {
            fn value(&self) -> impl Value {
                *self as u64
            }
        }
    )*};
}

counts!(u16, u32, u64, usize, i64);

/// A duration, in seconds.
pub trait Seconds {
    /// What is logged.
    fn value(&self) -> impl Value;
}

impl Seconds for Duration {
    fn value(&self) -> impl Value {
        self.as_secs_f64()
    }
}
