//! The faults of the town: the console knows them all and sees to it that each service does.

use crate::{index::Index, services::Service};
use faults::{Counts, Fault, FaultState, Settings};
use futures_util::future::join_all;
use internal_api::{ApiError, FaultsClient, Problem, ProblemKind, ServiceFaults};
use mail_net::IoClock;
use service_kit::{
    http::{Token, extract::invalid},
    shutdown::CancellationToken,
    telemetry,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::{Mutex as AsyncMutex, Notify};

/// How long a service may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often it is looked whether a service has been started anew: while there are faults, and while there are none.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// Why a service without the routes of faults is not told.
const TAKES_NONE: &str = "it takes no faults ([faults] api = false)";

/// The faults of the town. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct TownFaults(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    services: Vec<Service>,
    /// The servers of the configuration, of those too whose services nobody follows here.
    servers: Vec<String>,
    token: Option<Token>,
    io: IoClock,
    /// What was set. `None` until it is known what services were started with.
    wanted: AsyncMutex<Option<Settings>>,
    /// Something was set.
    changed: Notify,
    /// What was known last.
    last: Mutex<Report>,
    index: Index,
}

/// What is known of the faults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// What was set.
    pub(crate) settings: Settings,
    /// How often each fault has happened in the whole town.
    pub(crate) states: BTreeMap<String, FaultState>,
    /// The services that could not be told, and why. They are told as soon as they can be.
    pub(crate) untold: BTreeMap<String, String>,
}

impl TownFaults {
    /// The faults of these services, and of these servers of the configuration. Until `shutdown`, each one that is started anew is told of them. Who follows the index is
    /// woken when something has changed.
    pub(crate) fn start(
        (services, servers): (Vec<Service>, Vec<String>),
        token: Option<Token>,
        index: &Index,
        io: IoClock,
        shutdown: &CancellationToken,
    ) -> Self {
        let shared = Shared {
            services,
            servers,
            token,
            io,
            wanted: AsyncMutex::default(),
            changed: Notify::new(),
            last: Mutex::default(),
            index: index.clone(),
        };
        let faults = Self(Arc::new(shared));
        let (keeping, until) = (faults.clone(), shutdown.clone());
        telemetry::spawn(async move {
            until.run_until_cancelled(keeping.keep()).await;
        });
        faults
    }

    /// What was set, and what has happened.
    pub(crate) async fn report(&self) -> Report {
        let mut wanted = self.0.wanted.lock().await;
        self.told(&mut wanted).await
    }

    /// What was known when the services were asked last: a second ago at most while there are faults.
    pub(crate) fn last(&self) -> Report {
        self.0.last().clone()
    }

    /// Changes what is set, and tells all services. What makes no sense changes nothing.
    ///
    /// # Errors
    /// [`ProblemKind::InvalidRequest`]; [`ProblemKind::Overloaded`] while it is not known with which faults the services
    /// were started.
    pub(crate) async fn change(&self, change: impl FnOnce(&mut Settings)) -> Result<Report, Problem> {
        self.change_if(change, |faults, fault| faults.check_stacks(fault)).await
    }

    /// Changes what is set if each fault that is new or another one passes.
    async fn change_if(
        &self,
        change: impl FnOnce(&mut Settings),
        check: impl Fn(&Self, (&String, &Fault)) -> Result<(), Problem>,
    ) -> Result<Report, Problem> {
        let mut wanted = self.0.wanted.lock().await;
        if wanted.is_none() {
            self.told(&mut wanted).await;
        }
        let unknown = || Problem::new(ProblemKind::Overloaded, "no service has told its faults yet; try again soon");
        let before = wanted.clone().ok_or_else(unknown)?;
        let mut settings = before.clone();
        change(&mut settings);
        settings.check().map_err(|error| invalid(error.to_string()))?;
        for fault in settings.faults.iter().filter(|(name, fault)| before.faults.get(*name) != Some(fault)) {
            check(self, fault)?;
        }
        *wanted = Some(settings);
        self.0.changed.notify_one();
        Ok(self.told(&mut wanted).await)
    }

    /// Refuses a fault of a server that the town does not have.
    fn check_stacks(&self, (name, fault): (&String, &Fault)) -> Result<(), Problem> {
        let stacks = self.0.services.iter().map(|service| service.stack.as_str());
        let known: BTreeSet<_> = stacks.chain(self.0.servers.iter().map(String::as_str)).collect();
        fault.check_stacks(&Vec::from_iter(known)).map_err(|error| invalid(format!("{name}: {error}")))
    }

    /// What all services have counted, by their names. Those that do not tell are missing.
    pub(crate) async fn counts(&self) -> BTreeMap<String, Counts> {
        let clients = self.clients().await;
        let asked = clients.into_iter().map(async |(name, client)| {
            let counts = self.0.io.timeout(PATIENCE, client.counts()).await;
            Some((name, counts.ok()?.ok()?))
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// Sets these faults, and has all services count on from what they had counted then. What was not counted begins anew.
    ///
    /// # Errors
    /// As [`TownFaults::change`].
    pub(crate) async fn restore(
        &self,
        settings: Settings,
        counts: &BTreeMap<String, Counts>,
    ) -> Result<Report, Problem> {
        // The town of the snapshot may have had other servers.
        let report = self.change_if(|now| *now = settings, |_, _| Ok(())).await?;
        self.count_on_from(counts).await;
        Ok(report)
    }

    /// Clears all faults, and has magic recipients count anew.
    ///
    /// # Errors
    /// As [`TownFaults::change`].
    pub(crate) async fn begin_anew(&self) -> Result<Report, Problem> {
        let report = self.change(|now| now.faults.clear()).await?;
        self.count_on_from(&BTreeMap::new()).await;
        Ok(report)
    }

    async fn count_on_from(&self, counts: &BTreeMap<String, Counts>) {
        let clients = self.clients().await;
        let told = clients.into_iter().map(async |(name, client)| {
            let counts = counts.get(&name).cloned().unwrap_or_default();
            // A service that cannot be told is in the report, or of an earlier version.
            let _ = self.0.io.timeout(PATIENCE, client.set_counts(&counts)).await;
        });
        join_all(told).await;
    }

    /// A client of each process, by a name that it has after a restart as well.
    async fn clients(&self) -> Vec<(String, FaultsClient)> {
        let mut clients = Vec::new();
        for (service, urls) in self.processes().await {
            for (number, url) in (1..).zip(urls) {
                let Ok(endpoint) = crate::services::endpoint(&url, self.0.token.as_ref()) else { continue };
                let name = format!("{} of {} #{number}", service.kind.name(), service.stack);
                clients.push((name, FaultsClient::new(endpoint, self.0.io)));
            }
        }
        clients
    }

    /// The URLs of the processes of each service. A service whose name is unknown has none.
    async fn processes(&self) -> Vec<(&Service, BTreeSet<String>)> {
        let urls = self.0.services.iter().map(async |service| {
            let urls = self.0.io.timeout(PATIENCE, crate::follow::urls(&service.url)).await;
            (service, urls.unwrap_or_default())
        });
        join_all(urls).await
    }

    /// Looks after services that were started anew.
    async fn keep(&self) {
        loop {
            let report = self.report().await;
            let has_faults = !report.settings.faults.is_empty();
            let pause = if has_faults { LOOK_AGAIN.0 } else { LOOK_AGAIN.1 };
            let _ = self.0.io.timeout(pause, self.0.changed.notified()).await;
        }
    }

    /// Asks all services what they know, and tells those that know something else. At the first time, what they were started
    /// with is what was set.
    async fn told(&self, wanted: &mut Option<Settings>) -> Report {
        let found = self.processes().await.into_iter();
        let clients: BTreeMap<_, _> =
            found.flat_map(|(service, urls)| urls.into_iter().map(move |url| (url, service))).collect();
        let asked = clients.iter().map(async |(url, service)| (url, *service, self.ask(url, wanted.as_ref()).await));
        let answers = join_all(asked).await;
        let mut report = Report::default();
        if wanted.is_none() {
            let known = answers.iter().filter_map(|(_, _, answer)| answer.as_ref().ok());
            let started_with = known.map(|(settings, _)| settings).max_by_key(|settings| settings.faults.len());
            // A service that takes no faults was started with none.
            let takes_none =
                || answers.iter().any(|(_, _, answer)| answer.as_ref().is_err_and(|why| why == TAKES_NONE));
            *wanted = started_with.cloned().or_else(|| takes_none().then(Settings::default));
        }
        report.settings = wanted.clone().unwrap_or_default();
        for (url, service, answer) in answers {
            match answer {
                Ok((_, states)) => report.add(states),
                Err(error) => drop(report.untold.insert(url.clone(), format!("{service}: {error}"))),
            }
        }
        let reached: BTreeSet<&str> = clients.values().map(|service| service.url.as_str()).collect();
        for service in self.0.services.iter().filter(|service| !reached.contains(service.url.as_str())) {
            report.untold.insert(service.url.clone(), format!("{service}: its name is unknown"));
        }
        self.0.remember(&report);
        report
    }

    /// What the service at this URL knows, after it was told if it knew something else.
    async fn ask(
        &self,
        url: &str,
        wanted: Option<&Settings>,
    ) -> Result<(Settings, BTreeMap<String, FaultState>), String> {
        let endpoint = crate::services::endpoint(url, self.0.token.as_ref()).map_err(|error| error.to_string())?;
        let client = FaultsClient::new(endpoint, self.0.io);
        let asking = async {
            let known = client.faults().await?;
            if let Some(wanted) = wanted.filter(|wanted| **wanted != known.settings) {
                client.set_faults(wanted).await?;
                return client.faults().await;
            }
            Ok::<ServiceFaults, ApiError>(known)
        };
        match self.0.io.timeout(PATIENCE, asking).await {
            Ok(Ok(known)) => Ok((known.settings, known.states)),
            Ok(Err(error)) if error.kind() == Some(ProblemKind::NotFound) => Err(TAKES_NONE.to_owned()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("it does not answer".to_owned()),
        }
    }
}

impl Shared {
    fn last(&self) -> MutexGuard<'_, Report> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, report: &Report) {
        let mut last = self.last();
        if *last != *report {
            report.clone_into(&mut last);
            drop(last);
            self.index.touch();
        }
    }
}

impl Report {
    fn add(&mut self, states: BTreeMap<String, FaultState>) {
        for (name, state) in states {
            let total = self.states.entry(name).or_default();
            total.fired += state.fired;
            total.sessions.extend(state.sessions);
        }
    }
}
