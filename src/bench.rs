//! The load generator: `presently bench URL` measures a running gateway from outside.
//!
//! The bench is a client like any other, and imports nothing from the gateway. A workload (`workload`, one module each)
//! runs in a `context`. The readers are a `reader_pool` on one thread: each `reader` decodes bytes with a
//! `frame_decoder` and applies the frames to a `view` of the room, which is small and yet enough to compare with the
//! gateway's set in the end. On the `scoreboard`, `publishers` note the send time of each event, and readers the
//! latency. The result is a [`Report`].

mod error;
mod cursor;
mod latencies;
mod frame_decoder;
mod process;
mod target;
mod http_client;
mod room;
mod options;
mod view;
mod scoreboard;
mod progress;
mod report;
mod schedule;
mod publishers;
mod reader;
mod reader_pool;
mod context;
mod workload;

use std::future::Future;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub use error::BenchError;
pub use options::Options;
pub use report::Report;

use context::Context;

/// Time for signing all members out in the end.
const CLEAN_UP_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs one workload, and signs all its users out in the end. When `interrupt` resolves, or after `--limit`, the bench
/// ends early and reports the figures so far.
///
/// # Errors
///
/// [`BenchError::Options`] if this machine cannot do what the options ask for; [`BenchError::Gateway`]
/// if the gateway cannot be reached, or does not answer as Presently does.
pub async fn run(options: Options, interrupt: impl Future<Output = ()> + Send + 'static) -> Result<Report, BenchError> {
    let limit = options.limit;
    let (stop, over_limit) = (CancellationToken::new(), CancellationToken::new());
    let ending = end_early(interrupt, limit, stop.clone(), over_limit.clone());
    let _ending = AbortOnDropHandle::new(tokio::spawn(ending));
    let context = stop.run_until_cancelled(Context::new(options, stop.clone())).await;
    let mut context = context.unwrap_or_else(|| Err(BenchError::gateway("ended before the gateway answered")))?;
    let done = workload::run(&mut context).await;
    if stop.is_cancelled() {
        context.report.interrupt();
    } else {
        context.check_connections();
    }
    if over_limit.is_cancelled() {
        let limit = humantime::format_duration(limit);
        context.report.fault(format!("the bench was not done within --limit, {limit}"));
    }
    clean_up(&mut context).await;
    done.map(|()| context.report)
}

/// Cancels `stop` when `interrupt` resolves, or after `limit`, and `over_limit` with it.
async fn end_early(
    interrupt: impl Future<Output = ()>,
    limit: Duration,
    stop: CancellationToken,
    over_limit: CancellationToken,
) {
    tokio::select! {
        () = interrupt => {}
        () = sleep(limit) => over_limit.cancel(),
    }
    stop.cancel();
}

async fn clean_up(context: &mut Context) {
    context.progress.expect_steps("signing out", 0);
    let cleaned = timeout(CLEAN_UP_TIMEOUT, context.clean_up()).await;
    context.progress.finish();
    if !matches!(cleaned, Ok(Ok(()))) {
        context.report.fault(format!("the members of {} could not be signed out", context.room.name));
    }
}
