//! All readers are cut at once and come back at once.

use std::time::{Duration, Instant};

use crate::bench::board::{count, no_times};
use crate::bench::stage::Stage;
use crate::bench::trouble::Trouble;

/// No room's epoch: those begin at random among 2^64.
const LOST: &str = "1.1";

/// Measures a storm: all readers of a room with `--members` (as many as readers) are reset at once,
/// and connect again at once, each with the cursor it has, or with `--lost-cursor` one of another
/// epoch, so that each needs the whole set.
///
/// While they are away one user signs in, so that there is something to miss. Measured is the time
/// from the cut until the last reader has the room's set, and the gateway's memory before the cut and
/// `--settle` (10 s) after that.
pub async fn run(stage: &mut Stage) -> Result<(), Trouble> {
    stage.fill(stage.options.members.unwrap_or(stage.options.readers)).await?;
    stage.gather(0);
    stage.connect(Duration::from_secs(1)).await;
    let (before, came) = (stage.usage(), stage.crowd.sum(|s| s.events));
    let lost = stage.options.lost_cursor;
    stage.progress.arrivals("coming back", stage.options.readers.into());
    let cut = Instant::now();
    stage.crowd.cut().await;
    stage.sign_in().await?;
    let start = stage.crowd.rush(|sight| Some(if lost { LOST.to_owned() } else { sight.cursor() }));
    start.send_replace(true);
    let connected = stage.crowd.until(|s| s.whole.is_some()).await;
    let head = stage.caught_up().await?;
    let mut back = no_times();
    for reader in &stage.crowd.readers {
        let last = reader.sight().lock().last;
        count(&mut back, last.map_or(Duration::ZERO, |last| last.saturating_duration_since(cut)));
    }
    let missed = stage.crowd.sum(|s| s.events) - came;
    stage.progress.steps("settling", 0);
    stage.settle(Duration::from_secs(10)).await;
    let after = stage.usage();
    let report = &mut stage.report;
    report.say("cursors", "cursors", if lost { "lost" } else { "kept" });
    if connected {
        report.measure("back_s", "until all were back and whole", back.max() as f64 / 1e6, "s");
    }
    report.count("missed", "missed events that were delivered", missed);
    report.count("resyncs", "readers that got more than events", stage.crowd.sum(|s| s.resyncs));
    report.times("back", back);
    if let (Some(before), Some(after)) = (before, after) {
        report.measure("pss_kib_before", "memory before", before.pss as f64, "KiB");
        report.measure("pss_kib_after", "memory after", after.pss as f64, "KiB");
        report.measure("pss_ratio", "after / before", after.pss as f64 / before.pss.max(1) as f64, "");
        report.measure("cpu_s", "processor time", after.cpu - before.cpu, "s");
    }
    stage.compare(&head, 1).await;
    Ok(())
}
