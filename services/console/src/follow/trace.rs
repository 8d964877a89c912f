//! Follows what gateways and name servers record of their sessions.

use super::{
    Backoff, FollowState, Follower, WAIT,
    traces::{FollowedTrace, run_of},
};
use crate::services::Service;
use internal_api::{ProblemKind, RecordsClient};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::{net::lookup_host, sync::watch};
use tokio_util::sync::{CancellationToken, DropGuard};

/// How often it is looked which processes stand behind a name.
const RESOLVE: Duration = Duration::from_secs(5);
/// How often a service that records nothing is asked again: it may be started anew with records.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// Follows every process behind the URL of a service.
pub(super) async fn follow_all(follower: Follower, service: Service) {
    let mut followed: BTreeMap<String, DropGuard> = BTreeMap::new();
    loop {
        let urls = urls(&service.url).await;
        // While a name is unknown, those who were behind it may live on.
        if !urls.is_empty() {
            let gone: Vec<_> = followed.keys().filter(|url| !urls.contains(*url)).cloned().collect();
            for url in gone {
                followed.remove(&url);
                follower.states.forget(&url);
                follower.traces.forget(&url);
                close(&follower, &url).await;
            }
        }
        for url in urls {
            followed.entry(url.clone()).or_insert_with(|| {
                let stop = CancellationToken::new();
                let following = follow(follower.clone(), service.clone(), url);
                let (until, all) = (stop.clone(), follower.shutdown.clone());
                let following = async move { until.run_until_cancelled(following).await.unwrap_or_default() };
                service_kit::telemetry::spawn(
                    async move { all.run_until_cancelled(following).await.unwrap_or_default() },
                );
                stop.drop_guard()
            });
        }
        follower.io.sleep(RESOLVE).await;
    }
}

/// The URL with each address of its host.
pub(crate) async fn urls(url: &str) -> BTreeSet<String> {
    let Ok(parsed) = reqwest::Url::parse(url) else { return BTreeSet::new() };
    let (Some(host), Some(port)) = (parsed.host_str(), parsed.port_or_known_default()) else { return BTreeSet::new() };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match lookup_host((host, port)).await {
        Ok(addresses) => addresses.map(|address| format!("http://{address}")).collect(),
        Err(_) => BTreeSet::new(),
    }
}

async fn follow(follower: Follower, service: Service, url: String) {
    follower.states.set(&service, &url, FollowState::Starting, None);
    let Ok(endpoint) = follower.endpoint(&url) else { return };
    let client = RecordsClient::new(endpoint, follower.io);
    let (tell, applied) = watch::channel(None::<String>);
    follower.traces.add(&url, FollowedTrace { service: service.clone(), client: client.clone(), applied });
    let (mut after, mut backoff, mut wait) = (None::<String>, Backoff::new(), Duration::ZERO);
    loop {
        match client.trace(after.as_deref(), wait).await {
            Ok(page) => {
                let state = if page.recording { FollowState::Following } else { FollowState::RecordsNothing };
                follower.states.set(&service, &url, state, None);
                let (run, last_run) = (run_of(&page.next_after), tell.borrow().as_deref().and_then(run_of));
                if last_run.is_some() && run != last_run {
                    // It is another process: the sessions of the last one have ended without a word.
                    close(&follower, &url).await;
                }
                follower.states.dropped(&url, page.dropped.records + page.dropped.sessions);
                if !page.records.is_empty()
                    && let Err(error) = follower.index.apply_trace(&url, page.records).await
                {
                    tracing::error!(%error, "what a service has seen cannot be kept");
                }
                tell.send_replace(Some(page.next_after.clone()));
                (after, wait) = (Some(page.next_after), WAIT);
                backoff.reset();
            }
            Err(error) if error.kind() == Some(ProblemKind::NotFound) => {
                follower.states.set(&service, &url, FollowState::RecordsNothing, None);
                follower.io.sleep(ASK_AGAIN).await;
            }
            Err(error) => {
                // It may live on: what is open stays open until another process answers.
                follower.states.set(&service, &url, FollowState::Unreachable, Some(error.to_string()));
                backoff.pause(follower.io).await;
            }
        }
    }
}

async fn close(follower: &Follower, url: &str) {
    if let Err(error) = follower.index.close_sessions(url).await {
        tracing::error!(%error, "the sessions of a service that has gone cannot be closed");
    }
}
