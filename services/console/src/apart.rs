//! Threads that give way to those that carry mail.

use crate::{Config, Listeners, ServiceError, run};
use service_kit::shutdown::CancellationToken;
use std::{io, thread};
use tokio::sync::oneshot;
use tracing::Instrument;

/// How much less of a processor the console gets than those who want it too: about a tenth.
const NICENESS: i32 = 10;

/// Lets this thread, and those that it starts, give way to others.
pub(crate) fn give_way() {
    // Where it is not permitted, all goes on as before.
    let _ = rustix::process::nice(NICENESS);
}

/// As [`run`], on threads of its own. They take what mail leaves of the processors, and little more.
///
/// # Errors
/// [`ServiceError`].
pub async fn run_apart(config: Config, listeners: Listeners, shutdown: CancellationToken) -> Result<(), ServiceError> {
    let (tell, told) = oneshot::channel();
    let span = tracing::Span::current();
    thread::Builder::new().name("console".to_owned()).spawn(move || {
        give_way();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let ended = match runtime {
            Ok(runtime) => runtime.block_on(run(config, listeners, shutdown).instrument(span)),
            Err(error) => Err(error.into()),
        };
        // Nobody hears it any more where the town has ended.
        let _ = tell.send(ended);
    })?;
    told.await.unwrap_or_else(|_| Err(io::Error::other("they have panicked").into()))
}
