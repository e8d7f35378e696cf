//! The two streams of a log: how they are made, and what else would lose entries.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::journal::engine::address::ClusterName;
use crate::journal::engine::nats::api::{Api, ApiError};
use crate::journal::engine::options::Options;
use crate::journal::engine::seam::{Extent, LogId};

/// The copies in a cluster.
const REPLICAS: u8 = 3;

/// What stands before the drawn part of a log's identity.
const LABEL: &str = "presently ";

/// Numbers of errors (server/errors.json of nats-server).
pub(super) mod number {
    /// Too few servers are there for the copies.
    pub const NO_PEERS: u32 = 10005;
    /// JetStream is off for the account, or for the server.
    pub const NO_JETSTREAM: [u32; 2] = [10039, 10076];
    /// There is a stream of the name.
    pub const NAME_IN_USE: u32 = 10058;
    /// There is no stream of the name.
    pub const NOT_FOUND: u32 = 10059;
    /// A single server has no copies.
    pub const NOT_CLUSTERED: u32 = 10074;
}

/// The names of streams and subjects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The stream of the log.
    pub log: String,
    /// The stream's only subject. The drawn part of the identity stands in it, so that no batch gets into a log that was made anew.
    pub entries: String,
    /// The stream of the snapshots.
    pub snapshots: String,
    /// The subject of whole snapshots.
    pub whole: String,
    /// Before the name of a snapshot: the subject of its parts.
    pub parts: String,
    /// Before the name of a node: the subject of questions to it, which no stream has.
    pub calls: String,
}

/// What a server says of a stream.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Info {
    /// How the stream is made.
    pub config: Config,
    /// When, in RFC 3339.
    #[serde(default)]
    pub created: String,
    /// What is in the stream.
    pub state: State,
}

/// The subjects that a stream must have.
#[derive(Debug)]
enum Subjects {
    /// One that begins with this.
    One(String),
    /// These.
    All(Vec<String>),
}

impl Subjects {
    fn fit(&self, found: &[String]) -> bool {
        match self {
            Subjects::One(begins) => {
                let rest =
                    |one: &str| one.strip_prefix(begins.as_str()).map(|rest| rest.is_empty() || rest.starts_with('.'));
                matches!(found, [one] if rest(one) == Some(true) && !one.contains(['*', '>']))
            }
            Subjects::All(all) => all == found,
        }
    }
}

impl fmt::Display for Subjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subjects::One(begins) => write!(f, "one that begins with {begins}"),
            Subjects::All(all) => f.write_str(&all.join(", ")),
        }
    }
}

/// What is in a stream.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct State {
    #[serde(default)]
    first_seq: u64,
    #[serde(default)]
    last_seq: u64,
    /// The messages of each subject that was asked for.
    #[serde(default)]
    pub subjects: Option<std::collections::BTreeMap<String, u64>>,
}

/// How a stream is made, as far as entries could be lost by it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Config {
    description: String,
    subjects: Vec<String>,
    retention: String,
    storage: String,
    discard: String,
    num_replicas: u8,
    max_msgs: i64,
    max_bytes: i64,
    max_age: i64,
    max_msgs_per_subject: i64,
    max_msg_size: i64,
    no_ack: bool,
    sealed: bool,
    deny_purge: bool,
    mirror: Value,
    sources: Value,
}

impl Names {
    /// The names of a cluster's streams.
    pub fn new(name: &ClusterName) -> Names {
        Names {
            log: format!("{name}-log"),
            entries: format!("{name}.log"),
            snapshots: format!("{name}-snapshots"),
            whole: format!("{name}.snapshot"),
            parts: format!("{name}.part."),
            calls: format!("{name}.call."),
        }
    }
}

impl Info {
    /// The log's identity. A log that was made by hand has no drawn part.
    pub fn identity(&self) -> LogId {
        let drawn = self.config.description.strip_prefix(LABEL);
        let made = humantime::parse_rfc3339(&self.created).ok();
        let since = made.and_then(|made| made.duration_since(std::time::UNIX_EPOCH).ok());
        LogId {
            drawn: drawn.and_then(|drawn| u128::from_str_radix(drawn, 16).ok()).unwrap_or(0),
            made: since.and_then(|since| u64::try_from(since.as_nanos()).ok()).unwrap_or(0),
        }
    }

    /// The positions in the log.
    pub fn extent(&self) -> Extent {
        let State { first_seq, last_seq, .. } = self.state;
        // A stream that never had a message says 0 or 1, one that was emptied the next number.
        Extent { first: first_seq.clamp(1, last_seq + 1), last: last_seq }
    }
}

impl Config {
    /// The most bytes of a message.
    pub fn most_bytes(&self) -> usize {
        usize::try_from(self.max_msg_size).ok().filter(|most| *most > 0).unwrap_or(usize::MAX)
    }

    /// Why the stream can't be the log.
    fn fault(&self, subjects: &Subjects, replicas: u8) -> Option<String> {
        let forgets = self.discard != "new" && (self.max_msgs > 0 || self.max_bytes > 0);
        let fault = match () {
            () if !subjects.fit(&self.subjects) => format!("has other subjects than {subjects}"),
            () if self.storage != "file" => "is kept in memory, so a restart of the servers loses it".to_owned(),
            () if self.retention != "limits" => format!("forgets entries, by its retention {}", self.retention),
            () if self.max_age > 0 => "forgets entries by age (max_age)".to_owned(),
            () if forgets => "forgets its oldest entries (max_msgs or max_bytes with discard old)".to_owned(),
            () if self.max_msgs_per_subject > 0 => "forgets its oldest entries (max_msgs_per_subject)".to_owned(),
            () if self.sealed => "is sealed, so it takes no entries".to_owned(),
            () if self.no_ack => "acknowledges nothing (no_ack)".to_owned(),
            () if self.deny_purge => "can't be trimmed (deny_purge)".to_owned(),
            () if !self.mirror.is_null() || !self.sources.is_null() => "is a copy of another stream".to_owned(),
            () if self.num_replicas < replicas => {
                format!(
                    "has {} of {replicas} replicas; nats stream edit --replicas {replicas} adds them",
                    self.num_replicas
                )
            }
            () => return None,
        };
        Some(fault)
    }
}

/// Makes the streams or checks them, and gives what is said of the log. Completes the names by the log's subject.
///
/// # Errors
///
/// A sentence.
pub async fn ready(
    api: &Api,
    names: &mut Names,
    options: &Options,
    deadline: Instant,
    warnings: &mut Vec<String>,
) -> Result<Info, String> {
    let replicas = match (options.replicas, api.is_clustered()) {
        (Some(replicas), _) => replicas,
        (None, true) => REPLICAS,
        (None, false) => 1,
    };
    if replicas < REPLICAS {
        warnings.push(format!("{replicas} of the NATS servers has the log: its loss is the loss of the log"));
    }
    let drawn = uuid::Uuid::new_v4().simple();
    let log = json!({
        "name": names.log,
        "subjects": [format!("{}.{drawn}", names.entries)],
        "description": format!("{LABEL}{drawn}"),
        "deny_delete": true,
    });
    let info = ensure(api, log, &Subjects::One(names.entries.clone()), replicas, deadline).await?;
    names.entries = info.config.subjects.first().cloned().unwrap_or_default();
    let subjects = vec![format!("{}*", names.parts), names.whole.clone()];
    let snapshots = json!({ "name": names.snapshots, "subjects": subjects, "description": "presently" });
    ensure(api, snapshots, &Subjects::All(subjects), replicas, deadline).await?;
    Ok(info)
}

/// How long a stream must be missing before it is made: a server that was killed takes requests a moment before it has its streams
/// again, and another stream in its place would be the loss of the log.
const MISSING_FOR: Duration = Duration::from_millis(500);

/// The pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Makes a stream if there is none, and checks the one that is there.
async fn ensure(
    api: &Api,
    mut config: Value,
    subjects: &Subjects,
    replicas: u8,
    deadline: Instant,
) -> Result<Info, String> {
    let stream = &config["name"].as_str().unwrap_or_default().to_owned();
    for (key, value) in [
        ("storage", json!("file")),
        ("retention", json!("limits")),
        ("discard", json!("new")),
        ("num_replicas", json!(replicas)),
        ("max_msgs", json!(-1)),
        ("max_bytes", json!(-1)),
        ("max_consumers", json!(-1)),
    ] {
        config[key] = value;
    }
    let mut missing = None;
    loop {
        let found = match info(api, stream).await {
            Err(error) if error.is(number::NOT_FOUND) => {
                if missing.get_or_insert_with(Instant::now).elapsed() < MISSING_FOR {
                    sleep(LOOK_EVERY).await;
                    continue;
                }
                api.ask::<Info>(&format!("STREAM.CREATE.{stream}"), &config).await
            }
            found => found,
        };
        let error = match found {
            Ok(info) => match info.config.fault(subjects, replicas) {
                None => return Ok(info),
                Some(fault) => return Err(format!("the stream {stream} {fault}")),
            },
            Err(error) => error,
        };
        // Another gateway made it meanwhile, or not all servers are there yet.
        let again = error.is_temporary() || error.is(number::NAME_IN_USE) || error.is(number::NO_PEERS);
        if !again || Instant::now() >= deadline {
            return Err(sentence(stream, &error, replicas));
        }
        sleep(LOOK_EVERY).await;
    }
}

/// What to say of a stream that can't be made.
fn sentence(stream: &str, error: &ApiError, replicas: u8) -> String {
    match error {
        _ if number::NO_JETSTREAM.iter().any(|number| error.is(*number)) => {
            "JetStream is not on: start nats-server with -js, or allow the account to use JetStream".to_owned()
        }
        _ if error.is(number::NO_PEERS) || error.is(number::NOT_CLUSTERED) => {
            format!("the stream {stream} needs {replicas} servers with JetStream, and there are fewer")
        }
        ApiError::Unanswered(why) => format!("JetStream does not answer about the stream {stream}: {why}"),
        ApiError::Refused { description, .. } => format!("the stream {stream} can't be made: {description}"),
    }
}

/// What the server says of a stream.
///
/// # Errors
///
/// No or another answer.
pub async fn info(api: &Api, stream: &str) -> Result<Info, ApiError> {
    api.ask(&format!("STREAM.INFO.{stream}"), &Value::Null).await
}

/// Removes the messages before a place, or all.
///
/// # Errors
///
/// Some may be removed.
pub async fn purge_before(api: &Api, stream: &str, before: u64) -> Result<(), ApiError> {
    // A place beyond the end would become the next one, and 0 means all.
    match before.min(info(api, stream).await?.extent().last + 1) {
        0 | 1 => Ok(()),
        seq => api.ask::<Value>(&format!("STREAM.PURGE.{stream}"), &json!({ "seq": seq })).await.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The stream as it is made, with one thing changed.
    fn fault(changed: Value) -> Option<String> {
        let mut config = json!({
            "name": "p-log", "subjects": ["p.log"], "retention": "limits", "storage": "file", "discard": "new",
            "num_replicas": 3, "max_msgs": -1, "max_bytes": -1, "max_age": 0, "max_msg_size": -1, "deny_delete": true,
            "max_msgs_per_subject": -1, "duplicate_window": 120_000_000_000_u64,
        });
        for (key, value) in changed.as_object().unwrap() {
            config[key] = value.clone();
        }
        serde_json::from_value::<Config>(config).unwrap().fault(&Subjects::One("p.log".to_owned()), 3)
    }

    #[test]
    fn a_stream_that_would_lose_entries_is_refused() {
        for harmless in [
            json!({}),
            json!({ "max_bytes": 1_000, "max_msgs": 10 }),
            json!({ "num_replicas": 5 }),
            json!({ "metadata": {} }),
            json!({ "subjects": ["p.log.1"] }),
        ] {
            assert_eq!(fault(harmless.clone()), None, "{harmless}");
        }
        for (changed, word) in [
            (json!({ "subjects": ["p.log", "x"] }), "subject"),
            (json!({ "subjects": ["p.log.>"] }), "subject"),
            (json!({ "subjects": ["x"] }), "subject"),
            (json!({ "subjects": ["p.logs"] }), "subject"),
            (json!({ "storage": "memory" }), "memory"),
            (json!({ "retention": "workqueue" }), "workqueue"),
            (json!({ "max_age": 1 }), "max_age"),
            (json!({ "max_bytes": 1_000, "discard": "old" }), "max_bytes"),
            (json!({ "max_msgs": 10, "discard": "old" }), "max_msgs"),
            (json!({ "max_msgs_per_subject": 10 }), "max_msgs_per_subject"),
            (json!({ "sealed": true }), "sealed"),
            (json!({ "no_ack": true }), "no_ack"),
            (json!({ "deny_purge": true }), "deny_purge"),
            (json!({ "mirror": { "name": "y" } }), "copy"),
            (json!({ "num_replicas": 1 }), "1 of 3"),
        ] {
            let fault = fault(changed.clone()).unwrap_or_default();
            assert!(fault.contains(word), "{changed}: {fault}");
        }
    }

    #[test]
    fn an_identity_is_drawn_and_has_a_time() {
        let info = |description: &str, created: &str| Info {
            config: Config { description: description.to_owned(), ..Config::default() },
            created: created.to_owned(),
            state: State::default(),
        };
        let first = info("presently 0000000000000000000000000000002a", "2026-11-28T10:00:00.000000001Z").identity();
        assert_eq!((first.drawn, first.made % 1_000), (42, 1));
        let remade = info("presently 0000000000000000000000000000002a", "2026-11-28T10:00:00.000000002Z").identity();
        assert_ne!(first, remade);
        assert_eq!(info("by hand", "?").identity(), LogId { drawn: 0, made: 0 });
    }

    #[test]
    fn an_empty_stream_has_a_next_place() {
        let extent = |first_seq, last_seq| {
            let state = State { first_seq, last_seq, subjects: None };
            let extent = Info { state, ..Info::default() }.extent();
            (extent.first, extent.last)
        };
        assert_eq!(extent(0, 0), (1, 0));
        assert_eq!(extent(1, 0), (1, 0));
        assert_eq!(extent(4, 9), (4, 9));
        assert_eq!(extent(10, 9), (10, 9));
    }
}
