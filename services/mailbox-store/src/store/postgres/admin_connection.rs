//! A connection for those who read or write a whole database. Blocks.

use super::{
    failure::Failure,
    open::{self, OpenError, Properties},
    pool::{ADMINISTERING, Parameters, Session},
    url::DatabaseUrl,
};
use crate::store::StoreError;
use mail_net::IoClock;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::Row;

/// How it appears to the database, which is not how stores do.
const NAME: &str = "mailbox-store administration";
/// A connection that was closed is seen by others for a moment.
const DEPARTURE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(50);

/// One connection and nothing beside it.
pub(super) struct AdminConnection {
    url: DatabaseUrl,
    session: Session,
    io: IoClock,
    /// Goes last: the connection lives in it.
    runtime: Runtime,
}

impl AdminConnection {
    pub(super) fn open(url: &DatabaseUrl, io: IoClock) -> Result<Self, OpenError> {
        let unusable = |error: StoreError| OpenError::Unusable { url: url.clone(), error };
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| unusable(StoreError::Internal(error.to_string())))?;
        let mut config = url.config().clone();
        config.application_name(NAME);
        let session = runtime.block_on(Session::open(&config, &ADMINISTERING, io));
        let session = session.map_err(|failure| unusable(failure.into()))?;
        Ok(Self { url: url.clone(), session, io, runtime })
    }

    pub(super) fn url(&self) -> DatabaseUrl {
        self.url.clone()
    }

    pub(super) fn query(&self, sql: &'static str, parameters: Parameters<'_>) -> Result<Vec<Row>, OpenError> {
        self.finish(self.session.query(sql, parameters))
    }

    pub(super) fn execute(&self, sql: &'static str, parameters: Parameters<'_>) -> Result<u64, OpenError> {
        self.finish(self.session.execute(sql, parameters))
    }

    pub(super) fn command(&self, sql: &str) -> Result<(), OpenError> {
        self.finish(self.session.command(sql))
    }

    /// What a query gives, decoded.
    pub(super) fn records<T>(
        &self,
        sql: &'static str,
        parameters: Parameters<'_>,
        record: impl Fn(&Row) -> Result<T, tokio_postgres::Error>,
    ) -> Result<Vec<T>, OpenError> {
        let rows = self.query(sql, parameters)?;
        rows.iter().map(record).collect::<Result<_, _>>().map_err(|error| self.failed(error))
    }

    /// What the database says of itself, if it does.
    pub(super) fn properties(&self) -> Result<Option<Properties>, OpenError> {
        self.finish(open::properties(&self.session))
    }

    /// Refuses a database that a store is connected to, as far as the database tells: a store keeps connections, and
    /// says who it is.
    pub(super) fn refuse_running(&self) -> Result<(), OpenError> {
        let select = "SELECT COUNT(*) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = 'mailbox-store'";
        let departed_by = self.io.instant() + DEPARTURE;
        while self.records(select, &[], |row| row.try_get::<_, i64>(0))? != [0] {
            if self.io.instant() > departed_by {
                return Err(OpenError::InUse { url: self.url() });
            }
            self.runtime.block_on(async { self.io.sleep(PAUSE).await });
        }
        Ok(())
    }

    fn finish<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, OpenError> {
        self.runtime.block_on(work).map_err(|failure| self.failed(failure))
    }

    pub(super) fn failed(&self, failure: impl Into<Failure>) -> OpenError {
        OpenError::Unusable { url: self.url(), error: failure.into().into() }
    }
}
