//! As many users sign in within a second as readers watch.

use std::time::Duration;

use crate::bench::fanout::deliver;
use crate::bench::publisher::Turn;
use crate::bench::stage::Stage;
use crate::bench::trouble::Trouble;

/// Measures a storm: N readers of a room are connected (over WebSocket, unless told otherwise), then
/// N users sign in within a second, which makes N x N deliveries.
///
/// They sign in by one `PUT` each, over `--publishers` connections (8), not over the readers' own
/// WebSockets; `--rate` and `--for` change the pace, and with it how many sign in. In the end each
/// reader must have all of them.
pub async fn run(stage: &mut Stage) -> Result<(), Trouble> {
    stage.gather(0);
    stage.connect(Duration::from_secs(1)).await;
    let plan = stage.plan(Turn::In, stage.options.readers, 1, 8);
    let head = deliver(stage, plan).await?;
    let signed_in = stage.crowd.board.fresh(0).start;
    if head.count != signed_in && !stage.stop.is_cancelled() {
        stage.report.fault(format!("{signed_in} users signed in, and the room has {} members", head.count));
    }
    Ok(())
}
