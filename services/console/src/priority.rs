//! Mail goes first: the threads of the console give way to those that carry mail.

use std::io;
use tokio::runtime::{Builder, Handle, Runtime};

/// How much its threads give way (nice(2)): while all cores are busy, they get about a tenth of the time that others get.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// How many threads handle its connections.
const THREADS: usize = 2;

/// Has the running thread, and those that it starts from now on, give way to others. Only Linux knows priorities of single
/// threads; elsewhere nothing changes.
pub fn give_way() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "the console has the priority of all others");
    }
}

/// Threads that give way, in a process that carries mail as well. Dropped, they end, and nothing waits for them.
#[derive(Debug)]
pub struct Threads {
    runtime: Option<Runtime>,
    handle: Handle,
}

impl Threads {
    /// Starts them.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn start() -> io::Result<Self> {
        let mut threads = Builder::new_multi_thread();
        threads.worker_threads(THREADS).thread_name("console").on_thread_start(give_way).enable_all();
        let runtime = threads.build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// Where tasks are spawned that run on them.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use rustix::process::getpriority_process;

    #[test]
    fn its_threads_give_way_and_no_others() {
        let before = getpriority_process(None).unwrap();
        let threads = Threads::start().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let own = || getpriority_process(None).unwrap();
        assert_eq!(runtime.block_on(threads.handle().spawn(async move { own() })).unwrap(), NICE);
        let started = move || std::thread::spawn(own).join().unwrap();
        assert_eq!(
            runtime.block_on(threads.handle().spawn_blocking(started)).unwrap(),
            NICE,
            "a thread that it has started"
        );
        assert_eq!(own(), before);
    }
}
