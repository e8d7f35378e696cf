//! The context of a workload: the options, the room, the readers, the report, and the steps that
//! several workloads have in common.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::bench::error::BenchError;
use crate::bench::options::{Options, Transport};
use crate::bench::process::{Process, Usage, max_open_files};
use crate::bench::progress::Progress;
use crate::bench::publishers::{Published, publish};
use crate::bench::reader_pool::ReaderPool;
use crate::bench::report::Report;
use crate::bench::room::{BATCH, Room, RoomState};
use crate::bench::schedule::Schedule;
use crate::bench::scoreboard::Scoreboard;
use crate::bench::target::Target;
use crate::bench::view::View;

/// Files that a bench has open besides those of the readers.
const OTHER_FILES: usize = 64;

/// The default of `--settle`, which gives short-lived buffers the time to be freed.
const SETTLE: Duration = Duration::from_secs(1);

/// The context of a workload.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) options: Options,
    pub(super) room: Arc<Room>,
    pub(super) scoreboard: Arc<Scoreboard>,
    /// Cancelled when the bench is to end early.
    pub(super) stop: CancellationToken,
    pub(super) readers: ReaderPool,
    pub(super) report: Report,
    pub(super) progress: Progress,
    /// The gateway's process, if it can be measured.
    process: Option<Process>,
}

impl Context {
    /// Finds the gateway and prepares the report; no reader is connected yet.
    ///
    /// # Errors
    ///
    /// [`BenchError::Options`] if this machine cannot have so many readers; [`BenchError::Gateway`] if
    /// there is no Presently at the URL.
    pub(super) async fn new(options: Options, stop: CancellationToken) -> Result<Self, BenchError> {
        let target = Target::resolve(options.url.clone()).await?;
        check_limits(&options, &target)?;
        let publishes_to = match &options.publish_to {
            Some(url) => Target::resolve(url.clone()).await?,
            None => target.clone(),
        };
        let room = Arc::new(Room::new(target, publishes_to));
        let health = room.client().await?.get("/healthz").await?;
        if health.get("restarts").is_none() {
            return Err(BenchError::gateway(format!("the server at {} is not Presently", options.url)));
        }
        let scoreboard = Arc::<Scoreboard>::default();
        let readers = ReaderPool::start(room.clone(), scoreboard.clone(), stop.clone())?;
        let mut report = new_report(&options, &room);
        let process = find_process(&room.target)
            .inspect_err(|why| report.note(format!("the gateway's processor time and memory are unknown: {why}")));
        let progress = Progress::show(scoreboard.clone());
        Ok(Context { options, room, scoreboard, stop, readers, report, progress, process: process.ok() })
    }

    /// Adds the readers, the first `slow` of which are slow ones. None is connected yet.
    pub(super) fn add_readers(&mut self, slow: u32) {
        let (count, transport) = (self.options.readers, self.options.transport());
        self.readers.add(count, slow, transport);
        self.report.count("readers", "readers", count.into());
        let transport = match transport {
            Transport::Sse => "sse",
            Transport::Ws => "ws",
            Transport::Both => "both",
        };
        self.report.text("transport", "transport", transport);
    }

    /// Connects all readers, and reports what each connection costs the gateway.
    pub(super) async fn connect(&mut self) {
        let before = self.usage();
        self.progress.expect_arrivals("connecting", self.options.readers.into());
        self.readers.connect().await;
        self.settle().await;
        if let (Some(before), Some(after)) = (before, self.usage()) {
            let connections = self.readers.len() as f64;
            let pss = after.pss_kib_since(before) / connections;
            self.report.measure("pss_kib_per_connection", "memory per connection", pss, "KiB");
            let cpu = after.cpu_us_since(before) / connections;
            self.report.measure("cpu_us_per_connection", "processor time per connection", cpu, "us");
        }
    }

    /// The resources that the gateway has used so far, if they can be measured.
    pub(super) fn usage(&self) -> Option<Usage> {
        self.process?.usage()
    }

    /// Waits for `--settle` before memory is read.
    pub(super) async fn settle(&self) {
        self.settle_for(SETTLE).await;
    }

    /// Waits for `--settle`, or `default` without the option, before memory is read.
    pub(super) async fn settle_for(&self, default: Duration) {
        let time = self.options.settle.unwrap_or(default);
        // When the bench is stopped, the report has what was measured so far.
        let _ = self.stop.run_until_cancelled(sleep(time)).await;
    }

    /// Signs `members` users in, in batches.
    ///
    /// # Errors
    ///
    /// [`BenchError::Gateway`] if the gateway cannot be reached or refuses.
    pub(super) async fn fill_room(&self, members: u32) -> Result<(), BenchError> {
        self.progress.expect_steps("filling the room", members.into());
        let mut client = self.room.client().await?;
        let path = self.room.users_path();
        for first in (0..members).step_by(BATCH as usize) {
            if self.stop.is_cancelled() {
                break;
            }
            let users = first..members.min(first + BATCH);
            let add: Vec<_> = users.clone().map(|user| json!({"user": format!("m{user}")})).collect();
            client.send("POST", &path, &json!({ "add": add }).to_string()).await?;
            self.progress.advance(users.len() as u64);
        }
        Ok(())
    }

    /// Publishes on a schedule, until the end of the schedule or until the bench is stopped.
    ///
    /// # Errors
    ///
    /// [`BenchError::Gateway`] if the gateway cannot be reached or refuses.
    pub(super) async fn publish(&self, schedule: Schedule) -> Result<Published, BenchError> {
        publish(&self.room, &self.scoreboard, &self.stop, schedule).await
    }

    /// Waits until all readers have reached the room's cursor, and returns the state of the room.
    ///
    /// # Errors
    ///
    /// [`BenchError::Gateway`] if the gateway does not tell the cursor.
    pub(super) async fn wait_until_caught_up(&self) -> Result<RoomState, BenchError> {
        let state = self.room.state().await?;
        self.readers.wait_until(|view| view.cursor.has_reached(&state.cursor)).await;
        Ok(state)
    }

    /// Checks that all readers have the members that a new snapshot has, and that each reader without a
    /// resync got each of `events` events.
    pub(super) async fn check_views(&mut self, state: &RoomState, events: u64) {
        let snapshot = self.readers.read_snapshot(state.cursor.offset).await;
        if self.stop.is_cancelled() {
            return;
        }
        let Some((truth, _)) = snapshot else {
            return self.report.fault("no snapshot of the room came in the end");
        };
        if truth.members.count != state.count {
            let (members, count) = (truth.members.count, state.count);
            self.report.fault(format!("the snapshot has {members} members, but the room's count is {count}"));
        }
        let is_equal =
            |view: &View| view.ended.is_none() && view.cursor == truth.cursor && view.members == truth.members;
        let equal = self.readers.count(is_equal);
        let incomplete = self.readers.count(|view| view.resyncs == 0 && view.events != events);
        self.report.count("readers_equal", "readers equal to the gateway's set", equal as u64);
        self.report.count("members", "members in the end", truth.members.count);
        if equal < self.readers.len() {
            self.report.fault(format!("{} readers differ from the gateway's set", self.readers.len() - equal));
        }
        if incomplete > 0 {
            self.report.fault(format!("{incomplete} readers did not get each of {events} events once"));
        }
    }

    /// Reports connections that ended, and objects that the protocol forbids.
    pub(super) fn check_connections(&mut self) {
        let (ended, violated) = (reasons(&self.readers, |v| &v.ended), reasons(&self.readers, |v| &v.violation));
        if let Some(first) = ended.first() {
            let count = ended.len();
            self.report.fault(format!("{count} connections ended or failed, the first because: {first}"));
        }
        if let Some(first) = violated.first() {
            let count = violated.len();
            self.report.fault(format!("{count} readers got what the protocol forbids, the first: {first}"));
        }
    }

    /// Disconnects the readers and signs all members of the room out.
    ///
    /// # Errors
    ///
    /// [`BenchError::Gateway`] if the gateway cannot be reached or refuses.
    pub(super) async fn clean_up(&mut self) -> Result<(), BenchError> {
        self.readers.disconnect().await;
        self.room.empty().await
    }
}

fn reasons(readers: &ReaderPool, reason: impl Fn(&View) -> &Option<String>) -> Vec<String> {
    readers.views().filter_map(|view| reason(&view).clone()).collect()
}

fn new_report(options: &Options, room: &Room) -> Report {
    let workload = format!("{:?}", options.workload).to_lowercase();
    let mut report = Report::new(format!("{workload} at {}", options.url));
    report.text("work", "", workload);
    report.text("url", "", options.url.to_string());
    report.text("room", "room", &room.name);
    report
}

fn find_process(target: &Target) -> Result<Process, String> {
    if target.is_local() { Process::listening_on(target.address) } else { Err("it runs on another machine".into()) }
}

/// Checks that this machine can open so many connections.
fn check_limits(options: &Options, target: &Target) -> Result<(), BenchError> {
    let readers = options.readers as usize;
    let most = target.max_connections();
    if readers > most {
        return Err(BenchError::Options(format!("this machine can have {most} connections to {} at most", target.url)));
    }
    let files = readers + OTHER_FILES;
    match max_open_files() {
        Some(limit) if limit < files => Err(BenchError::Options(format!(
            "{readers} readers need {files} open files, and ulimit -n is {limit}; raise it, or lower --readers"
        ))),
        Some(_) | None => Ok(()),
    }
}
