use super::{Journey, Known, Stage, StageKind, Step, of};
use internal_api::{Role, SessionRecords};
use jiff::Timestamp;
use std::fmt::Write as _;

/// What the console knew of messages of a real town, and when it was asked.
const NOW: &str = "2026-11-28T10:29:00Z";

fn recorded(name: &str) -> Known {
    let path = format!("{}/src/journey/tests/recorded/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn journey(known: &Known) -> Journey {
    of(known, NOW.parse().unwrap())
}

/// A journey as a table: a line for each stage, with its predecessor, and one for each step.
fn table(journey: &Journey) -> String {
    let mut text = String::new();
    for fate in &journey.recipients {
        writeln!(text, "{}: {:?}: {}", fate.address, fate.outcome, fate.sentence).unwrap();
    }
    for (index, stage) in journey.stages.iter().enumerate() {
        let after = stage.after.map(|after| format!(" after {after}")).unwrap_or_default();
        let branch = if stage.is_branch { ", a branch" } else { "" };
        let joined = stage.ends.map(|ends| format!(", joined {:?}", ends.joined)).unwrap_or_default();
        writeln!(text, "{index}{after}: {}{branch}{joined}", stage.title).unwrap();
        for step in &stage.steps {
            writeln!(text, "  {}", line(step, journey.begins_at)).unwrap();
        }
        if let Some(note) = &stage.note {
            writeln!(text, "  {note}").unwrap();
        }
    }
    text
}

fn line(step: &Step, begins_at: Timestamp) -> String {
    let at = step.at.duration_since(begins_at).as_millis();
    let took = step.microseconds / 1000;
    let reply = step.reply.as_deref().map(|reply| format!(" -> {reply:.50}")).unwrap_or_default();
    format!("{at:5} +{took:<4} {:?} {:?} {}{reply}", step.outcome, step.kind, step.name)
}

/// Compares with the table of this name; writes it where `UPDATE` is set.
fn assert_table(name: &str, journey: &Journey) {
    let path = format!("{}/src/journey/tests/recorded/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    let actual = table(journey);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert!(actual == expected, "{path} has\n{expected}\nand the journey is\n{actual}");
}

#[test]
fn recorded_journeys_are_as_their_tables() {
    for name in ["retry", "failure", "several", "outside", "down"] {
        assert_table(name, &journey(&recorded(name)));
    }
}

fn attempts(journey: &Journey) -> Vec<&Stage> {
    journey.stages.iter().filter(|stage| stage.kind == StageKind::Attempt).collect()
}

fn is_there(records: &SessionRecords) -> bool {
    records.session.stack.as_str() == "gmail.com" && records.session.role == Role::Server
}

#[test]
fn ends_are_joined_by_what_is_left_of_them() {
    use super::Joined::{Addresses, Confirmed, No, Reply};
    type Change = fn(&mut Known);
    let as_recorded: Change = |_| {};
    let translated: Change = |known| {
        for records in known.sessions.values_mut().filter(|records| is_there(records)) {
            records.session.remote = Some("172.20.0.1:40000".parse().unwrap());
        }
    };
    let peer_gone: Change = |known| known.sessions.retain(|_, records| !is_there(records));
    let sender_gone: Change = |known| known.sessions.retain(|_, records| records.session.role == Role::Server);
    let all_gone: Change = |known| known.sessions.clear();
    let port_used_again: Change = |known| {
        let ends = |records: &SessionRecords| (records.session.local, records.session.remote);
        let taken: Vec<_> = known.sessions.values().filter(|it| is_there(it)).cloned().collect();
        for mut old in taken {
            // The same addresses, an hour before.
            let hour = jiff::SignedDuration::from_hours(1);
            old.session.id = "01a00000-0000-7000-8000-000000000001".parse().unwrap();
            (old.session.opened_at, old.session.closed_at) =
                (old.session.opened_at - hour, old.session.closed_at.map(|at| at - hour));
            assert!(known.sessions.values().any(|other| ends(other) == ends(&old)));
            known.sessions.insert(old.session.id, old);
        }
    };
    // What joins the ends of the first attempt, and of the second; and whether both know where the message went.
    for (name, change, expected) in [
        ("as recorded", as_recorded, [Some(Addresses), Some(Confirmed)]),
        ("addresses are translated", translated, [Some(No), Some(Reply)]),
        ("the peer's records are missing", peer_gone, [Some(No), Some(No)]),
        ("the sender's records are missing", sender_gone, [None, Some(Reply)]),
        ("all records are missing", all_gone, [None, None]),
        ("a port was used before", port_used_again, [Some(Addresses), Some(Confirmed)]),
    ] {
        let mut known = recorded("retry");
        change(&mut known);
        let journey = journey(&known);
        let joined: Vec<_> = attempts(&journey).iter().map(|stage| stage.ends.map(|ends| ends.joined)).collect();
        assert_eq!(joined, expected, "{name}");
        let stores = journey.stages.iter().filter(|stage| stage.kind == StageKind::Store);
        assert_eq!(stores.count(), 2, "{name}: the message is followed in any case");
    }
}

#[test]
fn what_is_missing_is_said() {
    let mut known = recorded("retry");
    known.sessions.retain(|_, records| !is_there(records));
    let notes: Vec<_> = journey(&known).stages.into_iter().filter_map(|stage| stage.note).collect();
    let expected = [
        "The other end is outside of this town, or its records are gone: this is what the town has seen of it.",
        "The records of the other end are missing: they are bounded, and a restart forgets them.",
    ];
    assert_eq!(notes, expected);
}

/// The reply got lost after the commit: the sender tries again, and the first copy is found all the same.
#[test]
fn a_copy_whose_reply_was_lost_is_found() {
    let mut known = recorded("retry");
    let first = known.first;
    let events = &mut known.mail.get_mut(&first).unwrap().events;
    let relayed = events.iter_mut().rev().find(|event| event.kind.name() == "relayed").unwrap();
    let internal_api::EventKind::Relayed { recipients, .. } = &relayed.kind else { panic!("{relayed:?}") };
    relayed.kind = internal_api::EventKind::Deferred {
        recipients: recipients.clone(),
        reply: "451 4.4.2 the connection was lost".to_owned(),
        next_attempt_at: NOW.parse().unwrap(),
        untried: false,
    };
    let journey = journey(&known);
    let there = journey.stages.iter().rfind(|stage| stage.kind == StageKind::Store).unwrap();
    assert_ne!(there.message, first);
    assert!(journey.stages.iter().any(|stage| stage.kind == StageKind::Fetch));
}
