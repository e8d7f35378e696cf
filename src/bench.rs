//! The load generator: `presently bench URL` measures a running gateway from outside.
//!
//! | work | measures |
//! |---|---|
//! | [`fanout`] | events of one room to many readers |
//! | [`join`] | as many users sign in within a second as readers watch |
//! | [`reconnect`] | all readers are cut at once and come back at once |
//! | [`slow`] | some readers stop reading for a while |
//! | [`snapshot`] | one sign-in, and one whole snapshot, of a room with many members |
//! | [`connect`] | all readers connect in one go |
//! | [`idle`] | memory per connection |
//! | [`rooms`] | memory per room |
//!
//! A work runs on a [`stage`]. Its readers are a [`crowd`] on one thread: each [`reader`] cuts its bytes
//! into [`frames`] and keeps a [`sight`] of the room, which is small and yet enough to tell in the end
//! whether it has the gateway's set. A [`publisher`] notes on the [`board`] when an event goes out, and
//! the readers note there how long it took. What came out is a [`report`].

pub mod board;
pub mod caller;
pub mod connect;
pub mod crowd;
pub mod fanout;
pub mod frames;
pub mod idle;
pub mod join;
pub mod options;
pub mod plan;
pub mod process;
pub mod progress;
pub mod publisher;
pub mod reader;
pub mod reconnect;
pub mod report;
pub mod rooms;
pub mod sight;
pub mod slow;
pub mod snapshot;
pub mod stage;
pub mod target;
pub mod trouble;

use std::future::Future;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub use options::{Options, Transport, Work};
pub use report::Report;
pub use trouble::Trouble;

use stage::Stage;

/// How long it may take to leave everything as it was.
const CLEAR_WITHIN: Duration = Duration::from_secs(30);

/// Does one work, and leaves nobody behind. When `interrupt` resolves, or after the options' limit,
/// it ends with what was measured so far.
pub async fn run(options: Options, interrupt: impl Future<Output = ()> + Send + 'static) -> Result<Report, Trouble> {
    let (stop, late, limit) = (CancellationToken::new(), CancellationToken::new(), options.limit);
    let _watching = AbortOnDropHandle::new(tokio::spawn({
        let (stop, late) = (stop.clone(), late.clone());
        async move {
            tokio::select! {
                () = interrupt => {}
                () = sleep(limit) => late.cancel(),
            }
            stop.cancel();
        }
    }));
    let set = stop.run_until_cancelled(Stage::set(options, stop.clone())).await;
    let mut stage = set.unwrap_or_else(|| Err(Trouble::gateway("ended before the gateway answered")))?;
    let done = work(&mut stage).await;
    if stop.is_cancelled() {
        stage.report.interrupt();
    } else {
        stage.complain();
    }
    if late.is_cancelled() {
        stage.report.fault(format!("it was not done within --limit, {}", humantime::format_duration(limit)));
    }
    stage.progress.steps("signing out", 0);
    let cleared = timeout(CLEAR_WITHIN, stage.clear()).await;
    stage.progress.finish();
    done?;
    if !matches!(cleared, Ok(Ok(()))) {
        stage.report.fault(format!("the members of {} could not be signed out", stage.room));
    }
    Ok(stage.report)
}

async fn work(stage: &mut Stage) -> Result<(), Trouble> {
    match stage.options.work {
        Work::Fanout => fanout::run(stage).await,
        Work::Join => join::run(stage).await,
        Work::Reconnect => reconnect::run(stage).await,
        Work::Slow => slow::run(stage).await,
        Work::Snapshot => snapshot::run(stage).await,
        Work::Connect => connect::run(stage).await,
        Work::Idle => idle::run(stage).await,
        Work::Rooms => rooms::run(stage).await,
    }
}
