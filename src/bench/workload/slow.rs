//! `slow`: some readers stop reading for a while.

use crate::bench::context::Context;
use crate::bench::error::BenchError;
use crate::bench::latencies::Latencies;
use crate::bench::publishers::Published;
use crate::bench::schedule::{Request, Schedule};
use crate::bench::scoreboard::ReaderKind;

/// Users in one batch request, which makes twice as many events.
const BATCH: u64 = 25;

/// Measures the effect of readers that stop reading on the other readers and on the gateway's memory.
///
/// There are two phases of `--for` (10 s) each, with events in batches at `--rate` (500 per second). In
/// the first all read. In the second `--slow` readers (a tenth), with small receive buffers, do not; at
/// its end the memory of the gateway's process is read, without the kernel's socket buffers. Then the
/// slow readers resume, and must end with the gateway's set. The latencies are those of the others.
pub(super) async fn run(context: &mut Context) -> Result<(), BenchError> {
    let slow = context.options.slow_readers();
    context.add_readers(slow);
    context.connect().await;
    let (published_before, without) = run_phase(context, "all read").await?;
    context.wait_until_caught_up().await?;
    let before = context.usage();
    context.readers.set_slow_reading(false);
    let phase = run_phase(context, "some do not read").await;
    let after = context.usage();
    context.readers.set_slow_reading(true);
    let (published, with) = phase?;
    let state = context.wait_until_caught_up().await?;
    let events = published_before.events + published.events;
    let report = &mut context.report;
    report.count("slow", "slow readers", slow.into());
    report.count("events", "events", events);
    report.count("resyncs", "resyncs", context.readers.sum(|view| view.resyncs));
    if let (Some(before), Some(after)) = (before, after) {
        let pss = after.pss_kib_since(before) / f64::from(slow);
        report.measure("pss_kib_per_slow_reader", "memory per slow reader", pss, "KiB");
    }
    let p99_ratio = with.percentile_ms(99.0) / without.percentile_ms(99.0).max(0.001);
    report.measure("p99_ratio", "p99 with / without slow readers", p99_ratio, "");
    report.latencies("without_slow_readers", without);
    report.latencies("with_slow_readers", with);
    context.check_views(&state, events).await;
    Ok(())
}

/// Publishes for `--for`, and returns the latencies of the readers that read.
async fn run_phase(context: &Context, name: &'static str) -> Result<(Published, Latencies), BenchError> {
    let schedule = Schedule::new(Request::ReplaceUsers(BATCH), &context.options);
    context.progress.expect_arrivals(name, schedule.expected_events() * context.readers.len() as u64);
    let published = context.publish(schedule).await?;
    let mut latencies = context.scoreboard.take_latencies(ReaderKind::Sse);
    latencies.merge(&context.scoreboard.take_latencies(ReaderKind::Ws));
    Ok((published, latencies))
}
