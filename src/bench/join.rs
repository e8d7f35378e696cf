//! As many users come within a second as readers watch.

use std::time::{Duration, Instant};

use crate::bench::fanout::{deliver, report};
use crate::bench::options::Transport;
use crate::bench::plan::Turn;
use crate::bench::publisher::Published;
use crate::bench::stage::{Head, Stage};
use crate::bench::trouble::Trouble;

/// Measures a storm: N readers of a room are connected (over WebSocket, unless told otherwise), then
/// N users come within a second, which makes N x N deliveries.
///
/// Over WebSocket each reader joins as somebody, by a message, within `--for` (1 s). Event streams
/// cannot say anything, so with them (or with `--rate` or `--events`) users are signed in by a `PUT`
/// each, over `--publishers` connections (8). In the end each reader must have all of them.
pub async fn run(stage: &mut Stage) -> Result<(), Trouble> {
    stage.gather(0);
    let options = &stage.options;
    let by_message = options.transport() == Transport::Ws && options.rate.is_none() && options.events.is_none();
    let head = if by_message { join(stage).await? } else { sign_in(stage).await? };
    let came = stage.crowd.board.fresh(0).start;
    if head.count != came && !stage.stop.is_cancelled() {
        stage.report.fault(format!("{came} users came, and the room has {} members", head.count));
    }
    Ok(())
}

async fn join(stage: &mut Stage) -> Result<Head, Trouble> {
    let readers = stage.crowd.readers.len() as u64;
    let within = stage.options.time.unwrap_or(Duration::from_secs(1));
    stage.crowd.will_join_within(within);
    stage.connect(Duration::from_secs(1)).await;
    stage.progress.arrivals("joining", readers * readers);
    let (began, before) = (Instant::now(), stage.usage());
    stage.crowd.join();
    // All have sent their message when each has seen as many events as there are readers, or what stands for them.
    stage.crowd.until(|sight| sight.set.count >= readers).await;
    report(stage, Published { events: readers, time: within }, began, before).await
}

async fn sign_in(stage: &mut Stage) -> Result<Head, Trouble> {
    stage.connect(Duration::from_secs(1)).await;
    let plan = stage.plan(Turn::In, stage.options.readers, 1, 8);
    deliver(stage, plan).await
}
