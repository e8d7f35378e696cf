//! `fanout`: events of one room reach many readers.

use crate::bench::context::Context;
use crate::bench::error::BenchError;
use crate::bench::schedule::{Request, Schedule};
use crate::bench::workload::delivery::publish_and_report;

/// Measures how fast events reach all readers of a room, and what a delivery costs the gateway.
///
/// The publishers sign new users in and out in turn, at `--rate`, or as fast as the gateway answers.
/// The latency of an event is the time from just before its request is sent to its arrival, at each
/// reader; events that a reader gets as part of `changes` or a snapshot have none. In the end each
/// reader must have the room's cursor and members, and each event unless it was resynced.
pub(super) async fn run(context: &mut Context) -> Result<(), BenchError> {
    context.add_readers(0);
    context.connect().await;
    let schedule = Schedule::new(Request::SignInOrOut, &context.options);
    publish_and_report(context, schedule).await.map(drop)
}
