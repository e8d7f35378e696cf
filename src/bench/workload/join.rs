//! `join`: as many users as readers join a room within a second.

use crate::bench::context::Context;
use crate::bench::error::BenchError;
use crate::bench::options::Transport;
use crate::bench::publishers::Published;
use crate::bench::room::RoomState;
use crate::bench::schedule::{Request, Schedule};
use crate::bench::workload::delivery::{Start, catch_up_and_report, publish_and_report};

/// Measures a join storm: N readers of a room are connected (over WebSocket by default), then N users
/// join within a second, which makes N x N deliveries.
///
/// Over WebSocket each reader joins as a user of its own, by a message, within `--for` (1 s). SSE
/// readers cannot send messages; with them, or with `--rate` or `--events`, each user is signed in by a
/// `PUT`, over `--publishers` connections (8). In the end each reader must have all users.
pub(super) async fn run(context: &mut Context) -> Result<(), BenchError> {
    context.add_readers(0);
    let by_message = context.options.transport() == Transport::Ws && !context.options.limits_publishers();
    let state = if by_message { join_by_message(context).await? } else { join_by_request(context).await? };
    let users = context.scoreboard.users();
    if state.count != users && !context.stop.is_cancelled() {
        context.report.fault(format!("{users} users joined, but the room's count is {}", state.count));
    }
    Ok(())
}

async fn join_by_message(context: &mut Context) -> Result<RoomState, BenchError> {
    let readers = context.readers.len() as u64;
    let within = context.options.time();
    context.readers.prepare_joining(within);
    context.connect().await;
    context.progress.expect_arrivals("joining", readers * readers);
    let start = Start::now(context);
    context.readers.start_joining();
    // Only then have all readers sent their message.
    context.readers.wait_until(|view| view.members.count >= readers).await;
    catch_up_and_report(context, Published { events: readers, time: within }, start).await
}

async fn join_by_request(context: &mut Context) -> Result<RoomState, BenchError> {
    context.connect().await;
    let schedule = Schedule::new(Request::SignIn, &context.options);
    publish_and_report(context, schedule).await
}
