//! The measurements.

mod accept;
mod filling;
mod growth;
mod idle;
mod pop3;
mod rounds;
mod start;

pub(crate) use accept::{Accept, AcceptRow, delivered};
pub(crate) use growth::{Growth, GrowthStep};
pub(crate) use idle::Idle;
pub(crate) use pop3::{Pop3, Pop3Row, Speed, Task};
pub(crate) use start::Start;

use crate::{
    args::{Args, Measure, Scale},
    machine::Machine,
    peers::{Peers, Pop3Peer},
    ports::Ports,
    process::Binaries,
    progress::Progress,
    town::{Shape, Town},
};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// All that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    /// Where.
    pub(crate) machine: Machine,
    /// What mailtown was compared with.
    pub(crate) peers: Vec<String>,
    /// What it was not compared with, and what would change that.
    pub(crate) missing: Vec<String>,
    /// How much was measured.
    pub(crate) scale: Scale,
    /// Each is absent when it was not asked for.
    pub(crate) start: Option<Pair<Start>>,
    pub(crate) idle: Option<Pair<Idle>>,
    pub(crate) smtp_accept: Option<Accept>,
    pub(crate) smtp_accept_tls: Option<Accept>,
    pub(crate) relay: Option<Accept>,
    pub(crate) growth: Option<Growth>,
    pub(crate) pop3: Option<Pop3>,
}

/// What was measured of mailtown, and of an earlier build of it where one was given.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Pair<T> {
    /// The build of this checkout.
    pub(crate) now: T,
    /// The earlier one.
    pub(crate) before: Option<T>,
}

/// The builds of mailtown that are measured.
pub(crate) struct Builds {
    /// The build of this checkout.
    pub(crate) now: Binaries,
    /// An earlier one.
    pub(crate) before: Option<Binaries>,
}

/// What all measurements need.
pub(crate) struct Bench<'a> {
    args: &'a Args,
    builds: Builds,
    state: PathBuf,
    scale: Scale,
    ports: Ports,
    machine: Machine,
    progress: Progress,
}

impl<'a> Bench<'a> {
    /// Measures in the directory `state`.
    ///
    /// # Errors
    /// When the machine cannot be described.
    pub(crate) fn new(args: &'a Args, builds: Builds, state: &Path, scale: Scale) -> anyhow::Result<Self> {
        let progress = Progress::new();
        progress.begin("looking at the machine");
        let machine = Machine::describe(state)?;
        Ok(Self { args, builds, state: state.to_owned(), scale, ports: Ports::default(), machine, progress })
    }

    /// Measures whatever was asked for.
    ///
    /// # Errors
    /// When any system fails under the load: there is no result then.
    pub(crate) async fn measure_all(self) -> anyhow::Result<Results> {
        let wants = |measure| self.args.wants(measure);
        let start = if wants(Measure::Start) { Some(start::measure(&self).await?) } else { None };
        let idle = if wants(Measure::Idle) { Some(idle::measure(&self).await?) } else { None };
        let mut peers = Peers::none();
        let (mut smtp_accept, mut smtp_accept_tls, mut relay) = (None, None, None);
        if [Measure::SmtpAccept, Measure::SmtpAcceptTls, Measure::Relay].into_iter().any(wants) {
            self.progress.begin("starting the systems");
            peers = self.peers()?;
            let towns = self.towns("town", Shape::LOADED)?;
            if wants(Measure::SmtpAccept) {
                smtp_accept = Some(accept::measure(&self, &towns, &peers).await?);
            }
            if wants(Measure::SmtpAcceptTls) {
                smtp_accept_tls = Some(accept::measure_tls(&self, &towns, &peers).await?);
            }
            if wants(Measure::Relay) {
                relay = Some(accept::measure_relay(&self, &towns, &peers).await?);
            }
        }
        let (mut versions, mut missing) = (std::mem::take(&mut peers.versions), std::mem::take(&mut peers.missing));
        drop(peers);
        let growth = if wants(Measure::Growth) { Some(growth::measure(&self).await?) } else { None };
        let pop3 = if wants(Measure::Pop3) {
            let (pop3, lacking) = pop3::measure(&self).await?;
            versions.extend(pop3.peer.clone().filter(|peer| !versions.contains(peer)));
            missing.extend(lacking);
            Some(pop3)
        } else {
            None
        };
        self.progress.end();
        let Self { machine, scale, .. } = self;
        Ok(Results {
            machine,
            peers: versions,
            missing,
            scale,
            start,
            idle,
            smtp_accept,
            smtp_accept_tls,
            relay,
            growth,
            pop3,
        })
    }

    fn peers(&self) -> anyhow::Result<Peers> {
        if self.args.no_peers {
            return Ok(Peers::none());
        }
        let peers = Peers::start(&self.state, &self.ports, self.args.dovecot_format)?;
        for missing in &peers.missing {
            self.progress.say(missing);
        }
        Ok(peers)
    }

    /// The Dovecot whose POP3 is compared, if any is wanted; the inner error tells why it is missing.
    fn pop3_peer(&self, users: &[String]) -> anyhow::Result<Result<Option<Pop3Peer>, String>> {
        if self.args.no_peers {
            return Ok(Ok(None));
        }
        let peer = Pop3Peer::start(&self.state, &self.ports, users, self.args.dovecot_hash)?;
        if let Err(missing) = &peer {
            self.progress.say(missing);
        }
        Ok(peer.map(Some))
    }

    /// A town of each build.
    fn towns(&self, name: &str, shape: Shape) -> anyhow::Result<Pair<Town>> {
        let town = |name: &str, builds| Town::new(self.state.join(name), &self.ports, shape, builds);
        let before = self.builds.before.as_ref().map(|builds| town(&format!("{name}-before"), builds));
        Ok(Pair { now: town(name, &self.builds.now)?, before: before.transpose()? })
    }

    fn town(&self, name: &str, binaries: &Binaries) -> anyhow::Result<Town> {
        Town::new(self.state.join(name), &self.ports, Shape::LOADED, binaries)
    }
}
