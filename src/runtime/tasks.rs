//! Background tasks: tracked, stopped together, and started again when one fails.

use std::any::Any;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info};

/// The longest pause before a task that keeps failing is tried again: seldom enough not to fill
/// the log, often enough to be back soon when the cause is gone.
const MAX_PAUSE: Duration = Duration::from_secs(5);

const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// After so long a failure is one of its own, and no longer part of the last.
const CALM: Duration = Duration::from_secs(60);

/// All tasks of one gateway. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    restarts: Arc<AtomicU64>,
    faults: Faults,
}

impl Tasks {
    /// No tasks yet; `faults` go off in those to come.
    pub fn new(faults: Faults) -> Self {
        Tasks { faults, ..Tasks::default() }
    }

    /// Runs `future` on its own. A panic in it ends nothing else.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(future);
    }

    /// Keeps a background task going until the gateway stops: when it panics or ends, it is started
    /// again, after a pause that doubles up to 5 s.
    pub fn supervise<F>(&self, name: &'static str, start: impl Fn() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let tasks = self.clone();
        self.tracker.spawn(async move {
            let mut pause = FIRST_PAUSE;
            loop {
                let started = Instant::now();
                // A task of its own, so that its panic arrives here as a value.
                let task = tokio::spawn(tasks.stop.clone().run_until_cancelled_owned(start()));
                let reason = match task.await {
                    Ok(Some(())) => "it ended".to_owned(),
                    Ok(None) => return,
                    Err(failed) => failed.try_into_panic().map_or("it was cancelled".to_owned(), |p| said(&*p)),
                };
                tasks.restarts.fetch_add(1, Relaxed);
                error!(task = name, reason, "background task failed; starting it again");
                if started.elapsed() > CALM {
                    pause = FIRST_PAUSE;
                }
                sleep(pause).await;
                pause = MAX_PAUSE.min(pause * 2);
            }
        });
    }

    /// How often background tasks were started again.
    pub fn restarts(&self) -> u64 {
        self.restarts.load(Relaxed)
    }

    /// Goes off when the gateway is to stop.
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Waits until all tasks have ended, at most for `limit`.
    pub async fn ended(&self, limit: Duration) {
        self.tracker.close();
        if timeout(limit, self.tracker.wait()).await.is_err() {
            info!(left = self.tracker.len(), "stopping without waiting for the rest");
        }
    }

    /// A place where a test may make something fail.
    pub fn fault(&self, point: &'static str) {
        self.faults.pass(point);
    }
}

/// What a panic said.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked").to_owned()
}

/// For tests: something to call at named points, which may panic there. The points are `read` (a
/// connection has read bytes), `write` (bytes go out to one connection), `hub` (a hub delivers a
/// room's events), `sweep` (old history is being forgotten) and `time` (holds whose time is over are being ended).
#[derive(Clone, Default)]
pub struct Faults(Option<Arc<dyn Fn(&'static str) + Send + Sync>>);

impl Faults {
    /// Calls `at` with the name of each point that is passed.
    pub fn new(at: impl Fn(&'static str) + Send + Sync + 'static) -> Self {
        Faults(Some(Arc::new(at)))
    }

    fn pass(&self, point: &'static str) {
        if let Some(at) = &self.0 {
            at(point);
        }
    }
}

impl std::fmt::Debug for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Faults(set)" } else { "Faults(none)" })
    }
}
