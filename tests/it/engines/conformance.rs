//! What each log promises, whatever keeps it: one test for all.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use presently::engine::reader::{Break, Entry, Reader};
use presently::engine::seam::{Engine, Extent, Trouble};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Longer than any step takes, with a server that starts.
const DEADLINE: Duration = Duration::from_secs(60);

/// The batches in flight.
const IN_FLIGHT: usize = 4;

/// A place that keeps a log, and what may happen to it.
#[allow(async_fn_in_trait, reason = "the tests wait for nothing else meanwhile")]
pub trait Place {
    /// Whether several may open the log, and go on with it after a restart of what keeps it.
    const SHARED: bool;
    /// Whether connections to it can break.
    const NETWORK: bool;

    /// Opens the log.
    async fn open(&mut self) -> Arc<dyn Engine>;
    /// Opens the log past what cuts connections.
    async fn open_directly(&mut self) -> Arc<dyn Engine> {
        self.open().await
    }
    /// Ends what keeps the log, at once.
    async fn kill(&mut self);
    /// Starts again what keeps the log.
    async fn restart(&mut self);
    /// Keeps a copy of the log, after a kill.
    async fn back_up(&mut self);
    /// Puts the copy in the place of the log, after a kill.
    async fn restore(&mut self);
    /// Removes the log and all that belongs to it.
    async fn remove(&mut self);
    /// Loses all answers until the connections are cut.
    fn mute(&mut self) {}
    /// Cuts all connections.
    async fn cut(&mut self) {}
    /// Lets connections pass again.
    fn mend(&mut self) {}
}

/// Runs all of it, from a seed. The place has no log before.
pub async fn conforms<P: Place>(place: &mut P, seed: u64) {
    let mut rng = Rng::with_seed(seed);
    println!("seed {seed}");
    keeps_one_order(place, &mut rng).await;
    bounds_batches(place).await;
    trims(place, &mut rng).await;
    keeps_whole_snapshots(place, &mut rng).await;
    if P::NETWORK {
        tells_the_truth_about_lost_answers(place, &mut rng).await;
        reads_on_after_cuts(place, &mut rng).await;
        answers_in_time_without_a_server(place).await;
    }
    keeps_what_was_acknowledged(place, &mut rng).await;
    says_what_was_forgotten(place, &mut rng).await;
    if P::NETWORK {
        notices_other_entries_in_the_same_places(place, &mut rng).await;
    }
    tells_logs_apart(place, &mut rng).await;
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// Bytes that no other batch has.
fn batch(rng: &mut Rng) -> Bytes {
    let length = if rng.u8(..8) == 0 { rng.usize(..50_000) } else { rng.usize(..300) };
    let mut bytes = rng.u128(..).to_le_bytes().to_vec();
    bytes.extend(std::iter::repeat_with(|| rng.u8(..)).take(length));
    bytes.into()
}

/// Appends batches, several at once, and gives the positions.
async fn append(engine: &dyn Engine, batches: &[Bytes]) -> Vec<u64> {
    let mut positions = Vec::new();
    for some in batches.chunks(IN_FLIGHT) {
        let appending: Vec<_> = some.iter().map(|batch| engine.append(batch.clone())).collect();
        for appending in appending {
            positions.push(within("an append", appending).await.expect("a position"));
        }
    }
    positions
}

/// Appends a batch until that succeeds, and says how often it was tried.
async fn insist(engine: &dyn Engine, batch: &Bytes) -> (u64, usize) {
    let trying = async {
        let mut tries = 0;
        loop {
            tries += 1;
            match engine.append(batch.clone()).await {
                Ok(position) => return (position, tries),
                Err(Trouble::TooLarge { .. }) => panic!("too large"),
                Err(Trouble::Full | Trouble::Unknown(_)) => sleep(Duration::from_millis(20)).await,
            }
        }
    };
    within("an append that succeeds", trying).await
}

async fn extent(engine: &dyn Engine) -> Extent {
    within("the extent", engine.extent()).await.expect("an extent")
}

async fn next(reader: &mut Reader) -> Result<Entry, Break> {
    within("the next entry", reader.next()).await
}

/// Why a reader ends.
async fn end(reader: &mut Reader) -> Break {
    next(reader).await.map(|(position, _)| position).expect_err("no entry")
}

/// Reads up to a position.
async fn read_to(reader: &mut Reader, after: u64, last: u64) -> Vec<Entry> {
    let mut entries = Vec::new();
    for position in after + 1..=last {
        let entry = next(reader).await.expect("an entry");
        assert_eq!(entry.0, position, "in order, without a gap");
        entries.push(entry);
    }
    entries
}

/// All entries that are there.
async fn all(engine: &dyn Engine) -> Vec<Entry> {
    let Extent { first, last } = extent(engine).await;
    read_to(&mut engine.read(first - 1), first - 1, last).await
}

/// Two append at once: all readers see the same order, with each batch where its answer says.
async fn keeps_one_order<P: Place>(place: &mut P, rng: &mut Rng) {
    let (one, other) = (place.open().await, place.open().await);
    assert_eq!(one.identity(), other.identity());
    assert_eq!(extent(&*one).await, Extent { first: 1, last: 0 });
    let mut early = other.read(0);
    let batches: [Vec<Bytes>; 2] = std::array::from_fn(|_| (0..150).map(|_| batch(rng)).collect());
    let (first, second) = tokio::join!(append(&*one, &batches[0]), append(&*other, &batches[1]));
    assert!(first.is_sorted() && second.is_sorted(), "batches of one caller keep their order");
    let there = read_to(&mut early, 0, 300).await;
    let wanted: BTreeMap<u64, Bytes> = [first, second].concat().into_iter().zip(batches.concat()).collect();
    assert!(there == wanted.into_iter().collect::<Vec<_>>(), "each batch is where its answer says");
    let middle = rng.u64(1..300);
    let late = read_to(&mut one.read(middle), middle, 300).await;
    assert!(late == there[usize::try_from(middle).unwrap()..], "all readers see the same");
    assert_eq!(extent(&*one).await, Extent { first: 1, last: 300 });
    let more = [batch(rng)];
    let waiting = append(&*one, &more);
    let (position, entry) = tokio::join!(waiting, next(&mut early));
    assert_eq!((position, entry.unwrap().0), (vec![301], 301), "a reader at the end goes on");
}

/// The largest batch fits, one more byte is refused before it is sent.
async fn bounds_batches<P: Place>(place: &mut P) {
    let engine = place.open().await;
    let most = engine.most_bytes();
    let large = Bytes::from(vec![7; most]);
    let position = append(&*engine, std::slice::from_ref(&large)).await[0];
    assert!(next(&mut engine.read(position - 1)).await == Ok((position, large)), "the largest batch comes back");
    let refused = engine.append(vec![7; most + 1].into()).await;
    assert_eq!(refused, Err(Trouble::TooLarge { bytes: most + 1, most }));
    assert_eq!(extent(&*engine).await.last, position);
    assert_eq!(append(&*engine, &[Bytes::new()]).await, [position + 1], "no bytes are a batch as well");
    assert_eq!(next(&mut engine.read(position)).await, Ok((position + 1, Bytes::new())));
}

/// What was trimmed is gone, and a reader that wants it is told.
async fn trims<P: Place>(place: &mut P, rng: &mut Rng) {
    let engine = place.open().await;
    if within("a trim", engine.trim(1)).await == Err(Trouble::Unknown("no trim".to_owned())) {
        return;
    }
    let last = extent(&*engine).await.last;
    let before = rng.u64(2..last);
    within("a trim", engine.trim(before)).await.expect("a trim");
    within("a trim", engine.trim(before - 1)).await.expect("a trim of what is gone");
    assert_eq!(extent(&*engine).await, Extent { first: before, last });
    assert_eq!(end(&mut engine.read(0)).await, Break::Trimmed { first: before });
    let mut reader = engine.read(before - 1);
    read_to(&mut reader, before - 1, last).await;
    within("a trim", engine.trim(last + 100)).await.expect("a trim of all");
    assert_eq!(extent(&*engine).await, Extent { first: last + 1, last });
    assert_eq!(append(&*engine, &[batch(rng)]).await, [last + 1], "positions go on");
    assert_eq!(next(&mut reader).await.unwrap().0, last + 1, "a reader that had read all goes on");
    let mut gone = engine.read(0);
    assert_eq!(end(&mut gone).await, Break::Trimmed { first: last + 1 });
    assert_eq!(end(&mut gone).await, Break::Trimmed { first: last + 1 }, "the end stays the end");
    assert_eq!(end(&mut engine.read(last + 9)).await, Break::Forgotten { last: last + 1 });
}

/// The newest whole snapshot and its parts.
async fn newest(engine: &dyn Engine) -> Option<(u64, Vec<Bytes>)> {
    let mut snapshot = within("a snapshot", engine.snapshot()).await.expect("an answer")?;
    let mut parts = Vec::new();
    while let Some(part) = within("a part", snapshot.next()).await.expect("a part") {
        parts.push(part);
    }
    assert_eq!(parts.len() as u64, snapshot.parts);
    Some((snapshot.at, parts))
}

/// A snapshot is there when it is whole, and not before.
async fn keeps_whole_snapshots<P: Place>(place: &mut P, rng: &mut Rng) {
    let engine = place.open().await;
    assert_eq!(newest(&*engine).await, None);
    let mut last = None;
    for round in 0..5 {
        let at = append(&*engine, &[batch(rng)]).await[0];
        let parts: Vec<_> = (0..rng.usize(1..6)).map(|_| batch(rng)).collect();
        let mut writing = within("a snapshot", engine.put_snapshot(at)).await.expect("a snapshot");
        for part in &parts {
            within("a part", writing.put(part.clone())).await.expect("a part");
        }
        assert!(newest(&*engine).await == last, "half a snapshot is none");
        if round == 2 {
            let most = engine.most_bytes();
            let refused = within("a part", writing.put(vec![0; most + 1].into())).await;
            assert_eq!(refused, Err(Trouble::TooLarge { bytes: most + 1, most }));
            continue;
        }
        within("a snapshot", writing.finish()).await.expect("a snapshot");
        last = Some((at, parts));
        assert!(newest(&*engine).await == last, "a whole snapshot is there");
        if P::SHARED {
            assert!(newest(&*place.open().await).await == last, "another process sees it");
        }
    }
}

/// A batch whose answer is lost may be in the log. Nothing says that it is not.
async fn tells_the_truth_about_lost_answers<P: Place>(place: &mut P, rng: &mut Rng) {
    let engine = place.open().await;
    let before = append(&*engine, &[batch(rng)]).await[0];
    place.mute();
    let lost = batch(rng);
    let answer = within("an answer, or none", engine.append(lost.clone())).await;
    assert!(matches!(answer, Err(Trouble::Unknown(_))), "{answer:?}");
    place.cut().await;
    place.mend();
    let (position, tries) = insist(&*engine, &lost).await;
    let there = read_to(&mut engine.read(before), before, position).await;
    assert!(there[0] == (before + 1, lost.clone()), "the server had it");
    assert!(there.last() == Some(&(position, lost)), "each call that succeeds appends");
    assert!(there.len() <= tries + 1, "once for each call");
}

/// A reader goes on after its connections were cut, and misses nothing.
async fn reads_on_after_cuts<P: Place>(place: &mut P, rng: &mut Rng) {
    let engine = place.open().await;
    let from = extent(&*engine).await.last;
    let (mut reader, mut at) = (engine.read(from), from);
    for _ in 0..4 {
        let batches: Vec<_> = (0..rng.usize(1..40)).map(|_| batch(rng)).collect();
        let last = *append(&*engine, &batches).await.last().unwrap();
        let some = rng.u64(at..=last);
        read_to(&mut reader, at, some).await;
        place.cut().await;
        place.mend();
        let (position, _) = insist(&*engine, &batch(rng)).await;
        read_to(&mut reader, some, position).await;
        at = position;
    }
}

/// Without a server all is answered in time.
async fn answers_in_time_without_a_server<P: Place>(place: &mut P) {
    let engine = place.open().await;
    let (mut reader, before) = (engine.read(0), extent(&*engine).await);
    reader = match next(&mut reader).await {
        Err(Break::Trimmed { first }) => engine.read(first - 1),
        Ok(_) | Err(_) => reader,
    };
    place.cut().await;
    let answers = async {
        let many: Vec<_> = (0..40).map(|_| engine.append(Bytes::from_static(b"x"))).collect();
        let mut kinds = [0, 0];
        for appending in many {
            match appending.await {
                Err(Trouble::Unknown(_)) => kinds[0] += 1,
                Err(Trouble::Full) => kinds[1] += 1,
                other => panic!("{other:?}"),
            }
        }
        assert!(kinds.iter().all(|kind| *kind > 0), "what does not fit is refused: {kinds:?}");
        assert!(engine.extent().await.is_err());
        assert!(engine.trim(1_000_000).await.is_err());
        assert!(engine.snapshot().await.is_err());
    };
    within("answers without a server", answers).await;
    place.mend();
    let (position, _) = insist(&*engine, &Bytes::from_static(b"y")).await;
    assert!(position > before.last);
    let rest = async { while reader.next().await.expect("an entry").0 < position {} };
    within("the reader", rest).await;
}

/// Appends without a pause until something goes wrong.
struct Appender {
    acknowledged: watch::Receiver<Vec<Entry>>,
    task: JoinHandle<()>,
}

impl Appender {
    fn start(engine: Arc<dyn Engine>, seed: u64) -> Appender {
        let (sender, acknowledged) = watch::channel(Vec::new());
        let task = tokio::spawn(async move {
            let mut rng = Rng::with_seed(seed);
            loop {
                let batches: [Bytes; IN_FLIGHT] = std::array::from_fn(|_| batch(&mut rng));
                let appending = batches.each_ref().map(|batch| engine.append(batch.clone()));
                for (appending, batch) in appending.into_iter().zip(batches) {
                    match appending.await {
                        Ok(position) => sender.send_modify(|all| all.push((position, batch))),
                        Err(_) => return,
                    }
                }
            }
        });
        Appender { acknowledged, task }
    }

    /// Waits until so many batches are acknowledged.
    async fn reaches(&mut self, count: usize) {
        within("appends", self.acknowledged.wait_for(|all| all.len() >= count)).await.expect("appends");
    }

    /// Ends it, and gives what was acknowledged.
    fn stop(self) -> Vec<Entry> {
        self.task.abort();
        self.acknowledged.borrow().clone()
    }

    /// Waits for the end, and gives what was acknowledged.
    async fn end(self) -> Vec<Entry> {
        within("the end of appends", self.task).await.expect("no panic");
        self.acknowledged.borrow().clone()
    }
}

/// After `kill -9` all is there that was acknowledged.
async fn keeps_what_was_acknowledged<P: Place>(place: &mut P, rng: &mut Rng) {
    for _ in 0..2 {
        let mut engine = place.open().await;
        let identity = engine.identity();
        let before = extent(&*engine).await.last;
        let mut reader = engine.read(before);
        let mut appender = Appender::start(engine.clone(), rng.u64(..));
        appender.reaches(rng.usize(5..300)).await;
        place.kill().await;
        let acknowledged = match P::NETWORK {
            true => appender.end().await,
            // Nothing fails: what was acknowledged up to now counts.
            false => appender.stop(),
        };
        place.restart().await;
        if !P::SHARED {
            engine = place.open().await;
            reader = engine.read(before);
        }
        assert_eq!(place.open().await.identity(), identity, "the same log as before");
        let (last, _) = insist(&*engine, &batch(rng)).await;
        let there: BTreeMap<u64, Bytes> = read_to(&mut reader, before, last).await.into_iter().collect();
        for (position, batch) in &acknowledged {
            assert!(there.get(position) == Some(batch), "{position} was acknowledged");
        }
        assert_eq!(all(&*engine).await.last().unwrap().0, last);
    }
}

/// A log that lost its end says so to a reader that was beyond it.
async fn says_what_was_forgotten<P: Place>(place: &mut P, rng: &mut Rng) {
    let mut engine = place.open().await;
    let (kept, _) = insist(&*engine, &batch(rng)).await;
    place.kill().await;
    place.back_up().await;
    place.restart().await;
    if !P::SHARED {
        engine = place.open().await;
    }
    let mut reader = engine.read(kept);
    insist(&*engine, &batch(rng)).await;
    let (last, _) = insist(&*engine, &batch(rng)).await;
    read_to(&mut reader, kept, last).await;
    place.kill().await;
    place.restore().await;
    place.restart().await;
    if !P::SHARED {
        engine = place.open().await;
        reader = engine.read(last);
    }
    assert_eq!(end(&mut reader).await, Break::Forgotten { last: kept });
    assert_eq!(end(&mut engine.read(last)).await, Break::Forgotten { last: kept });
    assert_eq!(insist(&*engine, &batch(rng)).await.0, kept + 1);
}

/// A log that lost its end and got other entries instead is found out by the last entry that was read.
async fn notices_other_entries_in_the_same_places<P: Place>(place: &mut P, rng: &mut Rng) {
    let engine = place.open().await;
    let (kept, _) = insist(&*engine, &batch(rng)).await;
    place.kill().await;
    place.back_up().await;
    place.restart().await;
    let mut reader = engine.read(kept);
    let (last, _) = insist(&*engine, &batch(rng)).await;
    read_to(&mut reader, kept, last).await;
    // Nobody reads meanwhile.
    place.cut().await;
    place.kill().await;
    place.restore().await;
    place.restart().await;
    let other = place.open_directly().await;
    while insist(&*other, &batch(rng)).await.0 < last + 3 {}
    place.mend();
    assert_eq!(end(&mut reader).await, Break::Forgotten { last: last - 1 });
}

/// A log that was removed and made anew is another one.
async fn tells_logs_apart<P: Place>(place: &mut P, rng: &mut Rng) {
    let engine = place.open().await;
    let (last, _) = insist(&*engine, &batch(rng)).await;
    let mut reader = engine.read(last - 1);
    read_to(&mut reader, last - 1, last).await;
    place.remove().await;
    if P::SHARED {
        let end = end(&mut reader).await;
        assert!(matches!(end, Break::Other(other) if other != engine.identity()), "{end:?}");
    }
    let anew = place.open().await;
    assert_ne!(anew.identity(), engine.identity());
    assert_eq!(extent(&*anew).await, Extent { first: 1, last: 0 });
    assert_eq!(newest(&*anew).await, None, "its snapshots are gone with it");
    if P::SHARED {
        let stray = within("an answer", engine.append(batch(rng))).await;
        assert!(matches!(stray, Err(Trouble::Unknown(_))), "{stray:?}");
    }
    assert_eq!(insist(&*anew, &batch(rng)).await.0, 1, "no batch of another log got in");
    if P::SHARED {
        assert_eq!(end(&mut engine.read(0)).await, Break::Other(anew.identity()));
    }
}
