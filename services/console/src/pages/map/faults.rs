//! What goes wrong on purpose, on the map: what is set, and a few faults to begin with.

use super::town::TownMap;
use crate::{
    api::App,
    pages::{Failure, format::count},
    spread::Report,
};
use ::faults::Fault;
use axum::{Form, extract::State, response::Redirect};
use internal_api::{Problem, ProblemKind};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// The longest name of a fault.
const NAME_OCTETS: usize = 64;

/// A fault that the page offers for each stack.
struct Offer {
    name: &'static str,
    label: &'static str,
    /// What it is good for.
    shows: &'static str,
    service: &'static str,
    verb: Option<&'static str>,
    /// `what` and `when`, as of the API.
    rest: fn() -> Value,
}

const OFFERS: [Offer; 6] = [
    Offer {
        name: "greylist",
        label: "Greylist recipients",
        shows: "The first RCPT for each recipient gets 451. A server tries again; most programs do not.",
        service: "smtp-gateway",
        verb: Some("RCPT"),
        rest: || json!({"what": {"reply": "451 4.7.1 greylisted, try again"}, "when": {"first_per_recipient": 1}}),
    },
    Offer {
        name: "full",
        label: "Refuse messages for now",
        shows: "Each message gets 452 at its end, and stays in the queue of who sends it.",
        service: "smtp-gateway",
        verb: Some("."),
        rest: || json!({"what": {"reply": "452 4.3.1 no room"}}),
    },
    Offer {
        name: "cut",
        label: "Cut after the dot",
        shows: "A message is accepted once, and its reply is lost. Who sends it again makes a duplicate.",
        service: "smtp-gateway",
        verb: None,
        rest: || json!({"what": {"cut": "after_dot"}, "when": {"times": 1}}),
    },
    Offer {
        name: "slow",
        label: "Answer slowly",
        shows: "Each command of SMTP takes two seconds.",
        service: "smtp-gateway",
        verb: None,
        rest: || json!({"what": {"delay": "2s"}}),
    },
    Offer {
        name: "dns",
        label: "Let the DNS fail",
        shows: "Each query gets SERVFAIL: mail for other servers waits.",
        service: "pseudo-dns",
        verb: None,
        rest: || json!({"what": {"dns": "servfail"}}),
    },
    Offer {
        name: "store",
        label: "Let the store fail",
        shows: "Each request gets 503: gateways answer 451, and nobody can log in.",
        service: "mailbox-store",
        verb: None,
        rest: || json!({"what": {"status": 503}}),
    },
];

/// What a form asks for: one of its fields.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Change {
    /// Set this offer for `stack`.
    offer: String,
    /// Part `stack` from this one.
    part: String,
    stack: String,
    /// End this fault.
    end: String,
    /// End all.
    end_all: String,
}

/// `POST /map/faults`
pub(super) async fn change(State(app): State<Arc<App>>, Form(wanted): Form<Change>) -> Result<Redirect, Failure> {
    if !wanted.end_all.is_empty() {
        app.faults.change(|settings| settings.faults.clear()).await?;
    } else if !wanted.end.is_empty() {
        app.faults.change(|settings| drop(settings.faults.remove(&wanted.end))).await?;
    } else {
        let (name, fault) = wanted.fault()?;
        app.faults.change(|settings| drop(settings.faults.insert(name, fault))).await?;
    }
    Ok(Redirect::to("/"))
}

impl Change {
    /// The fault that it asks for, and its name.
    fn fault(&self) -> Result<(String, Fault), Problem> {
        let (name, fault) = if self.part.is_empty() {
            let offer = OFFERS.iter().find(|offer| offer.name == self.offer);
            let offer = offer.ok_or_else(|| Problem::new(ProblemKind::InvalidRequest, "there is no such offer"))?;
            (format!("{}-{}", offer.name, self.stack), offer.fault(&self.stack))
        } else {
            let fault = json!({"where": {"stack": self.stack}, "what": {"partition": self.part}});
            (format!("part-{}-{}", self.stack, self.part), fault)
        };
        let invalid = |error: String| Problem::new(ProblemKind::InvalidRequest, error);
        let fault: Fault = serde_json::from_value(fault).map_err(|error| invalid(error.to_string()))?;
        fault.check().map_err(|error| invalid(error.to_string()))?;
        Ok((name.chars().take(NAME_OCTETS).collect(), fault))
    }
}

impl Offer {
    fn fault(&self, stack: &str) -> Value {
        let mut fault = (self.rest)();
        fault["where"] = json!({"stack": stack, "service": self.service});
        if let Some(verb) = self.verb {
            fault["where"]["verb"] = json!(verb);
        }
        fault
    }
}

/// What is set, with a way to end each.
pub(super) fn list(report: &Report) -> Markup {
    let set = &report.settings.faults;
    html! {
        @if !set.is_empty() {
            section #faults.panel.faults aria-label="What goes wrong on purpose" {
                form method="post" action="/map/faults" {
                    header {
                        h2 { "What goes wrong on purpose" }
                        @if set.len() > 1 { button name="end_all" value="1" { "End all" } }
                    }
                    ul {
                        @for (name, fault) in set {
                            @let state = report.states.get(name);
                            li data-key=(name) {
                                strong { (name) }
                                span { (fault) }
                                span.small.quiet {
                                    (count(state.map_or(0, |state| state.fired), "time", "times"))
                                    @if let Some(last) = state.and_then(|state| state.sessions.last()) {
                                        ", last in " a href={ "/sessions/" (last) } { "this session" }
                                    }
                                }
                                button name="end" value=(name) { "End" }
                            }
                        }
                    }
                }
                @for (url, why) in &report.untold { p.refusal.small { "Not told: " (url) ", " (why) } }
            }
        }
    }
}

/// The faults that are offered.
pub(super) fn offer(map: &TownMap) -> Markup {
    let stacks: Vec<_> = map.stacks.iter().map(|stack| stack.name.as_str()).collect();
    let pairs = stacks.iter().enumerate().flat_map(|(at, one)| stacks[at + 1..].iter().map(move |other| (one, other)));
    html! {
        details.panel.fault-offers {
            summary { "Make something go wrong" }
            p.small.quiet { code { "mailtown faults" } " and " code { "PUT /v1/faults/NAME" } " can do more: " a href="/v1/openapi.json" { "the API" } "." }
            @for (one, other) in pairs {
                form method="post" action="/map/faults" {
                    input type="hidden" name="stack" value=(one);
                    button name="part" value=(other) { "Cut the wire between " (one) " and " (other) }
                }
            }
            @for stack in &stacks {
                form method="post" action="/map/faults" {
                    h3 { (stack) }
                    input type="hidden" name="stack" value=(stack);
                    @for offer in &OFFERS { button name="offer" value=(offer.name) title=(offer.shows) { (offer.label) } }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_offered_can_be_set() {
        for offer in &OFFERS {
            let wanted = Change { offer: offer.name.to_owned(), stack: "gmail.com".to_owned(), ..Change::default() };
            let (name, fault) = wanted.fault().unwrap();
            assert_eq!((name, fault.service()), (format!("{}-gmail.com", offer.name), Ok(offer.service)));
            assert!(fault.concerns("gmail.com", offer.service) && !fault.concerns("exmail.qq.com", offer.service));
        }
        let part = Change { part: "b.test".to_owned(), stack: "a.test".to_owned(), ..Change::default() };
        let (name, fault) = part.fault().unwrap();
        assert_eq!((&*name, &*fault.to_string()), ("part-a.test-b.test", "partition between a.test and b.test"));
        assert!(Change { offer: "other".to_owned(), ..Change::default() }.fault().is_err());
    }
}
