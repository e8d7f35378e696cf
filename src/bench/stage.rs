//! What all works stand on: the gateway, a room of their own, the readers, the report.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::bench::caller::Caller;
use crate::bench::crowd::Crowd;
use crate::bench::options::{Options, Transport};
use crate::bench::plan::{Plan, Turn};
use crate::bench::process::{Process, Usage, open_files};
use crate::bench::progress::Progress;
use crate::bench::report::Report;
use crate::bench::sight::Sight;
use crate::bench::target::Target;
use crate::bench::trouble::Trouble;

/// Files a bench has open beside its connections.
const FILES: usize = 64;

/// Users of one batch: some 100 KB, of the megabyte that a body may have.
const BATCH: u32 = 5_000;

/// What all works stand on.
#[derive(Debug)]
pub struct Stage {
    /// What is asked for.
    pub options: Options,
    /// The gateway.
    pub target: Arc<Target>,
    /// A room that nobody else knows.
    pub room: Arc<str>,
    /// Goes off when the bench is to end early.
    pub stop: CancellationToken,
    /// The readers.
    pub crowd: Crowd,
    /// What came out so far.
    pub report: Report,
    /// What is shown meanwhile.
    pub progress: Progress,
    process: Option<Process>,
}

/// Where the room stands.
#[derive(Clone, Debug)]
pub struct Head {
    /// The epoch of its cursor.
    pub epoch: String,
    /// The offset in it.
    pub offset: u64,
    /// How many members it has.
    pub count: u64,
}

impl Stage {
    /// Finds the gateway, and sees that it is one and that the bench is possible.
    pub async fn set(options: Options, stop: CancellationToken) -> Result<Self, Trouble> {
        let target = Arc::new(Target::find(options.url.clone()).await?);
        possible(&options, &target)?;
        let health = Caller::open(&target).await?.ask("/healthz").await?;
        if health.get("restarts").is_none() {
            return Err(Trouble::gateway(format!("what answers at {} is not Presently", target.url)));
        }
        let room: Arc<str> = format!("bench-{}", &Uuid::new_v4().simple().to_string()[..10]).into();
        let crowd = Crowd::start(target.clone(), room.clone(), stop.clone())?;
        let work = format!("{:?}", options.work).to_lowercase();
        let mut report = Report::new(format!("{work} at {}", target.url));
        report.say("work", "", work);
        report.say("url", "", target.url.to_string());
        report.say("room", "room", &*room);
        let process = match target.is_local() {
            true => Process::listening_on(target.address),
            false => Err("it runs on another machine".into()),
        };
        let process = process
            .inspect_err(|why| report.note(format!("the gateway's processor time and memory are unknown: {why}")));
        let progress = Progress::show(crowd.board.clone());
        Ok(Stage { options, target, room, stop, crowd, report, progress, process: process.ok() })
    }

    /// A plan from the options, and what the work takes where they say nothing.
    pub fn plan(&self, turn: Turn, rate: u32, seconds: u64, publishers: u32) -> Plan {
        let options = &self.options;
        Plan {
            turn,
            rate: options.rate.unwrap_or(rate),
            events: options.events,
            time: options.time.unwrap_or(Duration::from_secs(seconds)),
            publishers: options.publishers.unwrap_or(publishers),
        }
    }

    /// Makes the readers, of which none is connected yet.
    pub fn gather(&mut self, slow: usize) {
        let (count, transport) = (self.options.readers(), self.options.transport());
        self.crowd.gather(count, slow, transport);
        self.report.count("readers", "readers", count as u64);
        let transport = match transport {
            Transport::Sse => "sse",
            Transport::Ws => "ws",
            Transport::Both => "both",
        };
        self.report.say("transport", "transport", transport);
    }

    /// Connects all readers, and weighs what that cost the gateway.
    pub async fn connect(&mut self, settle: Duration) {
        let before = self.usage();
        self.progress.arrivals("connecting", self.options.readers.into());
        self.crowd.connect().await;
        self.settle(settle).await;
        if let (Some(before), Some(after)) = (before, self.usage()) {
            let each = 1.0 / self.crowd.readers.len() as f64;
            self.report.measure("pss_kib_per_connection", "memory per connection", grown(before, after) * each, "KiB");
            let cpu = (after.cpu - before.cpu) * 1e6 * each;
            self.report.measure("cpu_us_per_connection", "processor time per connection", cpu, "us");
        }
    }

    /// What the gateway has taken so far, if that can be known.
    pub fn usage(&self) -> Option<Usage> {
        self.process?.usage()
    }

    /// Waits, so that what is only for the moment is gone before memory is read.
    pub async fn settle(&self, usual: Duration) {
        self.pause(self.options.settle.unwrap_or(usual)).await;
    }

    /// Waits, unless the bench is to end.
    pub async fn pause(&self, time: Duration) {
        // Ended early or not, what was measured so far is told.
        let _ = self.stop.run_until_cancelled(sleep(time)).await;
    }

    /// Signs `members` users in, in batches.
    pub async fn fill(&mut self, members: u32) -> Result<(), Trouble> {
        self.progress.steps("filling the room", members.into());
        let mut caller = Caller::open(&self.target).await?;
        let path = format!("/api/rooms/{}/users", self.room);
        for first in (0..members).step_by(BATCH as usize) {
            if self.stop.is_cancelled() {
                break;
            }
            let users = first..members.min(first + BATCH);
            let add: Vec<_> = users.clone().map(|user| json!({"user": format!("m{user}")})).collect();
            caller.call("POST", &path, &json!({ "add": add }).to_string()).await?;
            self.progress.did(users.len() as u64);
        }
        Ok(())
    }

    /// Signs one more user in.
    pub async fn sign_in(&self) -> Result<(), Trouble> {
        let user = self.crowd.board.fresh(1).start;
        let path = format!("/api/rooms/{}/users/n{user}", self.room);
        Caller::open(&self.target).await?.call("PUT", &path, "").await.map(drop)
    }

    /// Where the room stands.
    pub async fn head(&self) -> Result<Head, Trouble> {
        let state = Caller::open(&self.target).await?.ask(&format!("/api/rooms/{}", self.room)).await?;
        let cursor = state["cursor"].as_str().and_then(|cursor| cursor.split_once('.'));
        let head = cursor.and_then(|(epoch, offset)| {
            let (epoch, offset) = (epoch.to_owned(), offset.parse().ok()?);
            Some(Head { epoch, offset, count: state["count"].as_u64()? })
        });
        head.ok_or_else(|| Trouble::gateway(format!("{} does not say where the room stands", self.target.url)))
    }

    /// Waits until every reader has read all there is; where that is.
    pub async fn caught_up(&self) -> Result<Head, Trouble> {
        let head = self.head().await?;
        self.crowd.until(|sight| sight.offset >= head.offset && sight.epoch == head.epoch).await;
        Ok(head)
    }

    /// Compares what every reader has with a snapshot, and with how many events there were. Whoever
    /// got no snapshot and no `changes` in between must have seen each event as itself.
    pub async fn compare(&mut self, head: &Head, events: u64) {
        let newcomer = self.crowd.newcomer(head.offset).await;
        if self.stop.is_cancelled() {
            return;
        }
        let Some((truth, _)) = newcomer else {
            return self.report.fault("the room could not be read in the end");
        };
        if truth.set.count != head.count {
            let (has, says) = (truth.set.count, head.count);
            self.report.fault(format!("the room's snapshot has {has} members, where the room says {says}"));
        }
        let equal =
            |s: &Sight| s.ended.is_none() && (s.offset, &s.epoch, s.set) == (truth.offset, &truth.epoch, truth.set);
        let all = self.crowd.readers.len();
        let (same, short) = (self.crowd.count(equal), self.crowd.count(|s| s.resyncs == 0 && s.events != events));
        self.report.count("readers_equal", "readers that have the whole set", same as u64);
        self.report.count("members", "members in the end", truth.set.count);
        if same < all {
            self.report.fault(format!("{} readers do not have the gateway's set", all - same));
        }
        if short > 0 {
            self.report.fault(format!("{short} readers did not see each of {events} events once"));
        }
    }

    /// Says whose stream ended or broke a promise.
    pub fn complain(&mut self) {
        let ended = self.crowd.count(|s| s.ended.is_some());
        let broken = self.crowd.count(|s| s.broken.is_some());
        if let Some(why) = self.crowd.first(|s| s.ended.clone()) {
            self.report.fault(format!("{ended} connections ended or never began, the first of them: {why}"));
        }
        if let Some(why) = self.crowd.first(|s| s.broken.clone()) {
            self.report.fault(format!("{broken} readers saw what must not be, the first of them: {why}"));
        }
    }

    /// Signs everyone out whom the bench signed in.
    pub async fn clear(&mut self) -> Result<(), Trouble> {
        self.crowd.cut().await;
        let mut caller = Caller::open(&self.target).await?;
        let path = format!("/api/rooms/{}/users", self.room);
        loop {
            let page = caller.ask(&format!("{path}?limit={BATCH}")).await?;
            let users: Vec<&Value> = page["users"].as_array().into_iter().flatten().map(|user| &user["user"]).collect();
            if users.is_empty() {
                return Ok(());
            }
            caller.call("POST", &path, &json!({ "del": users }).to_string()).await?;
        }
    }
}

/// By how many KiB memory has grown.
pub fn grown(before: Usage, after: Usage) -> f64 {
    after.pss as f64 - before.pss as f64
}

/// Whether this machine can open so many connections.
fn possible(options: &Options, target: &Target) -> Result<(), Trouble> {
    let readers = options.readers();
    if readers > target.most() {
        return Err(Trouble::Options(format!("{} connections at most can be made to {}", target.most(), target.url)));
    }
    let wanted = readers + FILES;
    match open_files() {
        Some(limit) if limit < wanted => Err(Trouble::Options(format!(
            "{readers} readers take {wanted} open files, and ulimit -n is {limit}; raise it, or ask for fewer with --readers"
        ))),
        Some(_) | None => Ok(()),
    }
}
