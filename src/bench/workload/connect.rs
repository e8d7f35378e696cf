//! `connect`: all readers connect at once.

use std::time::Instant;

use crate::bench::context::Context;
use crate::bench::error::BenchError;
use crate::bench::latencies::Latencies;
use crate::bench::process::listen_overflows;

/// Measures how a gateway takes a rush of connections: all are opened at once, each sends its request
/// as soon as it is open, and the time runs from the beginning until each reader has its first frame.
/// For a gateway on this machine it also counts the listen overflows, those of other programs included.
pub(super) async fn run(context: &mut Context) -> Result<(), BenchError> {
    context.add_readers(0);
    context.progress.expect_arrivals("connecting", context.options.readers.into());
    let (before, overflows_before) = (context.usage(), listen_overflows());
    let began = Instant::now();
    context.readers.connect_at_once(|_| None);
    context.readers.wait_until(|view| view.first_frame_at.is_some()).await;
    let (after, overflows_after) = (context.usage(), listen_overflows());
    let first_frames = first_frames(context, began);
    let missing = context.readers.count(|view| view.first_frame_at.is_none() && view.ended.is_none());
    let report = &mut context.report;
    report.count("served", "readers with their first frame", first_frames.count());
    report.measure("seconds", "until the last first frame", first_frames.max_s(), "s");
    if let (true, Some(before), Some(after)) = (context.room.target.is_local(), overflows_before, overflows_after) {
        report.count("listen_overflows", "listen overflows", after.saturating_sub(before));
    }
    if let (Some(before), Some(after)) = (before, after) {
        let cpu = after.cpu_us_since(before) / context.readers.len() as f64;
        report.measure("cpu_us_per_connection", "processor time per connection", cpu, "us");
    }
    if missing > 0 && !context.stop.is_cancelled() {
        report.fault(format!("{missing} readers got no first frame"));
    }
    report.latencies("first_frame", first_frames);
    Ok(())
}

/// The time from `began` to the first frame of each reader.
fn first_frames(context: &Context, began: Instant) -> Latencies {
    let mut latencies = Latencies::default();
    for at in context.readers.views().filter_map(|view| view.first_frame_at) {
        latencies.record(at.saturating_duration_since(began));
    }
    latencies
}
