//! Readers who ask are told who is held through a silent node only. Nobody else notices.

use crate::cluster::{CLIENT, Cluster, joined};
use crate::engines::servers::Program;
use crate::harness::{Binary, Conn, Mirror, Parting, Reader, TestServer, Transport, within};

const OTHER: &str = "0b0e3b0e-5f0a-4f7e-9a70-0123456789ac";

async fn asking(node: &Binary, transport: Transport, mirror: Mirror) -> Reader {
    Reader::with(Conn::open(node.addr).await, transport, mirror, "suspect=1").await.begun().await
}

async fn until(readers: &mut [Reader], suspects: &[&str]) {
    for reader in readers {
        reader.until("suspects", |mirror| mirror.suspects() == suspects).await;
    }
}

/// A cluster of two, in which the second node holds ann alone, and bob as the first does.
async fn two(more: &[&str]) -> (Cluster, impl Sized) {
    // A slow machine must not take the silent node for lost before the test is done.
    let cluster = Cluster::start(Program::NewNats, 2, &[&["--grace", "60s"], more].concat()).await;
    let ann = joined(cluster.addr(1), "lobby", "ann", CLIENT).await;
    let bob =
        [joined(cluster.addr(0), "lobby", "bob", CLIENT).await, joined(cluster.addr(1), "lobby", "bob", OTHER).await];
    (cluster, (ann, bob))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_who_ask_are_told_of_suspects_and_others_see_nothing() {
    let (cluster, _clients) = two(&[]).await;
    let mut readers = Vec::new();
    for transport in Transport::ALL {
        readers.push(asking(&cluster.nodes[0], transport, Mirror::of("lobby")).await);
    }
    readers.push(asking(&cluster.nodes[1], Transport::Ws, Mirror::of("lobby")).await);
    let mut others = Vec::new();
    for transport in Transport::ALL {
        others.push(Reader::open(cluster.addr(0), transport, "lobby").await.begun().await);
    }
    let before = readers[0].mirror.clone();
    assert_eq!((before.names(), before.suspects().len()), (vec!["ann", "bob"], 0));

    cluster.nodes[1].signal("STOP").await;
    until(&mut readers[..3], &["ann"]).await;
    let told = |reader: &Reader| reader.last.clone();
    let update = told(&readers[0]);
    assert_eq!(
        (&update["action"], &update["user"], &update["suspect"]),
        (&"update".into(), &"ann".into(), &true.into())
    );
    assert!(readers[..3].iter().all(|reader| told(reader) == update), "one event with one cursor");
    let late = asking(&cluster.nodes[0], Transport::Sse, Mirror::of("lobby")).await;
    assert_eq!((late.mirror.suspects(), late.mirror.cursor.clone()), (vec!["ann"], readers[0].mirror.cursor.clone()));
    let mut returned = asking(&cluster.nodes[0], Transport::Session, before.clone()).await;
    returned.until("the event itself", |mirror| mirror.suspects() == ["ann"]).await;
    assert_eq!(returned.mirror.seen("resumed"), 1);
    let plain = Reader::open(cluster.addr(0), Transport::Sse, "lobby").await.begun().await;
    assert_eq!(plain.mirror.suspects().len(), 0);

    // Someone who is held through another node again is suspect no longer.
    let back = joined(cluster.addr(0), "lobby", "ann", OTHER).await;
    until(&mut readers[..3], &[]).await;
    assert_eq!(told(&readers[0]).get("suspect"), None);
    back.part(Parting::Close(Some(1000))).await;
    until(&mut readers[..3], &["ann"]).await;
    cluster.nodes[1].signal("CONT").await;
    until(&mut readers, &[]).await;

    // Whoever did not ask goes on behind all of it, from a place of before as well.
    cluster.nodes[0].sign_in("lobby", "zoe").await;
    let head = readers[0].mirror.cursor.clone().expect("a cursor");
    others.push(Reader::resume(cluster.addr(0), Transport::Ws, before).await);
    for reader in &mut others {
        reader.until("zoe", |mirror| mirror.names() == ["ann", "bob", "zoe"]).await;
        assert_eq!((reader.mirror.seen("update"), reader.mirror.suspects().len()), (0, 0));
        assert!(reader.mirror.reached(&head));
    }
    let past = cluster.nodes[0].get("/api/rooms/lobby/events").await.expect(200).json();
    let past = past["events"].as_array().expect("events").iter().filter(|event| event["action"] == "update").count();
    assert_eq!(past, 0, "the room's events are those that all readers see");
}

/// With a history of one event, readers get the way netted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn netted_changes_tell_of_suspects_to_readers_who_ask() {
    let (cluster, _clients) = two(&["--history", "1"]).await;
    let mut reader = asking(&cluster.nodes[0], Transport::Sse, Mirror::of("lobby")).await;
    let before = reader.mirror.clone();
    cluster.nodes[1].signal("STOP").await;
    reader.until("ann is suspect", |mirror| mirror.suspects() == ["ann"]).await;
    for user in ["cyd", "dan"] {
        cluster.nodes[0].sign_in("lobby", user).await;
    }
    let names = ["ann", "bob", "cyd", "dan"];
    let mut asks = asking(&cluster.nodes[0], Transport::Ws, before.clone()).await;
    asks.until("all", |mirror| mirror.names() == names && mirror.suspects() == ["ann"]).await;
    let mut other = Reader::resume(cluster.addr(0), Transport::Ws, before).await.begun().await;
    other.until("all", |mirror| mirror.names() == names).await;
    assert_eq!([&asks, &other].map(|reader| reader.mirror.seen("changes")), [1, 1]);
    let set = |reader: &Reader| -> Vec<String> {
        let set = reader.last["set"].as_array().expect("a set").iter();
        set.map(|put| put["user"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(
        (set(&asks), set(&other)),
        (vec!["ann".into(), "cyd".into(), "dan".into()], vec!["cyd".into(), "dan".into()])
    );
    cluster.nodes[1].signal("CONT").await;
}

/// Nothing is kept account of that nobody reads: without readers who ask, the silence of a node moves no cursor.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_where_nobody_asks_has_no_events_of_silence() {
    let (cluster, _clients) = two(&[]).await;
    let users = async |node: &Binary| node.get("/api/rooms/lobby/users").await.expect(200).json()["cursor"].clone();
    drop(asking(&cluster.nodes[0], Transport::Sse, Mirror::of("lobby")).await);
    let streams = async || cluster.nodes[0].get("/api/gateway").await.expect(200).json()["connections"]["sse"].clone();
    within("the reader is gone", async { while streams().await != 0 {} }).await;
    let mut watched = asking(&cluster.nodes[0], Transport::Ws, Mirror::of("den")).await;
    let zoe = joined(cluster.addr(1), "den", "zoe", OTHER).await;
    watched.until("zoe", |mirror| mirror.names() == ["zoe"]).await;
    let before = users(&cluster.nodes[0]).await;
    cluster.nodes[1].signal("STOP").await;
    watched.until("zoe is suspect", |mirror| mirror.suspects() == ["zoe"]).await;
    assert_eq!(users(&cluster.nodes[0]).await, before);
    cluster.nodes[1].signal("CONT").await;
    watched.until("zoe is heard", |mirror| mirror.suspects().is_empty()).await;
    assert_eq!(users(&cluster.nodes[0]).await, before);
    drop(zoe);
}

#[tokio::test]
async fn a_gateway_alone_takes_the_question_and_has_no_suspects() {
    let server = TestServer::start().await;
    server.sign_in("lobby", "ann").await;
    for transport in Transport::ALL {
        let reader = Reader::with(Conn::open(server.addr).await, transport, Mirror::of("lobby"), "suspect=1");
        let reader = reader.await.begun().await;
        assert_eq!((reader.mirror.names(), reader.mirror.suspects().len()), (vec!["ann"], 0));
    }
    for path in ["/api/rooms/lobby/stream?suspect=yes", "/api/stream?suspect=0"] {
        let method = if path.starts_with("/api/stream") { "POST" } else { "GET" };
        let refused = server.send(method, path, &[], "").await.expect(400).json();
        assert_eq!((&refused["code"], &refused["field"]), (&"bad_parameter".into(), &"suspect".into()), "{refused}");
    }
}
