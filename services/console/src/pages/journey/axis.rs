//! The axis of time of a waterfall: what happens is to scale, and pauses are short.

use crate::journey::{Journey, Step, StepKind};
use jiff::Timestamp;

/// How wide the axis is, in units of the drawing.
pub(super) const WIDTH: f64 = 1000.0;
/// How wide a pause is.
const GAP: f64 = 36.0;
/// The share of the axis that pauses have at most.
const GAPS: f64 = 0.4;
/// A pause is longer than this, in nanoseconds,
const SHORTEST: i128 = 20_000_000;
/// and longer than this part of all that happens.
const PART: i128 = 4;
/// The share of the axis that a piece has at least.
const LEAST: f64 = 0.04;

/// From times to places.
#[derive(Debug)]
pub(super) struct Axis {
    pieces: Vec<Piece>,
}

/// A time in which something happens, or a pause.
#[derive(Debug, Clone, Copy)]
struct Piece {
    from: i128,
    until: i128,
    x: f64,
    end: f64,
    is_gap: bool,
}

impl Axis {
    pub(super) fn of(journey: &Journey) -> Self {
        let steps = journey.stages.iter().flat_map(|stage| &stage.steps);
        let happens = |step: &&Step| !matches!(step.kind, StepKind::Pause | StepKind::Queued);
        let span = |step: &Step| (step.at.as_nanosecond(), step.until().as_nanosecond());
        let busy = merged(steps.clone().filter(happens).map(span).collect());
        let (begin, end) = (journey.begins_at.as_nanosecond(), journey.ends_at.as_nanosecond());
        Self::new(&busy, begin, end)
    }

    /// From the spans in which something happens, in order and apart from each other.
    fn new(busy: &[(i128, i128)], begin: i128, end: i128) -> Self {
        let total: i128 = busy.iter().map(|(from, until)| until - from).sum();
        let least = SHORTEST.max(total / PART);
        let mut spans = vec![(begin, begin, false)];
        for &(from, until) in busy.iter().chain([&(end, end)]) {
            match spans.last_mut() {
                Some((_, last, _)) if from - *last <= least => *last = until.max(*last),
                last => {
                    let gap_from = last.map_or(begin, |(_, last, _)| *last);
                    spans.extend([(gap_from, from, true), (from, until, false)]);
                }
            }
        }
        Self { pieces: placed(&spans) }
    }

    /// Where a time is, from 0 to [`WIDTH`].
    pub(super) fn x(&self, at: Timestamp) -> f64 {
        self.place(at.as_nanosecond())
    }

    fn place(&self, at: i128) -> f64 {
        let Some(piece) = self.pieces.iter().rfind(|piece| piece.from <= at).or(self.pieces.first()) else {
            return 0.0;
        };
        let length = (piece.until - piece.from) as f64;
        let share = if length > 0.0 { ((at - piece.from) as f64 / length).clamp(0.0, 1.0) } else { 0.0 };
        piece.x + share * (piece.end - piece.x)
    }

    /// From where to where the pauses are.
    pub(super) fn gaps(&self) -> impl Iterator<Item = (f64, f64)> {
        self.pieces.iter().filter(|piece| piece.is_gap).map(|piece| (piece.x, piece.end))
    }
}

/// Spans that touch become one.
fn merged(mut spans: Vec<(i128, i128)>) -> Vec<(i128, i128)> {
    spans.sort_unstable();
    let mut merged: Vec<(i128, i128)> = Vec::new();
    for (from, until) in spans {
        match merged.last_mut() {
            Some((_, last)) if from <= *last => *last = until.max(*last),
            _ => merged.push((from, until)),
        }
    }
    merged
}

fn placed(spans: &[(i128, i128, bool)]) -> Vec<Piece> {
    let gaps = spans.iter().filter(|(.., is_gap)| *is_gap).count() as f64;
    let gap = if gaps > 0.0 { GAP.min(WIDTH * GAPS / gaps) } else { 0.0 };
    let room = WIDTH - gap * gaps;
    let length = |&(from, until, _): &(i128, i128, bool)| (until - from) as f64;
    let total: f64 = spans.iter().filter(|(.., is_gap)| !is_gap).map(length).sum();
    let weight = |span: &(i128, i128, bool)| length(span).max(total * LEAST).max(1.0);
    let weights: f64 = spans.iter().filter(|(.., is_gap)| !is_gap).map(weight).sum();
    let mut x = 0.0;
    let place = |span: &(i128, i128, bool)| {
        let (from, until, is_gap) = *span;
        let end = x + if is_gap { gap } else { room * weight(span) / weights };
        let piece = Piece { from, until, x, end, is_gap };
        x = end;
        piece
    };
    spans.iter().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i128 = 1_000_000;

    #[test]
    fn pauses_are_short_and_the_rest_is_to_scale() {
        // 10 ms, a pause of 5 s, 30 ms.
        let axis = Axis::new(&[(0, 10 * MS), (5010 * MS, 5040 * MS)], 0, 5040 * MS);
        let [(from, until)] = axis.gaps().collect::<Vec<_>>()[..] else { panic!("{axis:?}") };
        assert_eq!((from.round(), until.round()), (241.0, 277.0));
        for (at, expected) in [(0, 0.0), (5, 120.5), (10, 241.0), (5010, 277.0), (5040, 1000.0), (9999, 1000.0)] {
            assert!((axis.place(at * MS) - expected).abs() < 1.0, "{at} {}", axis.place(at * MS));
        }
    }

    #[test]
    fn places_never_go_back() {
        for busy in [
            vec![],
            vec![(0, 0)],
            vec![(0, 5 * MS), (6 * MS, 7 * MS), (900 * MS, 900 * MS)],
            merged(vec![(100, 200), (0, 150), (200, 300), (900 * MS, 901 * MS)]),
        ] {
            let axis = Axis::new(&busy, 0, 1000 * MS);
            let places: Vec<_> = (0..=1000).map(|at| axis.place(at * MS)).collect();
            assert!(places.is_sorted() && places.iter().all(|x| (0.0..=WIDTH).contains(x)), "{busy:?} {axis:?}");
        }
    }
}
