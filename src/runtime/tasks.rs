//! Background tasks: tracked, stopped together, and started again when one fails.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info};

use crate::runtime::log::panic_text;

/// The longest pause before a task that keeps failing is restarted: long enough not to fill the log, short enough to
/// recover soon after the cause is gone.
const MAX_PAUSE: Duration = Duration::from_secs(5);

const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// A task that ran longer than this begins again with the first pause.
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
    /// No tasks yet. All tasks share `faults`.
    pub fn new(faults: Faults) -> Self {
        Tasks { faults, ..Tasks::default() }
    }

    /// Runs `future` as a task. A panic ends only this task.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(future);
    }

    /// Runs a background task until the gateway stops. A task that panics or ends is restarted after a pause, which
    /// doubles up to 5 s.
    pub fn supervise<F>(&self, name: &'static str, start: impl Fn() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let tasks = self.clone();
        self.tracker.spawn(async move {
            let mut pause = FIRST_PAUSE;
            loop {
                let started = Instant::now();
                // A separate task, so that a panic arrives here as a value.
                let task = tokio::spawn(tasks.stop.clone().run_until_cancelled_owned(start()));
                let reason = match task.await {
                    Ok(Some(())) => "the task ended".to_owned(),
                    Ok(None) => return,
                    Err(failed) => match failed.try_into_panic() {
                        Ok(panic) => panic_text(&*panic).unwrap_or("the task panicked").to_owned(),
                        Err(_) => "the task was cancelled".to_owned(),
                    },
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

    /// The number of restarts of background tasks.
    pub fn restarts(&self) -> u64 {
        self.restarts.load(Relaxed)
    }

    /// Cancelled when the gateway is to stop.
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

    /// A point at which a test may cause a panic.
    pub fn fault(&self, point: &'static str) {
        self.faults.pass(point);
    }
}

/// For tests: a function that is called at named points and may panic there. The points are `read` (a connection has
/// read bytes), `write` (before bytes are written to one connection), `hub` (before a hub delivers a room's events),
/// `sweep` (before old history is forgotten) and `time` (before holds end at their deadlines).
#[derive(Clone, Default)]
pub struct Faults(Option<Arc<dyn Fn(&'static str) + Send + Sync>>);

impl Faults {
    /// Calls `at` with the name of each point when passed.
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
