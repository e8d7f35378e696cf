//! Questions from node to node, whatever carries them: one test for all engines.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use futures_util::future::join_all;
use presently::engine::calls::{Calls, WAITING};
use presently::engine::reader::Entry;
use presently::engine::seam::{Engine, Trouble};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{sleep, timeout};

use super::conformance::Place;

/// Longer than any step takes, with a server that starts.
const DEADLINE: Duration = Duration::from_secs(60);

/// The time of a call that must end before it.
const LONG: Duration = Duration::from_secs(3_600);

/// The time of a call that may be lost.
const SHORT: Duration = Duration::from_secs(1);

/// A place with several clusters.
#[allow(async_fn_in_trait, reason = "the tests wait for nothing else meanwhile")]
pub trait Clusters: Place {
    /// Opens the log of another cluster at the same place.
    async fn open_other(&mut self) -> Arc<dyn Engine>;
}

/// Runs all of it, from a seed.
pub async fn answers_calls<P: Clusters>(place: &mut P, seed: u64) {
    let mut rng = Rng::with_seed(seed);
    println!("seed {seed}");
    let engine = place.open().await;
    for _ in 0..3 {
        within("an append", engine.append(Bytes::from_static(b"entry"))).await.expect("a position");
    }
    let before = entries(&*engine).await;
    answers_a_question(place, &mut rng).await;
    answers_many_at_once(place, &mut rng).await;
    says_at_once_that_nobody_serves(place, &mut rng).await;
    bounds_questions_and_answers(place, &mut rng).await;
    says_that_a_node_is_busy(place, &mut rng).await;
    parts_clusters(place, &mut rng).await;
    if P::NETWORK {
        answers_in_time_while_answers_are_lost(place, &mut rng).await;
        goes_on_after_cuts(place, &mut rng).await;
        goes_on_after_a_kill(place, &mut rng).await;
    }
    assert!(entries(&*place.open().await).await == before, "nothing of it is in the log");
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// All entries that are there.
async fn entries(engine: &dyn Engine) -> Vec<Entry> {
    let extent = within("the extent", engine.extent()).await.expect("an extent");
    let mut reader = engine.read(extent.first - 1);
    let mut entries = Vec::new();
    for _ in extent.first..=extent.last {
        entries.push(within("an entry", reader.next()).await.expect("an entry"));
    }
    entries
}

fn name(rng: &mut Rng) -> String {
    format!("{:032x}", rng.u128(..))
}

/// What an echo makes of a question.
fn echoed(label: &str, question: &[u8]) -> Bytes {
    [label.as_bytes(), question].concat().into()
}

/// A node that answers each question, until dropped.
struct Echo(AbortHandle);

impl Echo {
    fn start(engine: &dyn Engine, name: &str, label: &'static str) -> Echo {
        let mut calls = engine.serve(name);
        let task = tokio::spawn(async move {
            while let Some(call) = calls.next().await {
                let answer = echoed(label, &call.question);
                call.answer(answer);
            }
        });
        Echo(task.abort_handle())
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn call(
    engine: &dyn Engine,
    name: &str,
    question: &'static [u8],
    time: Duration,
) -> Result<Option<Bytes>, Trouble> {
    within("an answer, or none", engine.call(name, Bytes::from_static(question), time)).await
}

/// Asks until the answer is as wanted. In between, a call may have no answer, and must not have another one.
async fn until(what: &str, engine: &dyn Engine, name: &str, wanted: Option<&[u8]>) {
    let asking = async {
        loop {
            match engine.call(name, Bytes::from_static(b"?"), SHORT).await {
                Ok(answer) if answer.as_deref() == wanted => return,
                Ok(Some(answer)) => assert!(wanted.is_none(), "{what}: {answer:?}"),
                Ok(None) | Err(Trouble::Unknown(_)) => {}
                Err(error) => panic!("{what}: {error}"),
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    within(what, asking).await;
}

/// A node may ask itself, however its connections are made.
pub async fn answers(node: &dyn Engine, node_name: &str) {
    let _echo = Echo::start(node, node_name, "self ");
    until("an answer", node, node_name, Some(b"self ?")).await;
}

/// Questions from another node, and from the same one, have answers.
async fn answers_a_question<P: Clusters>(place: &mut P, rng: &mut Rng) {
    let (node, other, node_name) = (place.open().await, place.open().await, name(rng));
    let echo = Echo::start(&*node, &node_name, "one ");
    until("an answer to another node", &*other, &node_name, Some(b"one ?")).await;
    assert_eq!(call(&*other, &node_name, b"who", LONG).await, Ok(Some(echoed("one ", b"who"))));
    assert_eq!(call(&*node, &node_name, b"I", LONG).await, Ok(Some(echoed("one ", b"I"))), "a node may ask itself");
    let second = name(rng);
    let _second = Echo::start(&*node, &second, "");
    until("an answer of the second name", &*other, &second, Some(b"?")).await;
    assert_eq!(call(&*other, &second, b"", LONG).await, Ok(Some(Bytes::new())), "no bytes are an answer as well");
    assert_eq!(call(&*other, &node_name, b"and", LONG).await, Ok(Some(echoed("one ", b"and"))));
    drop(echo);
    until("the end of the name", &*other, &node_name, None).await;
    assert_eq!(
        call(&*other, &second, b"x", LONG).await,
        Ok(Some(Bytes::from_static(b"x"))),
        "the other name is served"
    );
    let _again = Echo::start(&*other, &node_name, "two ");
    until("another node of the name", &*node, &node_name, Some(b"two ?")).await;
}

/// Serves a name whose questions the test answers itself.
async fn served(node: &dyn Engine, asker: &dyn Engine, name: &str) -> Calls {
    let mut calls = node.serve(name);
    let answering = async {
        while let Some(call) = calls.next().await {
            call.answer(Bytes::from_static(b"hello"));
        }
    };
    tokio::select! {
        () = until("the first answer", asker, name, Some(b"hello")) => {}
        () = answering => panic!("no questions"),
    }
    calls
}

/// Many calls at once, answered in another order.
async fn answers_many_at_once<P: Clusters>(place: &mut P, rng: &mut Rng) {
    const MANY: u32 = 100;
    let (node, askers, node_name) = (place.open().await, [place.open().await, place.open().await], name(rng));
    let mut calls = served(&*node, &*askers[0], &node_name).await;
    let asking = join_all((0..MANY).map(|number| {
        let (question, asker) = (number.to_be_bytes().to_vec(), &askers[number as usize % 2]);
        asker.call(&node_name, question.into(), LONG)
    }));
    let answering = async {
        let mut taken = Vec::new();
        for _ in 0..MANY {
            taken.push(calls.next().await.expect("a question"));
        }
        rng.shuffle(&mut taken);
        for call in taken {
            let answer = echoed("for ", &call.question);
            call.answer(answer);
        }
    };
    let (answers, ()) = within("all answers", async { tokio::join!(asking, answering) }).await;
    for (number, answer) in (0..MANY).zip(answers) {
        assert_eq!(answer, Ok(Some(echoed("for ", &number.to_be_bytes()))), "each call has its own answer");
    }
}

/// Where nobody listens, the time of the call is not waited for.
async fn says_at_once_that_nobody_serves<P: Clusters>(place: &mut P, rng: &mut Rng) {
    let (node, other, node_name) = (place.open().await, place.open().await, name(rng));
    assert_eq!(call(&*other, &node_name, b"x", LONG).await, Ok(None));
    let echo = Echo::start(&*node, &node_name, "");
    until("an answer", &*other, &node_name, Some(b"?")).await;
    for no_name in ["", "*", ">", "a.b", &node_name.to_uppercase().replace('0', "A"), &format!("{node_name}0")] {
        assert_eq!(call(&*other, no_name, b"x", LONG).await, Ok(None), "{no_name:?} names no node");
        assert!(within("the end", node.serve(no_name).next()).await.is_none(), "{no_name:?} has no questions");
    }
    assert_eq!(call(&*other, &name(rng), b"x", LONG).await, Ok(None), "another name");
    drop(echo);
    until("the end of the name", &*other, &node_name, None).await;
    assert_eq!(call(&*other, &node_name, b"x", LONG).await, Ok(None));
}

/// The largest question and the largest answer fit. What is larger is refused, and so is what has no answer.
async fn bounds_questions_and_answers<P: Clusters>(place: &mut P, rng: &mut Rng) {
    let (node, other, node_name) = (place.open().await, place.open().await, name(rng));
    let most = other.most_bytes();
    let large = Bytes::from(vec![7; most]);
    let mut calls = served(&*node, &*other, &node_name).await;
    let asked = async {
        let first = other.call(&node_name, large.clone(), LONG).await;
        let too_large = other.call(&node_name, vec![7; most + 1].into(), LONG).await;
        (
            first,
            too_large,
            other.call(&node_name, Bytes::new(), LONG).await,
            other.call(&node_name, Bytes::new(), LONG).await,
        )
    };
    let answered = async {
        let call = calls.next().await.expect("a question");
        assert!(call.question == large, "the largest question comes whole");
        call.answer(large.clone());
        let call = calls.next().await.expect("a question");
        assert_eq!(call.question, Bytes::new(), "the one that is too large does not come");
        call.answer(vec![7; most + 1].into());
        drop(calls.next().await.expect("a question"));
    };
    let ((largest, too_large, answer, none), ()) = within("answers", async { tokio::join!(asked, answered) }).await;
    assert!(largest == Ok(Some(large)), "the largest answer comes whole");
    assert_eq!(too_large, Err(Trouble::TooLarge { bytes: most + 1, most }));
    for (answer, word) in [(answer, "too large"), (none, "no answer")] {
        assert!(matches!(&answer, Err(Trouble::Unknown(why)) if why.contains(word)), "{answer:?}");
    }
    assert!(matches!(call(&*other, &node_name, b"x", Duration::from_millis(1)).await, Err(Trouble::Unknown(_))));
    drop(calls);
}

/// More questions than a node takes are refused. Those that wait hear of the node's end.
async fn says_that_a_node_is_busy<P: Clusters>(place: &mut P, rng: &mut Rng) {
    let (node, [one, other], node_name) = (place.open().await, [place.open().await, place.open().await], name(rng));
    let calls = served(&*node, &*one, &node_name).await;
    let call_and_wait = || {
        let (one, node_name) = (one.clone(), node_name.clone());
        tokio::spawn(async move { one.call(&node_name, Bytes::from_static(b"x"), DEADLINE / 3).await })
    };
    let waiting: Vec<JoinHandle<_>> = (0..WAITING).map(|_| call_and_wait()).collect();
    let busy = async {
        // Each question that is not refused takes a place as well.
        while other.call(&node_name, Bytes::from_static(b"y"), SHORT / 5).await != Err(Trouble::Full) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    within("a refusal", busy).await;
    drop(calls);
    let mut untaken = 0;
    for waiting in waiting {
        match within("the end of the node", waiting).await.expect("no panic") {
            Ok(None) => untaken += 1,
            // One of the other asker had its place.
            Err(_) => {}
            Ok(Some(answer)) => panic!("{answer:?}"),
        }
    }
    assert!(untaken > WAITING * 9 / 10, "{untaken} heard that nobody took their questions");
    until("room for calls", &*one, &node_name, None).await;
}

/// Two clusters at one place have nodes of the same name.
async fn parts_clusters<P: Clusters>(place: &mut P, rng: &mut Rng) {
    parts(&*place.open().await, &*place.open_other().await, &name(rng)).await;
}

/// Two nodes of the same name do not hear each other's questions.
pub async fn parts(one: &dyn Engine, other: &dyn Engine, node_name: &str) {
    let first = Echo::start(one, node_name, "first ");
    until("an answer", one, node_name, Some(b"first ?")).await;
    assert_eq!(call(other, node_name, b"x", LONG).await, Ok(None), "not heard by another cluster");
    let _second = Echo::start(other, node_name, "second ");
    until("an answer of the other cluster", other, node_name, Some(b"second ?")).await;
    for _ in 0..20 {
        assert_eq!(call(one, node_name, b"x", LONG).await, Ok(Some(echoed("first ", b"x"))));
        assert_eq!(call(other, node_name, b"x", LONG).await, Ok(Some(echoed("second ", b"x"))));
    }
    drop(first);
    until("the end of one", one, node_name, None).await;
    assert_eq!(call(other, node_name, b"x", LONG).await, Ok(Some(echoed("second ", b"x"))));
}

/// A server that is heard no longer, without an end of the connections.
async fn answers_in_time_while_answers_are_lost<P: Clusters>(place: &mut P, rng: &mut Rng) {
    let (node, other, node_name) = (place.open().await, place.open().await, name(rng));
    let _echo = Echo::start(&*node, &node_name, "still ");
    until("an answer", &*other, &node_name, Some(b"still ?")).await;
    place.mute();
    let lost = call(&*other, &node_name, b"x", SHORT).await;
    assert!(matches!(lost, Err(Trouble::Unknown(_))), "{lost:?}");
    place.cut().await;
    place.mend();
    until("an answer again", &*other, &node_name, Some(b"still ?")).await;
}

/// The connections of both nodes are cut, and made anew.
async fn goes_on_after_cuts<P: Clusters>(place: &mut P, rng: &mut Rng) {
    let (node, other, names) = (place.open().await, place.open().await, [name(rng), name(rng)]);
    let first = Echo::start(&*node, &names[0], "first ");
    let _second = Echo::start(&*node, &names[1], "second ");
    until("an answer", &*other, &names[0], Some(b"first ?")).await;
    for _ in 0..3 {
        place.cut().await;
        let answer = call(&*other, &names[0], b"x", SHORT).await;
        assert!(matches!(answer, Err(Trouble::Unknown(_))), "{answer:?}");
        place.mend();
        until("an answer again", &*other, &names[0], Some(b"first ?")).await;
        until("the second name", &*other, &names[1], Some(b"second ?")).await;
    }
    place.cut().await;
    drop(first);
    let late = name(rng);
    let _late = Echo::start(&*node, &late, "late ");
    place.mend();
    until("a name that was served meanwhile", &*other, &late, Some(b"late ?")).await;
    until("the end of a name meanwhile", &*other, &names[0], None).await;
}

/// The server is killed and starts again.
async fn goes_on_after_a_kill<P: Clusters>(place: &mut P, rng: &mut Rng) {
    let (node, other, node_name) = (place.open().await, place.open().await, name(rng));
    let _echo = Echo::start(&*node, &node_name, "alive ");
    until("an answer", &*other, &node_name, Some(b"alive ?")).await;
    let mut calls = served(&*node, &*other, &name(rng)).await;
    for _ in 0..2 {
        place.kill().await;
        let answer = call(&*other, &node_name, b"x", SHORT).await;
        assert!(matches!(answer, Err(Trouble::Unknown(_))), "{answer:?}");
        place.restart().await;
        until("an answer again", &*other, &node_name, Some(b"alive ?")).await;
        until("an answer to the node itself", &*node, &node_name, Some(b"alive ?")).await;
    }
    assert!(timeout(Duration::ZERO, calls.next()).await.is_err(), "the calls go on");
}
