//! Some readers stop reading for a while.

use std::time::Duration;

use crate::bench::board::{Class, Times};
use crate::bench::plan::Turn;
use crate::bench::publisher::{Published, publish};
use crate::bench::stage::{Stage, grown};
use crate::bench::trouble::Trouble;

/// Users of one batch: it makes twice as many events.
const BATCH: u64 = 25;

/// Measures what readers that stop reading do to the others, and to the gateway's memory.
///
/// Two phases of `--for` (10 s) each, with events in batches at `--rate` (500 a second). In the first
/// all read. In the second `--slow` readers (a tenth), with small receive buffers, do not; at its end
/// memory is read, which is the process's own: what waits in the kernel's buffers is not in it. Then
/// they read again, and must end with the gateway's set. The latencies are those of the other readers.
pub async fn run(stage: &mut Stage) -> Result<(), Trouble> {
    let slow = stage.options.slow();
    stage.gather(slow);
    stage.connect(Duration::from_secs(1)).await;
    let (first, without) = phase(stage, "all read").await?;
    stage.caught_up().await?;
    let before = stage.usage();
    stage.crowd.let_slow_ones_read(false);
    let second = phase(stage, "some do not read").await;
    let after = stage.usage();
    stage.crowd.let_slow_ones_read(true);
    let (second, with) = second?;
    let head = stage.caught_up().await?;
    let report = &mut stage.report;
    report.count("slow", "slow readers", slow as u64);
    report.count("events", "events", first.events + second.events);
    report.count("resyncs", "resyncs", stage.crowd.sum(|s| s.resyncs));
    if let (Some(before), Some(after)) = (before, after) {
        let each = grown(before, after) / slow as f64;
        report.measure("pss_kib_per_slow_reader", "memory per slow reader", each, "KiB");
    }
    let p99 = |times: &Times| times.value_at_percentile(99.0) as f64 / 1_000.0;
    report.measure("p99_ratio", "the others' p99, with / without", p99(&with) / p99(&without).max(0.001), "");
    report.times("without_slow_readers", without);
    report.times("with_slow_readers", with);
    stage.compare(&head, first.events + second.events).await;
    Ok(())
}

/// Publishes for a while; how long events took to those who read.
async fn phase(stage: &Stage, name: &'static str) -> Result<(Published, Times), Trouble> {
    let plan = stage.plan(Turn::Batch(BATCH), 500, 10, 1);
    stage.progress.arrivals(name, plan.events_expected() * stage.crowd.readers.len() as u64);
    let published = publish(stage, plan).await?;
    let mut times = stage.crowd.board.take_times(Class::Sse);
    // Both count alike, so this cannot fail.
    let _ = times.add(stage.crowd.board.take_times(Class::Ws));
    Ok((published, times))
}
