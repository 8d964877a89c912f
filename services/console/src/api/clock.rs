//! The time of the town: what it is, and how it is moved.

use super::{
    App,
    extract::{self, within},
    idle::Idle,
    invalid,
};
use crate::{
    follow::clocks::{self, next_due},
    town_clock::Moving,
};
use axum::{Json, extract::State};
use internal_api::Problem;
use jiff::Timestamp;
use mail_net::WallClock;
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

/// How long a call waits unless told otherwise, and at most, in seconds.
const TIMEOUT: u32 = 30;
const LONGEST: u32 = 600;
/// How long what is under way is waited for before it is looked again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The time of the town.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(super) struct TownTime {
    /// The time.
    #[schema(value_type = String, format = DateTime)]
    now: Timestamp,
    /// Whether it stands still until it is moved.
    #[serde(rename = "virtual")]
    is_virtual: bool,
    /// When the next thing happens by itself after this time, as far as the stores answer.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_due: Option<Timestamp>,
}

/// Where the clocks are to be moved: one of `by`, `to` and `next_due`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Advance {
    /// A time to be added, such as `90s`, `10m` or `1h 30m`.
    #[schema(value_type = String, example = "10m")]
    pub(crate) by: Option<String>,
    /// A moment that has not passed.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) to: Option<Timestamp>,
    /// `true`: the moment at which the next thing happens by itself.
    pub(crate) next_due: bool,
    /// How many seconds the call may take; 30 unless given.
    #[schema(value_type = u32, minimum = 0, maximum = 600)]
    pub(crate) timeout: Option<u32>,
}

/// How far the clocks were moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Advanced {
    /// The time of the town.
    #[schema(value_type = String, format = DateTime)]
    now: Timestamp,
    /// Whether this is the moment that was asked for, and all that became due has happened.
    reached: bool,
    /// How many times the clocks were moved: to each moment at which something became due, and to the end.
    steps: u32,
    /// When the next thing happens by itself.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_due: Option<Timestamp>,
    /// What is under way. With `reached: false`, this is what did not end in time.
    under_way: Idle,
    /// The services that have not answered. They are moved when they do.
    unreachable: Vec<String>,
}

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(show_clock)).routes(routes!(advance_clock))
}

/// The time of the town, and when the next thing happens by itself.
#[utoipa::path(
    get, path = "/v1/clock", operation_id = "show_clock", tag = "town",
    responses((status = 200, description = "The time", body = TownTime)),
)]
pub(super) async fn show_clock(State(app): State<Arc<App>>) -> Json<TownTime> {
    let (now, is_virtual) = (app.town_clock.now(), app.town_clock.is_virtual());
    Json(TownTime { now, is_virtual, next_due: next_due(&app.town.clocks().await, now).await })
}

/// Moves all virtual clocks of the town forward. They go from one moment at which something becomes due to the next, and wait
/// at each until that has happened: attempts to send, failure messages, the end of retention. So all of it happens at its time.
#[utoipa::path(
    post, path = "/v1/clock/advance", operation_id = "advance_clock", tag = "town", request_body = Advance,
    responses(
        (status = 200, description = "The clocks were moved, or the call's time is up", body = Advanced),
        (status = 409, description = "Clocks are those of the machine"),
    ),
)]
pub(super) async fn advance_clock(
    State(app): State<Arc<App>>,
    extract::Json(wanted): extract::Json<Advance>,
) -> Result<Json<Advanced>, Problem> {
    Ok(Json(app.advance_clock(wanted).await?))
}

impl Advance {
    /// The moment that is meant, or `None` for the next at which something is due.
    fn moment(&self, now: Timestamp) -> Result<Option<Timestamp>, Problem> {
        let moment = match (&self.by, self.to, self.next_due) {
            (Some(by), None, false) => {
                let by = humantime::parse_duration(by)
                    .map_err(|error| invalid(format!("by is \"{by}\"; give a time such as \"10m\": {error}")))?;
                now.checked_add(by).unwrap_or(Timestamp::MAX)
            }
            (None, Some(to), false) if to < now => {
                return Err(invalid(format!("to is {to}; time does not go back, and it is {now}")));
            }
            (None, Some(to), false) => to,
            (None, None, true) => return Ok(None),
            _ => return Err(invalid("give one of by, to and next_due")),
        };
        if moment >= WallClock::END {
            return Err(invalid(format!("give a time before {}", WallClock::END)));
        }
        Ok(Some(moment))
    }
}

impl App {
    /// Moves the clocks, and waits until what became due has happened.
    pub(crate) async fn advance_clock(&self, wanted: Advance) -> Result<Advanced, Problem> {
        let timeout = within("timeout", wanted.timeout, TIMEOUT, LONGEST)?;
        let deadline = self.clock.io.instant() + Duration::from_secs(timeout.into());
        let mut moving = self.town_clock.together().await?;
        let now = self.town_clock.now();
        let target = match wanted.moment(now)? {
            Some(moment) => moment,
            // What is under way decides about what is next.
            None if self.is_at_rest_by(deadline).await => next_due(&moving.clocks, now).await.unwrap_or(now),
            None => now,
        };
        let (steps, reached) = self.advance(&mut moving, target, deadline).await;
        self.caught_up().await;
        let (now, (under_way, _)) = (self.town_clock.now(), self.under_way().await?);
        let under_way = if reached { under_way.at_rest() } else { under_way };
        let next_due = next_due(&moving.clocks, now).await;
        let advanced = Advanced { now, reached, steps, next_due, under_way, unreachable: moving.unreachable };
        // Pages show the time.
        self.index.touch();
        Ok(advanced)
    }

    /// Moves the clocks to `target` step by step. Returns how many steps it took, and whether all that became due has
    /// happened by `deadline`.
    async fn advance(&self, moving: &mut Moving<'_>, target: Timestamp, deadline: Instant) -> (u32, bool) {
        let mut steps = 0;
        while self.is_at_rest_by(deadline).await {
            let now = self.town_clock.now();
            if now >= target {
                return (steps, true);
            }
            // At least one step, so that a call without time moves on.
            if steps > 0 && self.clock.io.instant() >= deadline {
                break;
            }
            let due = clocks::next_due(&moving.clocks, now).await;
            moving.move_to(due.map_or(target, |due| due.min(target))).await;
            steps += 1;
        }
        (steps, false)
    }

    /// Waits until the queues are at rest, until `deadline` at the latest; returns whether they are.
    async fn is_at_rest_by(&self, deadline: Instant) -> bool {
        let mut events = self.town.store_events();
        loop {
            events.mark_seen();
            if self.queues_are_at_rest().await {
                return true;
            }
            if self.clock.io.instant() >= deadline {
                return false;
            }
            tokio::select! {
                _ = self.clock.io.timeout(LOOK_AGAIN, events.come()) => {}
                () = self.shutdown.cancelled() => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_moment_is_asked_for() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let moment = |text: &str| {
            let wanted: Advance = serde_json::from_str(text).unwrap();
            wanted.moment(now).map_err(|problem| problem.detail)
        };
        for (text, expected) in [
            (r#"{"by": "10m"}"#, Some("2026-01-01T00:10:00Z")),
            (r#"{"by": "1d 30s"}"#, Some("2026-01-02T00:00:30Z")),
            (r#"{"to": "2026-01-01T00:00:00Z"}"#, Some("2026-01-01T00:00:00Z")),
            (r#"{"next_due": true, "timeout": 3}"#, None),
        ] {
            assert_eq!(moment(text), Ok(expected.map(|expected| expected.parse().unwrap())), "{text}");
        }
        for (text, said) in [
            ("{}", "give one of"),
            (r#"{"by": "10m", "next_due": true}"#, "give one of"),
            (r#"{"by": "soon"}"#, "by is \"soon\"; give a time such as"),
            (r#"{"by": "9999999999999s"}"#, "give a time before 2089"),
            (r#"{"to": "2025-12-31T23:59:59Z"}"#, "to is 2025-12-31T23:59:59Z; time does not go back"),
            (r#"{"to": "2089-01-01T00:00:00Z"}"#, "give a time before 2089"),
        ] {
            let problem = moment(text).unwrap_err();
            assert!(problem.starts_with(said), "{text}: {problem}");
        }
        let unknown = serde_json::from_str::<Advance>(r#"{"for": "10m"}"#).unwrap_err().to_string();
        assert!(unknown.starts_with("unknown field"), "{unknown}");
    }
}
