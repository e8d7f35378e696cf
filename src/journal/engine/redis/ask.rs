//! Questions from node to node: messages of pub/sub, outside of all keys.
//!
//! A node hears the channel of its name, and each engine that asks one for replies. One connection of RESP3 has the subscriptions and the
//! commands, so the server has a subscription before what is published after it, and what a lost connection had is published once or not
//! at all. The channels have the number of the database in their names, because pub/sub knows no databases.
//!
//! A server ends a connection with more than 32 MiB of messages that are not taken (`client-output-buffer-limit pubsub`): questions that
//! large and that many at once have no answer.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use ::redis::{Pipeline, PushInfo, PushKind, Value, cmd};
use bytes::{Buf, BufMut, Bytes};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};
use uuid::Uuid;

use crate::journal::engine::address::ClusterName;
use crate::journal::engine::asking::{Asking, too_late};
use crate::journal::engine::calls::{Calls, Intake, Outgoing, Reply, is_name, outgoing};
use crate::journal::engine::redis::connection::{Connection, Fault, Link, bytes};
use crate::journal::engine::seam::{MOST_BYTES, Trouble};

/// How often the server is asked whether it is there: a connection that is cut off without a word is made anew soon after.
const BEAT: Duration = Duration::from_secs(1);

/// The first and the longest pause between two attempts to connect.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// The replies that are sent in one go.
const AT_ONCE: usize = 32;

/// The names of channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channels {
    /// Before the name of a node: questions to it.
    calls: String,
    /// Before the name of an asker: replies to it.
    replies: String,
}

impl Channels {
    /// The channels of a cluster.
    pub fn new(name: &ClusterName, database: u16) -> Channels {
        Channels { calls: format!("{name}:call:{database}:"), replies: format!("{name}:reply:{database}:") }
    }
}

/// The connection for questions and answers.
pub(super) struct Line {
    ears: Arc<Ears>,
    within: Duration,
    connected: watch::Receiver<Option<Connection>>,
    _keeping: AbortOnDropHandle<()>,
}

/// What is heard, and by whom.
struct Ears {
    channels: Channels,
    /// Names this engine as an asker.
    inbox: Uuid,
    asking: Arc<Asking>,
    /// By channel.
    served: Mutex<HashMap<String, Served>>,
    /// Told when others are served.
    changed: Notify,
}

struct Served {
    intake: Intake,
    replies: mpsc::Sender<Outgoing<Asker>>,
}

/// Where a reply goes: an asker, and the number of its call.
type Asker = (Uuid, u64);

impl Line {
    /// Connects, and keeps connected.
    pub fn start(link: Arc<Link>, channels: Channels) -> Line {
        let ears = Arc::new(Ears {
            channels,
            inbox: Uuid::new_v4(),
            asking: Arc::default(),
            served: Mutex::default(),
            changed: Notify::new(),
        });
        let ((sender, connected), within) = (watch::channel(None), link.within);
        let keeping = AbortOnDropHandle::new(tokio::spawn(keep(link, ears.clone(), sender)));
        Line { ears, within, connected, _keeping: keeping }
    }

    /// Takes the questions to a node.
    pub fn serve(line: &Arc<Line>, name: &str) -> Calls {
        let (intake, calls) = Intake::new(MOST_BYTES);
        if is_name(name) {
            let (replies, sending) = outgoing();
            let channel = format!("{}{name}", line.ears.channels.calls);
            line.ears.served.lock().insert(channel, Served { intake: intake.clone(), replies });
            line.ears.changed.notify_one();
            // The line stays until the calls end and all that were taken have a reply.
            let (ending, sender) = (line.clone(), line.clone());
            tokio::spawn(async move {
                intake.closed().await;
                ending.ears.changed.notify_one();
            });
            tokio::spawn(async move { sender.reply(sending).await });
        }
        calls
    }

    /// Asks a node.
    pub async fn call(&self, name: &str, question: &[u8], within: Duration) -> Result<Option<Bytes>, Trouble> {
        let asked = self.ears.asking.begin(question.len(), MOST_BYTES, within)?;
        if !is_name(name) {
            return Ok(None);
        }
        let connected = timeout_at(asked.deadline, self.connection()).await.ok().flatten();
        let mut connection = connected.ok_or_else(|| Trouble::Unknown("no server is connected".to_owned()))?;
        let mut publish = cmd("PUBLISH");
        publish.arg(format!("{}{name}", self.ears.channels.calls));
        publish.arg(write(self.ears.inbox, asked.number, asked.left(), question));
        let heard: u64 = timeout_at(asked.deadline, connection.ask(&publish)).await.map_err(|_| too_late())??;
        if heard == 0 { Ok(None) } else { asked.reply().await }
    }

    /// Waits for a connection.
    async fn connection(&self) -> Option<Connection> {
        let mut connected = self.connected.clone();
        let connected = connected.wait_for(Option::is_some).await.ok()?;
        connected.clone()
    }

    /// Sends the replies of one name, until there can be none.
    async fn reply(&self, mut sending: mpsc::Receiver<Outgoing<Asker>>) {
        let mut some = Vec::with_capacity(AT_ONCE);
        while sending.recv_many(&mut some, AT_ONCE).await > 0 {
            let mut commands = Pipeline::new();
            for ((asker, number), reply, _) in &some {
                let channel = format!("{}{}", self.ears.channels.replies, asker.simple());
                commands.cmd("PUBLISH").arg(channel).arg(answer(*number, reply));
            }
            if let Ok(Some(mut connection)) = timeout(self.within, self.connection()).await {
                // What can't be sent is an answer that does not come.
                drop(connection.ask_all(&commands).await);
            }
            some.clear();
        }
    }
}

impl Ears {
    /// The channels to hear.
    fn wanted(&self) -> BTreeSet<String> {
        let served = self.served.lock();
        let open = served.iter().filter(|(_, served)| !served.intake.is_closed());
        let mut wanted: BTreeSet<String> = open.map(|(channel, _)| channel.clone()).collect();
        wanted.insert(format!("{}{}", self.channels.replies, self.inbox.simple()));
        wanted
    }

    /// Forgets who is not served any longer, except those whose channels are still heard: a question there hears that nobody serves the
    /// name.
    fn sweep(&self, heard: &BTreeSet<String>) {
        self.served.lock().retain(|channel, served| heard.contains(channel) || !served.intake.is_closed());
    }

    /// Hears a message.
    fn hear(&self, message: PushInfo) {
        let Ok([channel, payload]) = <[Value; 2]>::try_from(message.data) else { return };
        let (Some(channel), Some(payload)) = (bytes(channel), bytes(payload)) else { return };
        let (channel, payload) = (String::from_utf8_lossy(&channel), Bytes::from(payload));
        if !channel.starts_with(&self.channels.calls) {
            if let Some((number, reply)) = read_answer(payload) {
                self.asking.settle(number, reply);
            }
            return;
        }
        let served = self.served.lock();
        if let (Some(Served { intake, replies }), Some((asker, within, question))) =
            (served.get(&*channel), read(payload))
        {
            let (intake, replies) = (intake.clone(), replies.clone());
            drop(served);
            intake.take_in(question, within, move |reply, room| drop(replies.try_send((asker, reply, room))));
        }
    }
}

/// Connects, again and again.
async fn keep(link: Arc<Link>, ears: Arc<Ears>, connected: watch::Sender<Option<Connection>>) {
    let (mut pause, mut troubled) = (PAUSES.0, false);
    loop {
        let begun = Instant::now();
        let Err(why) = hear(&link, &ears, &connected, troubled).await;
        if connected.send_replace(None).is_some() {
            ears.asking.lose();
            troubled = false;
            // A server that takes each connection only to end it is not asked again at once.
            if begun.elapsed() > PAUSES.1 {
                pause = PAUSES.0;
            }
        }
        ears.sweep(&BTreeSet::new());
        if !troubled {
            warn!(%why, "the connection for questions to other nodes was interrupted; trying again");
        }
        troubled = true;
        sleep(pause.saturating_sub(begun.elapsed())).await;
        pause = PAUSES.1.min(2 * pause);
    }
}

/// Hears messages until the connection is lost.
async fn hear(
    link: &Link,
    ears: &Arc<Ears>,
    connected: &watch::Sender<Option<Connection>>,
    troubled: bool,
) -> Result<Infallible, Fault> {
    let lost = Arc::new(Notify::new());
    let (ending, hearing) = (lost.clone(), ears.clone());
    let mut connection = link
        .connect_to_hear(move |message: PushInfo| {
            if message.kind == PushKind::Disconnection {
                ending.notify_one();
            } else if message.kind == PushKind::Message {
                hearing.hear(message);
            }
            Ok::<_, Infallible>(())
        })
        .await?;
    let mut there = BTreeSet::new();
    loop {
        let wanted = ears.wanted();
        let [to, not] = [&wanted - &there, &there - &wanted].map(|channels| channels.into_iter().collect::<Vec<_>>());
        connection.subscribe(&to, &not).await?;
        ears.sweep(&wanted);
        there = wanted;
        if connected.borrow().is_none() {
            connected.send_replace(Some(connection.clone()));
            if troubled {
                info!("the connection for questions to other nodes is there again");
            }
        }
        tokio::select! {
            () = ears.changed.notified() => {}
            () = lost.notified() => return Err(Fault::Away("the server closed the connection".to_owned())),
            () = sleep(BEAT) => drop(connection.ask::<Value>(&cmd("PING")).await?),
        }
    }
}

/// A question on the wire: who asks, the number of the call, the milliseconds that the asker still waits, the question.
fn write(asker: Uuid, number: u64, left: u32, question: &[u8]) -> Vec<u8> {
    let mut written = Vec::with_capacity(28 + question.len());
    written.put_slice(asker.as_bytes());
    written.put_u64(number);
    written.put_u32(left);
    written.put_slice(question);
    written
}

fn read(mut written: Bytes) -> Option<(Asker, Duration, Bytes)> {
    let asker = Uuid::from_u128(written.try_get_u128().ok()?);
    let number = written.try_get_u64().ok()?;
    let within = Duration::from_millis(written.try_get_u32().ok()?.into());
    Some(((asker, number), within, written))
}

/// A reply on the wire: the number of the call, the letter of its kind, the answer.
fn answer(number: u64, reply: &Reply) -> Vec<u8> {
    let bytes = match reply {
        Reply::Answer(bytes) => bytes,
        Reply::Busy | Reply::Gone | Reply::Unanswered | Reply::TooLarge => &Bytes::new(),
    };
    let mut written = Vec::with_capacity(9 + bytes.len());
    written.put_u64(number);
    written.put_slice(reply.letter().as_bytes());
    written.put_slice(bytes);
    written
}

fn read_answer(mut written: Bytes) -> Option<(u64, Reply)> {
    let number = written.try_get_u64().ok()?;
    let letter = [written.try_get_u8().ok()?];
    Some((number, Reply::read(&letter, written)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_written_and_read() {
        let asker = Uuid::from_u128(7);
        let written = Bytes::from(write(asker, 9, 20, b"why"));
        let read_again = read(written.clone()).unwrap();
        assert_eq!(read_again, ((asker, 9), Duration::from_millis(20), Bytes::from_static(b"why")));
        assert_eq!(read(written.slice(..28)).unwrap().2, Bytes::new());
        assert_eq!(read(written.slice(..27)), None);
    }

    #[test]
    fn replies_are_written_and_read() {
        for reply in [Reply::Answer(Bytes::from_static(b"so")), Reply::Answer(Bytes::new()), Reply::Busy, Reply::Gone] {
            assert_eq!(read_answer(answer(9, &reply).into()), Some((9, reply)));
        }
        assert_eq!(read_answer(Bytes::from_static(b"12345678")), None);
    }

    #[test]
    fn channels_of_other_clusters_and_databases_are_others() {
        let channels = |name: &str, database| Channels::new(&name.parse().unwrap(), database);
        assert_eq!(channels("a", 0).calls, "a:call:0:");
        assert_ne!(channels("a", 0), channels("b", 0));
        assert_ne!(channels("a", 0), channels("a", 1));
    }
}
