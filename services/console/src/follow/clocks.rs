//! The clocks of all services.

use super::Town;
use crate::services::{Service, ServiceKind};
use futures_util::{
    FutureExt,
    future::{join_all, select_all},
};
use internal_api::{ApiError, ClockClient, ClockState, EventPosition};
use jiff::Timestamp;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::watch;

/// The clients of clocks by URL. A client keeps its connections. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct ClockClients(Arc<Mutex<BTreeMap<String, ClockClient>>>);

/// The clock of one process.
#[derive(Debug, Clone)]
pub(crate) struct ServiceClock {
    pub(crate) service: Service,
    client: ClockClient,
}

/// What a clock has answered.
#[derive(Debug)]
pub(crate) struct ClockAnswer {
    pub(crate) service: Service,
    pub(crate) state: Result<ClockState, ApiError>,
}

/// Tells when stores have told of events.
pub(crate) struct StoreEvents(Vec<watch::Receiver<EventPosition>>);

impl StoreEvents {
    /// What has come counts as seen.
    pub(crate) fn mark_seen(&mut self) {
        self.0.iter_mut().for_each(watch::Receiver::mark_unchanged);
    }

    /// Returns once one has come that was not seen.
    pub(crate) async fn come(&mut self) {
        let each: Vec<_> = self.0.iter_mut().map(|applied| applied.changed().boxed()).collect();
        if each.is_empty() {
            std::future::pending::<()>().await;
        }
        // Without a sender the console stops.
        let _ = select_all(each).await;
    }
}

impl Town {
    /// The clocks of all services: of every process that stands behind their URLs now.
    pub(crate) async fn clocks(&self) -> Vec<ServiceClock> {
        let urls = self.services.iter().map(async |service| (service, super::trace::urls(&service.url).await));
        let mut clocks = Vec::new();
        for (service, mut urls) in join_all(urls).await {
            if urls.is_empty() {
                urls.insert(service.url.clone());
            }
            let of_url = |url: String| Some(ServiceClock { service: service.clone(), client: self.clock_of(&url)? });
            clocks.extend(urls.into_iter().filter_map(of_url));
        }
        clocks
    }

    /// Returns once a service answers that did not before, or that was not known.
    pub(crate) async fn service_came(&self) {
        self.states.came.notified().await;
    }

    /// Waits for events of all stores.
    pub(crate) fn store_events(&self) -> StoreEvents {
        StoreEvents(self.stores.iter().map(|store| store.applied.clone()).collect())
    }

    fn clock_of(&self, url: &str) -> Option<ClockClient> {
        let mut clients = self.clock_clients.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(url) {
            return Some(client.clone());
        }
        let endpoint = crate::services::endpoint(url, self.token.as_ref()).ok()?;
        let client = ClockClient::new(endpoint, self.io);
        clients.insert(url.to_owned(), client.clone());
        Some(client)
    }
}

/// What these clocks show.
pub(crate) async fn states(clocks: &[ServiceClock]) -> Vec<ClockAnswer> {
    let answers = clocks
        .iter()
        .map(async |clock| ClockAnswer { service: clock.service.clone(), state: clock.client.state().await });
    join_all(answers).await
}

/// Moves these clocks to `now`, all at once.
pub(crate) async fn move_all(clocks: &[ServiceClock], now: Timestamp) -> Vec<ClockAnswer> {
    let answers = clocks
        .iter()
        .map(async |clock| ClockAnswer { service: clock.service.clone(), state: clock.client.move_to(now).await });
    join_all(answers).await
}

/// Sets these clocks to `now`, also back, all at once.
pub(crate) async fn set_all(clocks: &[ServiceClock], now: Timestamp) -> Vec<ClockAnswer> {
    let answers = clocks
        .iter()
        .map(async |clock| ClockAnswer { service: clock.service.clone(), state: clock.client.set_to(now).await });
    join_all(answers).await
}

/// When the next thing happens by itself in these services, after `now`. What should have happened before is waited for in
/// another way.
pub(crate) async fn next_due(clocks: &[ServiceClock], now: Timestamp) -> Option<Timestamp> {
    let stores: Vec<_> = clocks.iter().filter(|clock| clock.service.kind == ServiceKind::Store).cloned().collect();
    let answers = states(&stores).await;
    answers.into_iter().filter_map(|answer| answer.state.ok()?.next_due).filter(|due| *due > now).min()
}
