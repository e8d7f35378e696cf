//! `rooms`: memory per room.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Instant;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::bench::context::Context;
use crate::bench::error::BenchError;
use crate::bench::room::Room;

/// The members of each room.
const USERS: [&str; 3] = ["ann", "bob", "cyd"];

const SIGN_IN: &str = r#"{"add":[{"user":"ann"},{"user":"bob"},{"user":"cyd"}]}"#;

const SIGN_OUT: &str = r#"{"del":["ann","bob","cyd"]}"#;

/// Measures the gateway's memory for a room: `--rooms` (10,000) of three members each, made by one batch
/// request each over `--publishers` connections (8). Memory per room is the growth of the gateway's
/// proportional set size divided by the rooms, with and without the bytes of the names. It includes the
/// room's history of three events, until the gateway drops it.
pub(super) async fn run(context: &mut Context) -> Result<(), BenchError> {
    let before = context.usage();
    let began = Instant::now();
    let made = post_to_all(context, &context.stop, "making rooms", SIGN_IN).await;
    let seconds = began.elapsed().as_secs_f64();
    context.settle().await;
    let after = context.usage();
    let rooms = *made.as_ref().unwrap_or(&0);
    let report = &mut context.report;
    report.count("rooms", "rooms", rooms.into());
    report.measure("made_per_s", "made", f64::from(rooms) / seconds, "/s");
    if let (Some(before), Some(after), true) = (before, after, rooms > 0) {
        let pss = after.pss_bytes_since(before) / f64::from(rooms);
        let names = nth_room(&context.room, rooms - 1).name.len() + USERS.concat().len();
        report.measure("pss_bytes_per_room", "memory per room", pss, "B");
        report.count("name_bytes_per_room", "bytes of names in it", names as u64);
        report.measure("pss_bytes_per_room_beyond_names", "without names", pss - names as f64, "B");
    }
    // A stopped bench removes its rooms as well, so this does not heed `stop`.
    let removed = post_to_all(context, &CancellationToken::new(), "removing rooms", SIGN_OUT).await;
    made.and(removed).map(drop)
}

fn nth_room(room: &Room, number: u32) -> Room {
    Room {
        target: room.target.clone(),
        publishes_to: room.publishes_to.clone(),
        name: format!("{}-{number}", room.name),
    }
}

/// Sends the same batch request to all rooms until `stop`, and returns the number of rooms that got it.
async fn post_to_all(
    context: &Context,
    stop: &CancellationToken,
    phase: &'static str,
    body: &'static str,
) -> Result<u32, BenchError> {
    let rooms = context.options.rooms;
    context.progress.expect_steps(phase, rooms.into());
    let next = Arc::new(AtomicU32::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..context.options.publishers() {
        let mut client = context.room.client().await?;
        let (room, next, stop) = (context.room.clone(), next.clone(), stop.clone());
        tasks.spawn(async move {
            let mut done = 0;
            while !stop.is_cancelled() {
                let number = next.fetch_add(1, Relaxed);
                if number >= rooms {
                    break;
                }
                client.send("POST", &nth_room(&room, number).users_path(), body).await?;
                done += 1;
            }
            Ok::<_, BenchError>(done)
        });
    }
    let mut done = 0;
    while let Some(ended) = tasks.join_next().await {
        let sent = ended.map_err(|error| BenchError::gateway(format!("a publisher failed: {error}")))??;
        context.progress.advance(sent.into());
        done += sent;
    }
    Ok(done)
}
