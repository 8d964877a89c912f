//! `pop3`: sessions, messages and octets a second beside Dovecot, and the time to log in to a large maildrop.

use super::{
    Bench, Pair,
    filling::{Mail, fill},
};
use crate::{
    args::Scale,
    peers::Pop3Peer,
    pop3::User,
    process::own_processor_time,
    statistics::{Summary, quantile},
    town::{DOMAINS, PASSWORD, PASSWORD_HASH, Shape, Town},
};
use anyhow::Context;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// How many clients read their messages at once.
const READERS: usize = 10;
/// Messages of 4 KiB in each of the maildrops that sessions and readers use.
const SMALL: u64 = 50;
/// Messages of [`LARGE_OCTETS`] in each of the maildrops that are read for octets a second.
const LARGE: u64 = 8;
const LARGE_OCTETS: usize = 1024 * 1024;
/// The octets of each message of the full maildrop.
const FULL_OCTETS: usize = 1024;
/// How many users log in at once before anything is measured.
const WARMING_UP: usize = 10;

/// What was measured with POP3.
#[derive(Debug, Serialize)]
pub(crate) struct Pop3 {
    /// What was compared with.
    pub(crate) peer: Option<String>,
    /// One for each task and number of clients.
    pub(crate) rows: Vec<Pop3Row>,
}

/// What clients do again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Task {
    /// Log in, STAT, QUIT.
    Sessions,
    /// Sessions that read all messages, of 4 KiB.
    Small,
    /// Sessions that read all messages, of 1 MiB.
    Large,
    /// Log in to the full maildrop, STAT, QUIT.
    Full,
}

/// The speeds at one task; each vector holds one entry for each round.
#[derive(Debug, Serialize)]
pub(crate) struct Pop3Row {
    /// What the clients did.
    pub(crate) task: Task,
    /// How many did it at once.
    pub(crate) clients: usize,
    /// mailtown.
    pub(crate) town: Vec<Speed>,
    /// An earlier build of mailtown.
    pub(crate) before: Vec<Speed>,
    /// Dovecot.
    pub(crate) peer: Vec<Speed>,
}

/// What one system did in one round.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Speed {
    /// Sessions in a second.
    pub(crate) sessions: f64,
    /// Messages that were read in a second.
    pub(crate) messages: f64,
    /// Octets of messages that were read in a second, in millions.
    pub(crate) megabytes: f64,
    /// Half of the logins, from connecting to the answer to STAT, or half of the messages took this many milliseconds at most.
    pub(crate) median_ms: f64,
    /// 99 of 100 did.
    pub(crate) p99_ms: f64,
    /// Which part of one processor the clients needed.
    pub(crate) generator: f64,
}

impl Task {
    /// What counts, of a speed.
    pub(crate) fn value(self, speed: &Speed) -> f64 {
        match self {
            Self::Sessions => speed.sessions,
            Self::Small => speed.messages,
            Self::Large => speed.megabytes,
            Self::Full => speed.median_ms,
        }
    }

    /// How many times as fast the first is.
    fn ratio(self, ours: &Speed, theirs: &Speed) -> f64 {
        let (ours, theirs) = (self.value(ours), self.value(theirs));
        if self == Self::Full { theirs / ours } else { ours / theirs }
    }

    /// How many messages its maildrops hold, and how long each is.
    fn maildrop(self, scale: &Scale) -> (u64, usize) {
        match self {
            Self::Sessions | Self::Small => (SMALL, scale.message_octets),
            Self::Large => (LARGE, LARGE_OCTETS),
            Self::Full => (scale.pop3_stored, FULL_OCTETS),
        }
    }

    /// The first of its users.
    fn first_user(self, scale: &Scale) -> usize {
        let small = scale.pop3_clients.iter().copied().max().unwrap_or_default().max(READERS);
        match self {
            Self::Sessions | Self::Small => 0,
            Self::Large => small,
            Self::Full => small + READERS,
        }
    }
}

impl Pop3Row {
    fn empty(task: Task, clients: usize) -> Self {
        Self { task, clients, town: Vec::new(), before: Vec::new(), peer: Vec::new() }
    }

    /// How many times as fast as Dovecot mailtown is.
    pub(crate) fn over_peer(&self) -> Option<Summary> {
        self.ratios(&self.peer)
    }

    /// How many times as fast as an earlier build mailtown is.
    pub(crate) fn of_before(&self) -> Option<Summary> {
        self.ratios(&self.before)
    }

    fn ratios(&self, theirs: &[Speed]) -> Option<Summary> {
        Summary::of_ratios(
            self.town.iter().zip(theirs).map(|(ours, theirs)| (self.task.ratio(ours, theirs), Some(1.0))),
        )
    }

    fn summary(&self) -> String {
        let median = |speeds: &[Speed]| {
            let values = speeds.iter().map(|speed| self.task.value(speed));
            Summary::of(values).map_or("-".to_owned(), |values| format!("{:.1}", values.median))
        };
        let (town, peer) = (median(&self.town), median(&self.peer));
        format!("pop3, {:?} with {} clients: mailtown {town}, Dovecot {peer}", self.task, self.clients)
    }
}

/// Compares how POP3 is served.
///
/// # Errors
/// When a system fails under the load.
pub(super) async fn measure(bench: &Bench<'_>) -> anyhow::Result<(Pop3, Option<String>)> {
    let scale = &bench.scale;
    let mut rows: Vec<_> = scale.pop3_clients.iter().map(|&clients| Pop3Row::empty(Task::Sessions, clients)).collect();
    rows.extend([(Task::Small, READERS), (Task::Large, READERS), (Task::Full, 1)].map(|(t, n)| Pop3Row::empty(t, n)));
    let users = users(scale);
    let shape = Shape { mailboxes: users.len(), connections: 1000, password: PASSWORD_HASH };
    let towns = bench.towns("pop3", shape)?;
    let (peer, missing) = match bench.pop3_peer(&users)? {
        Ok(peer) => (peer, None),
        Err(missing) => (None, Some(missing)),
    };
    prepare(bench, &towns, peer.as_ref(), &users).await?;
    let address = |town: &Town| town.plan().pop(1);
    let (town, before) = (address(&towns.now), towns.before.as_ref().map(address));
    let peer = peer.as_ref().map(Pop3Peer::address);
    for row in &mut rows {
        let (task, clients) = (row.task, row.clients);
        for round in 1..=scale.rounds {
            let systems = [
                (Some(town), "mailtown", &mut row.town),
                (before, "mailtown before", &mut row.before),
                (peer, "Dovecot", &mut row.peer),
            ];
            for (server, name, speeds) in systems {
                let Some(server) = server else { continue };
                let what = format!("pop3 round {round}: {task:?} of {name}, {clients} clients");
                bench.progress.begin(&what);
                speeds.push(speed(scale, task, clients, (server, &users)).await.context(what)?);
            }
        }
        bench.progress.say(&row.summary());
    }
    Ok((Pop3 { peer: peer.map(|_| Pop3Peer::version()), rows }, missing))
}

/// All users: those with small messages, those with large ones, and the one with many.
fn users(scale: &Scale) -> Vec<String> {
    (0..=Task::Full.first_user(scale)).map(|number| format!("u{number}@{}", DOMAINS[1])).collect()
}

/// Fills the maildrops, and lets every user log in once: hashes are computed and files read that are known from then on.
async fn prepare(
    bench: &Bench<'_>,
    towns: &Pair<Town>,
    peer: Option<&Pop3Peer>,
    users: &[String],
) -> anyhow::Result<()> {
    bench.progress.begin("filling maildrops");
    for town in [Some(&towns.now), towns.before.as_ref()].into_iter().flatten() {
        fill(&town.store()?, mail(&bench.scale, users)).await?;
        warm_up(town.plan().pop(1), users).await?;
        town.rest().await?;
    }
    if let Some(peer) = peer {
        for mail in mail(&bench.scale, users) {
            peer.put(&mail.recipient, mail.number, &mail.text()?)?;
        }
        warm_up(peer.address(), users).await?;
    }
    Ok(())
}

/// What all maildrops hold.
fn mail(scale: &Scale, users: &[String]) -> impl Iterator<Item = Mail> {
    let task = |user: usize| match user {
        user if user < Task::Large.first_user(scale) => Task::Small,
        user if user < Task::Full.first_user(scale) => Task::Large,
        _ => Task::Full,
    };
    let all = users.iter().enumerate().flat_map(move |(number, user)| {
        let (messages, octets) = task(number).maildrop(scale);
        (0..messages).map(move |_| (user.clone(), octets))
    });
    (0..).zip(all).map(|(number, (recipient, octets))| Mail { number, recipient, octets })
}

async fn warm_up(server: SocketAddr, users: &[String]) -> anyhow::Result<()> {
    let log_in = |(number, name): (u32, &String)| {
        let mut user = User::new(server, number, name, PASSWORD);
        async move { user.log_in().await?.quit().await }
    };
    let sessions = stream::iter((0..).zip(users)).map(log_in).buffer_unordered(WARMING_UP);
    sessions.try_collect::<()>().await.context("warming up failed")
}

/// What one client has done.
#[derive(Default)]
struct Work {
    sessions: u64,
    messages: u64,
    octets: u64,
    milliseconds: Vec<f64>,
}

async fn speed(
    scale: &Scale,
    task: Task,
    clients: usize,
    (server, users): (SocketAddr, &[String]),
) -> anyhow::Result<Speed> {
    let users = &users[task.first_user(scale)..][..clients];
    let maildrop = task.maildrop(scale);
    let (started, processor_time) = (Instant::now(), own_processor_time()?);
    let mut working = JoinSet::new();
    for (number, name) in (0..).zip(users) {
        let user = User::new(server, number, name, PASSWORD);
        working.spawn(work(user, task, maildrop, started + scale.duration()));
    }
    let mut all = Work::default();
    while let Some(ended) = working.join_next().await {
        let work = ended??;
        all.sessions += work.sessions;
        all.messages += work.messages;
        all.octets += work.octets;
        all.milliseconds.extend(work.milliseconds);
    }
    let (elapsed, used) = (started.elapsed(), own_processor_time()?.saturating_sub(processor_time));
    Ok(all.speed(elapsed, used))
}

async fn work(mut user: User, task: Task, (messages, octets): (u64, usize), deadline: Instant) -> anyhow::Result<Work> {
    let mut work = Work::default();
    let since = |begun: Instant| begun.elapsed().as_secs_f64() * 1e3;
    while work.sessions == 0 || Instant::now() < deadline {
        let begun = Instant::now();
        let mut session = user.log_in().await?;
        let logged_in = since(begun);
        anyhow::ensure!(session.messages == messages, "{} messages, not {messages}", session.messages);
        if matches!(task, Task::Sessions | Task::Full) {
            work.milliseconds.push(logged_in);
        } else {
            for number in 1..=messages {
                let begun = Instant::now();
                let received = session.retrieve(number).await?;
                anyhow::ensure!(received > octets as u64, "message {number} came with {received} octets");
                work.milliseconds.push(since(begun));
                work.messages += 1;
                work.octets += octets as u64;
            }
        }
        session.quit().await?;
        work.sessions += 1;
    }
    Ok(work)
}

impl Work {
    fn speed(mut self, elapsed: Duration, used: Duration) -> Speed {
        self.milliseconds.sort_by(f64::total_cmp);
        let at = |part| quantile(&self.milliseconds, part).unwrap_or_default();
        let a_second = |number: u64| number as f64 / elapsed.as_secs_f64();
        Speed {
            sessions: a_second(self.sessions),
            messages: a_second(self.messages),
            megabytes: a_second(self.octets) / 1e6,
            median_ms: at(0.5),
            p99_ms: at(0.99),
            generator: used.as_secs_f64() / elapsed.as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_time_is_faster_and_a_greater_rate_is_too() {
        let speed = |sessions, median_ms| Speed {
            sessions,
            messages: 1.0,
            megabytes: 1.0,
            median_ms,
            p99_ms: 1.0,
            generator: 0.5,
        };
        let row = |task| Pop3Row {
            town: vec![speed(30.0, 2.0)],
            before: vec![speed(20.0, 2.0)],
            peer: vec![speed(10.0, 8.0)],
            ..Pop3Row::empty(task, 1)
        };
        let median = |ratio: Option<Summary>| ratio.map(|ratio| ratio.median);
        assert_eq!(median(row(Task::Sessions).over_peer()), Some(3.0));
        assert_eq!(median(row(Task::Sessions).of_before()), Some(1.5));
        assert_eq!(median(row(Task::Full).over_peer()), Some(4.0));
        assert_eq!(median(Pop3Row::empty(Task::Full, 1).over_peer()), None);
    }

    #[test]
    fn rates_are_of_all_the_time() {
        let work = Work { sessions: 2, messages: 100, octets: 3_000_000, milliseconds: vec![3.0, 1.0, 2.0] };
        let speed = work.speed(Duration::from_secs(2), Duration::from_secs(1));
        let rates = [Task::Sessions, Task::Small, Task::Large, Task::Full].map(|task| task.value(&speed));
        assert_eq!(rates, [1.0, 50.0, 1.5, 2.0]);
        assert!((speed.generator - 0.5).abs() < 1e-9);
    }
}
