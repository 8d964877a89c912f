//! The stages of a journey.

use super::{
    Fate, Journey, Known, KnownMail, Outcome, Stage, StageKind, Step, StepKind,
    attempts::{Attempt, attempts},
    fate,
    join::{self, Hop},
    steps::{STORE, Seer, microseconds},
};
use internal_api::{DeletedBy, Event, EventKind, Handled, Mark, MessageId, Seen, reports::GIVEN_UP};
use jiff::Timestamp;
use mail_proto::Mailbox;
use std::collections::{BTreeMap, BTreeSet};

/// The journey of what is known. `now` says how long something waits.
pub(crate) fn of(known: &Known, now: Timestamp) -> Journey {
    let mut builder = Builder { known, now, stages: Vec::new(), told: BTreeSet::new() };
    builder.message(known.first, None, Way::Submitted);
    let stages = builder.stages;
    let recipients: Vec<Fate> = fate::of_all(known, known.first);
    let steps = || stages.iter().flat_map(|stage| &stage.steps);
    let begins_at = steps().map(|step| step.at).min().unwrap_or(now);
    let ends_at = steps().map(Step::until).max().unwrap_or(now);
    let outcome = recipients.iter().map(|fate| fate.outcome).max().unwrap_or(Outcome::Ok);
    Journey { message: known.first, asked_for: known.asked_for, begins_at, ends_at, outcome, recipients, stages }
}

/// How a message came to its store.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// In a session with somebody outside of the town.
    Submitted,
    /// In a hop that was told of already.
    Relayed,
    /// The store has made it.
    Made,
}

struct Builder<'k> {
    known: &'k Known,
    now: Timestamp,
    stages: Vec<Stage>,
    /// The messages that were told of.
    told: BTreeSet<MessageId>,
}

impl<'k> Builder<'k> {
    fn push(&mut self, stage: Stage) -> usize {
        self.stages.push(stage);
        self.stages.len() - 1
    }

    /// All stages of a message, and of what came of it.
    fn message(&mut self, message: MessageId, after: Option<usize>, way: Way) {
        let known = self.known;
        if !self.told.insert(message) {
            return;
        }
        let Some(mail) = known.mail.get(&message) else { return };
        let mut after = after;
        let accepting = join::accepting(known, message);
        if let (Way::Submitted, Some(handling)) = (way, &accepting) {
            let session = &handling.session.session;
            let recipients = handling.recipients.iter().map(ToString::to_string).collect();
            let ends = Hop { server: Some(handling.session), ..Hop::default() }.ends();
            let steps = Seer::of(handling.session).reception(handling);
            let title = format!("Submission to {}", session.stack);
            let stage = Stage { ends, steps, recipients, ..stage(StageKind::Submission, title, message, after) };
            after = Some(self.push(stage));
        }
        let (attempts, others) = attempts(&mail.events);
        let has_commit = way != Way::Made && accepting.is_some();
        let store = self.store(mail, (message, after), (&attempts, &others), has_commit);
        self.stages[store].is_branch = way == Way::Made;
        self.fetches(message, store);
        let last = self.attempts(mail, message, &attempts, store);
        self.branches(mail, message, last);
    }

    /// What the store tells.
    fn store(
        &mut self,
        mail: &KnownMail,
        (message, after): (MessageId, Option<usize>),
        (attempts, others): (&[Attempt<'_>], &[&Event]),
        has_commit: bool,
    ) -> usize {
        let title = match after {
            Some(_) if !has_commit && mail.mail_from.is_empty() => format!("Report, at the store of {}", mail.stack),
            _ => format!("Store of {}", mail.stack),
        };
        let mut store = stage(StageKind::Store, title, message, after);
        let is_deleted_in_session = self.is_deleted_in_session(message);
        for event in &mail.events {
            match &event.kind {
                EventKind::Accepted { .. } if has_commit => {}
                // The session tells of it.
                EventKind::Deleted { by: DeletedBy::Session, .. } if is_deleted_in_session => {}
                EventKind::Queued { recipients } => {
                    store.steps.extend(self.queued(mail, event.at, recipients, attempts));
                }
                _ => store.steps.extend(at_store(mail, event)),
            }
        }
        if !has_commit && after.is_none() && store.steps.iter().any(|step| step.kind == StepKind::Commit) {
            store.note = Some(missing("session that brought it"));
        }
        store.steps.extend(others.iter().filter_map(|event| decision(mail, event)));
        self.push(store)
    }

    /// How long it waits for the first attempt, for each domain.
    fn queued(&self, mail: &KnownMail, at: Timestamp, recipients: &[Mailbox], attempts: &[Attempt<'_>]) -> Vec<Step> {
        let mut domains: BTreeMap<String, Vec<&Mailbox>> = BTreeMap::new();
        for recipient in recipients {
            domains.entry(recipient.domain().to_string()).or_default().push(recipient);
        }
        let steps = domains.into_iter().map(|(domain, recipients)| {
            let is_first = |attempt: &&Attempt<'_>| {
                attempt.claimed_at >= at && recipients.iter().any(|one| attempt.recipients.contains(one))
            };
            let claimed = attempts.iter().find(is_first).map(|attempt| attempt.claimed_at);
            let step = store_step(mail, StepKind::Queued, (at, claimed.unwrap_or(self.now.max(at))));
            let (outcome, sentence) = match claimed {
                Some(_) => (Outcome::Ok, format!("It waits until a relay worker is free for {domain}.")),
                None => (Outcome::Waiting, format!("It still waits for a relay worker that is free for {domain}.")),
            };
            Step { name: format!("Queued for {domain}"), outcome, sentence, ..step }
        });
        steps.collect()
    }

    fn is_deleted_in_session(&self, message: MessageId) -> bool {
        let mut records = self.known.sessions().flat_map(|session| &session.records);
        records
            .any(|record| matches!(&record.what, Seen::Mark(Mark::Deleted { messages }) if messages.contains(&message)))
    }

    /// The sessions that have read it.
    fn fetches(&mut self, message: MessageId, store: usize) {
        let reads = |how| matches!(how, Handled::Fetched | Handled::Looked);
        let mut seen = BTreeSet::new();
        for handling in join::handlings(self.known, message) {
            let session = &handling.session.session;
            if !reads(handling.how) || !seen.insert(session.id) {
                continue;
            }
            let who = session.user.clone().unwrap_or_else(|| "Somebody".to_owned());
            let ends = Hop { server: Some(handling.session), ..Hop::default() }.ends();
            let steps = Seer::of(handling.session).fetch(message);
            let fetch = stage(StageKind::Fetch, format!("{who} reads it"), message, Some(store));
            self.push(Stage { ends, steps, recipients: session.user.iter().cloned().collect(), ..fetch });
        }
    }

    /// The attempts with the pauses between them, and what came of them elsewhere; returns the last stage.
    fn attempts(&mut self, mail: &KnownMail, message: MessageId, attempts: &[Attempt<'_>], store: usize) -> usize {
        // Which stage the next attempt for a recipient follows.
        let mut previous: BTreeMap<&Mailbox, usize> = BTreeMap::new();
        let mut last = store;
        for (index, attempt) in attempts.iter().enumerate() {
            let mut followed = attempt.recipients.iter().filter_map(|recipient| previous.get(recipient));
            let after = followed.next().copied().unwrap_or(store);
            let hop = join::hop(self.known, (&mail.stack, message), attempt, peer_id(attempt));
            let stage = self.attempt(mail, (message, after), attempt, &hop);
            last = self.push(stage);
            let mut next = last;
            if let Some(wait) = self.pause(mail, (message, last), attempt, &attempts[index + 1..]) {
                next = self.push(wait);
            }
            for recipient in &attempt.recipients {
                previous.insert(recipient, next);
            }
            if let Some(there) = hop.there {
                self.message(there, Some(last), Way::Relayed);
            }
        }
        last
    }

    fn attempt(
        &self,
        mail: &KnownMail,
        (message, after): (MessageId, usize),
        attempt: &Attempt<'_>,
        hop: &Hop<'_>,
    ) -> Stage {
        let domain = attempt.domain().map(ToString::to_string).unwrap_or_default();
        let title = format!("Attempt {} to {domain}", attempt.number);
        let mut stage = stage(StageKind::Attempt, title, message, Some(after));
        stage.recipients = attempt.recipients.iter().map(ToString::to_string).collect();
        stage.ends = hop.ends();
        stage.steps.push(Step {
            name: "Claimed".to_owned(),
            sentence: format!("A relay worker of {} takes it; the attempt is counted before it begins.", mail.stack),
            ..store_step(mail, StepKind::Claimed, (attempt.claimed_at, attempt.claimed_at))
        });
        if let Some(client) = hop.client {
            let sending = join::handlings(self.known, message).into_iter().find(|handling| {
                handling.session.session.id == client.session.id && handling.transaction == hop.transaction
            });
            let sending = sending.map(|handling| (handling.transaction, handling.record));
            stage.steps.extend(Seer::of(client).attempt(attempt.claimed_at, sending));
            if let Some(server) = hop.server {
                stage.steps.extend(Seer::of(server).faults_of(hop.transaction));
            }
        }
        let committed = hop.there.and_then(|there| join::accepting(self.known, there));
        if let Some(committed) =
            committed.filter(|it| hop.server.is_some_and(|server| std::ptr::eq(server, it.session)))
        {
            let seer = Seer::of(committed.session);
            match hop.client {
                Some(_) => stage.steps.extend(seer.commit(&committed)),
                None => stage.steps.extend(seer.reception(&committed)),
            }
        }
        stage.steps.sort_by_key(|step| step.at);
        stage.steps.extend(attempt.outcomes.iter().filter_map(|event| decision(mail, event)));
        stage.note = self.note(attempt, hop);
        stage
    }

    /// What is not known of an attempt.
    fn note(&self, attempt: &Attempt<'_>, hop: &Hop<'_>) -> Option<String> {
        let is_connected = |end: &internal_api::SessionRecords| end.session.remote.is_some();
        match (hop.client, hop.server) {
            (None, _) if attempt.outcomes.is_empty() => None,
            (None, _) => Some(missing("sending end")),
            (Some(client), None) if is_connected(client) => match hop.there {
                Some(there) if self.known.mail.contains_key(&there) => Some(missing("other end")),
                _ => Some(
                    "The other end is outside of this town, or its records are gone: this is what the town has seen of it."
                        .to_owned(),
                ),
            },
            _ => None,
        }
    }

    /// What happens after an attempt that was put off: nothing, for a while.
    fn pause(
        &self,
        mail: &KnownMail,
        (message, after): (MessageId, usize),
        attempt: &Attempt<'_>,
        later: &[Attempt<'_>],
    ) -> Option<Stage> {
        let (event, waiting, due) = attempt.outcomes.iter().rev().find_map(|event| match &event.kind {
            EventKind::Deferred { recipients, next_attempt_at, .. } => Some((event, recipients, *next_attempt_at)),
            _ => None,
        })?;
        let next = later.iter().find(|next| next.concerns(waiting)).map(|next| next.claimed_at);
        let step = store_step(mail, StepKind::Pause, (event.at, next.unwrap_or(due.max(event.at))));
        let (outcome, sentence) = match next {
            Some(_) => (Outcome::Ok, "Nothing happens until the next attempt.".to_owned()),
            None => (Outcome::Waiting, "Nothing happens until the next attempt, which is still to come.".to_owned()),
        };
        let mut wait = stage(StageKind::Wait, "Pause".to_owned(), message, Some(after));
        wait.recipients = waiting.iter().map(ToString::to_string).collect();
        wait.steps.push(Step { name: "Pause".to_owned(), outcome, sentence, ..step });
        Some(wait)
    }

    /// The reports to its sender.
    fn branches(&mut self, mail: &KnownMail, message: MessageId, after: usize) {
        for event in &mail.events {
            let (as_message, what) = match event.kind {
                EventKind::Bounced { as_message } => (as_message, "of the failure"),
                EventKind::Reported { as_message } => (as_message, "of a success or a delay, as they have asked"),
                _ => continue,
            };
            let step = store_step(mail, StepKind::Bounced, (event.at, event.at));
            let sentence = format!("The sender is told {what}, in a message of its own: {as_message}.");
            let has_failed = |stage: &Stage| stage.steps.iter().any(|step| step.kind == StepKind::Failed);
            let failed = self.stages.iter().rposition(|stage| stage.message == message && has_failed(stage));
            let after = failed.unwrap_or(after);
            let first = self.stages.len();
            self.message(as_message, Some(after), Way::Made);
            let told = Step { name: "Sender told".to_owned(), sentence, ..step };
            match self.stages.get_mut(first) {
                Some(branch) => branch.steps.insert(0, told),
                None => {
                    let title = "Report to the sender".to_owned();
                    let mut branch = stage(StageKind::Store, title, as_message, Some(after));
                    (branch.is_branch, branch.steps) = (true, vec![told]);
                    self.push(branch);
                }
            }
        }
    }
}

fn stage(kind: StageKind, title: String, message: MessageId, after: Option<usize>) -> Stage {
    let (recipients, steps) = (Vec::new(), Vec::new());
    Stage { kind, title, message, after, is_branch: false, recipients, ends: None, steps, note: None }
}

fn store_step(mail: &KnownMail, kind: StepKind, (at, until): (Timestamp, Timestamp)) -> Step {
    Step {
        kind,
        name: String::new(),
        at,
        microseconds: microseconds(at, until),
        stack: mail.stack.clone(),
        service: STORE.to_owned(),
        session: None,
        record: None,
        outcome: Outcome::Ok,
        sentence: String::new(),
        reply: None,
    }
}

/// What has happened at the store, as it tells itself.
fn at_store(mail: &KnownMail, event: &Event) -> Option<Step> {
    let (kind, name, outcome, sentence) = match &event.kind {
        EventKind::Accepted { octets, .. } => {
            let sentence = format!("The store of {} has the message, {octets} octets, on its disk.", mail.stack);
            (StepKind::Commit, "Commit", Outcome::Ok, sentence)
        }
        EventKind::Delivered { recipients } => {
            (StepKind::Delivered, "Delivered", Outcome::Ok, format!("It is in the mailbox of {}.", list(recipients)))
        }
        EventKind::Held { recipients } => {
            (StepKind::Held, "Held", Outcome::Waiting, format!("An operator holds it for {}.", list(recipients)))
        }
        EventKind::Released { recipients } => {
            let sentence = format!("An operator has released it for {}: it is due.", list(recipients));
            (StepKind::Held, "Released", Outcome::Ok, sentence)
        }
        EventKind::Deleted { recipients, by } => {
            let who = match by {
                DeletedBy::Session => "their user",
                DeletedBy::Retention => "the age that retention.messages allows",
                DeletedBy::Operator => "an operator",
            };
            let sentence = format!("It was deleted for {}, by {who}.", list(recipients));
            (StepKind::Deleted, "Deleted", Outcome::Ok, sentence)
        }
        _ => return None,
    };
    Some(Step { name: name.to_owned(), outcome, sentence, ..store_step(mail, kind, (event.at, event.at)) })
}

/// What was decided about recipients, as the store has it.
fn decision(mail: &KnownMail, event: &Event) -> Option<Step> {
    let (kind, name, outcome, sentence, reply) = match &event.kind {
        EventKind::Deferred { recipients, reply, .. } => {
            let sentence = format!("It is tried again for {}.", list(recipients));
            (StepKind::Deferred, "Put off", Outcome::Waiting, sentence, Some(reply))
        }
        EventKind::Relayed { recipients, exchange, reply, .. } => {
            let sentence = format!("{exchange} is responsible for it now, for {}.", list(recipients));
            (StepKind::Relayed, "Relayed", Outcome::Ok, sentence, Some(reply))
        }
        EventKind::Failed { recipients, said_by: None, reply } if reply == GIVEN_UP => {
            let sentence = format!("An operator has given it up, for {}.", list(recipients));
            (StepKind::Failed, "Given up", Outcome::Refused, sentence, Some(reply))
        }
        EventKind::Failed { recipients, said_by, reply } => {
            let who = said_by.as_deref().unwrap_or("This server");
            let sentence = format!("{who} has refused it for good, for {}.", list(recipients));
            (StepKind::Failed, "Refused for good", Outcome::Refused, sentence, Some(reply))
        }
        EventKind::Expired { recipients, reply } => {
            let sentence = format!("It was tried for as long as relay.expiry says, for {}.", list(recipients));
            (StepKind::Failed, "Given up", Outcome::Refused, sentence, Some(reply))
        }
        EventKind::Finished { recipients } => {
            let sentence = format!("It has left the queue, for {}.", list(recipients));
            (StepKind::Relayed, "Finished", Outcome::Ok, sentence, None)
        }
        _ => return None,
    };
    let reply = reply.cloned().filter(|reply| !reply.is_empty());
    Some(Step { name: name.to_owned(), outcome, sentence, reply, ..store_step(mail, kind, (event.at, event.at)) })
}

/// The message's id at the server that has taken it.
fn peer_id(attempt: &Attempt<'_>) -> Option<MessageId> {
    attempt.outcomes.iter().find_map(|event| match event.kind {
        EventKind::Relayed { peer_id, .. } => peer_id,
        _ => None,
    })
}

fn missing(what: &str) -> String {
    format!("The records of the {what} are missing: they are bounded, and a restart forgets them.")
}

fn list(recipients: &[Mailbox]) -> String {
    recipients.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
