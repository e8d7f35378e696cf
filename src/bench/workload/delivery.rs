//! Publishes events, waits for their delivery to all readers, and reports both.

use std::time::Instant;

use crate::bench::context::Context;
use crate::bench::error::BenchError;
use crate::bench::process::Usage;
use crate::bench::publishers::Published;
use crate::bench::room::RoomState;
use crate::bench::schedule::Schedule;
use crate::bench::scoreboard::ReaderKind;

/// The beginning of a measurement of deliveries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    at: Instant,
    usage: Option<Usage>,
}

impl Start {
    /// Begins now.
    pub(super) fn now(context: &Context) -> Self {
        Start { at: Instant::now(), usage: context.usage() }
    }
}

/// Publishes on a schedule, waits until all readers have caught up, and reports; the state of the room
/// then.
///
/// # Errors
///
/// [`BenchError::Gateway`] if the gateway cannot be reached or refuses a request.
pub(super) async fn publish_and_report(context: &mut Context, schedule: Schedule) -> Result<RoomState, BenchError> {
    let readers = context.readers.len() as u64;
    context.progress.expect_arrivals("publishing", schedule.expected_events() * readers);
    let start = Start::now(context);
    let published = context.publish(schedule).await?;
    catch_up_and_report(context, published, start).await
}

/// Waits until all readers have caught up with the events published since `start`, and reports; the
/// state of the room then.
///
/// # Errors
///
/// [`BenchError::Gateway`] if the gateway does not tell the room's cursor.
pub(super) async fn catch_up_and_report(
    context: &mut Context,
    published: Published,
    start: Start,
) -> Result<RoomState, BenchError> {
    let state = context.wait_until_caught_up().await?;
    let usage = context.usage();
    report(context, published, start, usage);
    context.check_views(&state, published.events).await;
    Ok(state)
}

fn report(context: &mut Context, published: Published, start: Start, usage: Option<Usage>) {
    let readers = &context.readers;
    let last = readers.last_object_at().unwrap_or(start.at);
    let seconds = last.saturating_duration_since(start.at).as_secs_f64();
    let (events, netted) = (readers.sum(|view| view.events), readers.sum(|view| view.netted));
    let delivered = events + netted;
    let report = &mut context.report;
    report.count("events", "events", published.events);
    let published_per_s = published.events as f64 / published.time.as_secs_f64();
    report.measure("published_per_s", "published", published_per_s, "/s");
    report.count("expected", "deliveries expected", published.events * readers.len() as u64);
    report.count("delivered", "delivered as events", events);
    report.count("netted", "delivered in changes", netted);
    report.measure("delivered_per_s", "delivered", delivered as f64 / seconds.max(1e-6), "/s");
    report.measure("seconds", "until all was delivered", seconds, "s");
    if let (Some(before), Some(after)) = (start.usage, usage) {
        let cpu = after.cpu_us_since(before) / delivered.max(1) as f64;
        report.measure("cpu_us_per_delivery", "processor time per delivery", cpu, "us");
    }
    report.count("resyncs", "resyncs", readers.sum(|view| view.resyncs));
    report.latencies("sse", context.scoreboard.take_latencies(ReaderKind::Sse));
    report.latencies("ws", context.scoreboard.take_latencies(ReaderKind::Ws));
}
