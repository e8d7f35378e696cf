//! `reconnect`: all readers are disconnected and reconnect at once.

use std::time::{Duration, Instant};

use crate::bench::context::Context;
use crate::bench::error::BenchError;
use crate::bench::latencies::Latencies;
use crate::bench::process::Usage;
use crate::bench::report::Report;

/// A cursor of an epoch that no room has: epochs are random numbers of 64 bits.
const LOST_CURSOR: &str = "1.1";

/// The default of `--settle` after the storm, when more buffers are to be freed than usual.
const SETTLE: Duration = Duration::from_secs(10);

/// Measures a reconnect storm: all readers of a room with `--members` (as many as readers) are reset at
/// once and reconnect at once, each with its own cursor, or with `--lost-cursor` with one of another
/// epoch, so that each reader needs a snapshot.
///
/// Meanwhile one user signs in, so that there is an event to catch up with. The time runs from the
/// reset until the last reader has the room's members; the gateway's memory is read before the reset
/// and `--settle` (10 s) after that.
pub(super) async fn run(context: &mut Context) -> Result<(), BenchError> {
    context.fill_room(context.options.members()).await?;
    context.add_readers(0);
    context.connect().await;
    let (before, events_before) = (context.usage(), context.readers.sum(|view| view.events));
    context.progress.expect_arrivals("reconnecting", context.options.readers.into());
    let reset = Instant::now();
    context.readers.disconnect().await;
    context.room.sign_in(&format!("n{}", context.scoreboard.new_users(1).start)).await?;
    let lost = context.options.lost_cursor;
    context.readers.connect_at_once(|view| Some(if lost { LOST_CURSOR.to_owned() } else { view.cursor.to_string() }));
    let all_back = context.readers.wait_until(|view| view.first_frame_at.is_some()).await;
    let state = context.wait_until_caught_up().await?;
    let back = times_back(context, reset);
    let missed = context.readers.sum(|view| view.events) - events_before;
    context.progress.expect_steps("settling", 0);
    context.settle_for(SETTLE).await;
    let after = context.usage();
    let report = &mut context.report;
    report.text("cursors", "cursors", if lost { "lost" } else { "kept" });
    if all_back {
        report.measure("back_s", "until all readers were up to date", back.max_s(), "s");
    }
    report.count("missed", "missed events delivered", missed);
    report.count("resyncs", "resyncs", context.readers.sum(|view| view.resyncs));
    report.latencies("back", back);
    if let (Some(before), Some(after)) = (before, after) {
        report_usage(report, before, after);
    }
    context.check_views(&state, 1).await;
    Ok(())
}

/// The time from the reset until each reader was up to date.
fn times_back(context: &Context, reset: Instant) -> Latencies {
    let mut latencies = Latencies::default();
    for view in context.readers.views() {
        latencies.record(view.last_object_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(reset)));
    }
    latencies
}

fn report_usage(report: &mut Report, before: Usage, after: Usage) {
    report.measure("pss_kib_before", "memory before", before.pss_kib, "KiB");
    report.measure("pss_kib_after", "memory after", after.pss_kib, "KiB");
    report.measure("pss_ratio", "after / before", after.pss_kib / before.pss_kib.max(1.0), "");
    report.measure("cpu_s", "processor time", after.cpu_s_since(before), "s");
}
