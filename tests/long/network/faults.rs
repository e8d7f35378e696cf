//! Each fault, what must be seen of it, and its figures.

use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::Value;
use tokio::time::sleep;

use crate::machines::cluster::{Cluster, Wanted};
use crate::machines::crowd::{Crowd, Names};
use crate::machines::gateway::Gateway;
use crate::machines::host::Host;
use crate::machines::{ROOM, pause, within};
use crate::observer::Observer;
use crate::scene::Scene;

/// The gateway that has the trouble.
const BAD: usize = 2;

fn wanted(number: u8, engines: u8) -> Wanted {
    Wanted { number, engines, drain: "4s", slow: None }
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// Nothing but `suspect`, for those who look.
pub async fn short_cut(members: usize) {
    let mut scene = Scene::open(wanted(1, 1), members, 2).await;
    let (first, bad) = (&scene.cluster.gateways[0], &scene.cluster.gateways[BAD]);
    let incarnation = bad.incarnation().await;
    let held = scene.crowd.held_by(&scene.cluster, &incarnation).await;
    let mut standing = Observer::standing(&scene.cluster.http, first.addr, &incarnation);
    let ready = Observer::readiness(&scene.cluster.http, bad.addr);
    standing.sees("live").await;
    bad.back.cut();
    sleep(Duration::from_secs(3)).await;
    bad.back.mend();
    let mended = Instant::now();
    within("the gateway to be live", async {
        while standing.changes().len() < 3 {
            pause().await;
        }
    })
    .await;
    println!("  the gateway is {}; for itself {}", standing.story(), ready.story());
    println!("  {} after the end of the cut it is live", seconds(mended.elapsed()));
    let caught_up = scene.marker().await;
    println!("  a sign-in at another gateway then reaches all watchers in {}", seconds(caught_up));
    assert_eq!(standing.changes().len(), 3, "live, suspect, live: {}", standing.story());
    assert_eq!(scene.suspects(), held, "who asks is told of the doubt");
    scene.judge(&Names::new(), true).await;
}

/// True `del`s at the other gateways; its own readers get the difference at once.
pub async fn long_cut(members: usize) {
    let mut scene = Scene::open(wanted(2, 1), members, 2).await;
    let (first, bad) = (&scene.cluster.gateways[0], &scene.cluster.gateways[BAD]);
    let incarnation = bad.incarnation().await;
    let held = scene.crowd.held_by(&scene.cluster, &incarnation).await;
    let mut standing = Observer::standing(&scene.cluster.http, first.addr, &incarnation);
    let mut ready = Observer::readiness(&scene.cluster.http, bad.addr);
    standing.sees("live").await;
    scene.begin();
    let bad = &scene.cluster.gateways[BAD];
    bad.back.cut();
    sleep(Duration::from_secs(12)).await;
    bad.back.mend();
    let mended = Instant::now();
    ready.sees("ready").await;
    let again = seconds(mended.elapsed());
    let caught_up = scene.marker().await;
    let name = scene.cluster.gateways[0].name.clone();
    println!("  the gateway is {}; for itself {}", standing.story(), ready.story());
    println!("  its {} members are lost after {}", held.len(), scene.seen_at(&name, "del", &held));
    println!(
        "  it is ready {again} after the end of the cut, and all watchers have a sign-in in {} more",
        seconds(caught_up)
    );
    println!("  its members are back after {}", scene.seen_at(&name, "add", &held));
    let own = scene.cluster.gateways[BAD].name.clone();
    assert_eq!(scene.seen_at(&own, "del", &held), "never", "its own readers are told how it is now");
    assert_eq!(scene.suspects(), held, "who asks is told of the doubt");
    scene.judge(&held, true).await;
}

/// The way from one gateway to the log and back takes 200 ms.
pub async fn slow(members: usize) {
    let wanted = Wanted { slow: Some(Duration::from_millis(100)), ..wanted(3, 1) };
    let mut scene = Scene::open(wanted, members, 2).await;
    let incarnation = scene.cluster.gateways[BAD].incarnation().await;
    let standing = Observer::standing(&scene.cluster.http, scene.cluster.gateways[0].addr, &incarnation);
    for place in [0, BAD] {
        let gateway = &scene.cluster.gateways[place];
        println!(
            "  a sign-in at {} takes {} in the middle of 50",
            gateway.name,
            seconds(sign_ins(&scene.cluster, gateway, 50).await)
        );
    }
    sleep(Duration::from_secs(10)).await;
    assert!(standing.changes().len() == 1, "never suspect: {}", standing.story());
    println!("  all watchers have a sign-in in {}", seconds(scene.marker().await));
    scene.judge(&Names::new(), true).await;
}

/// The median time of a sign-in.
async fn sign_ins(cluster: &Cluster, gateway: &Gateway, count: usize) -> Duration {
    let url = format!("http://{}/api/rooms/{ROOM}/users/guest-of-{}", gateway.addr, gateway.name);
    let mut times = Vec::new();
    for _ in 0..count {
        let begun = Instant::now();
        cluster.http.put(&url).send().await.expect("an answer").error_for_status().expect("a sign-in");
        times.push(begun.elapsed());
        cluster.http.delete(&url).send().await.expect("an answer").error_for_status().expect("a sign-out");
    }
    times.sort_unstable();
    times[count / 2]
}

pub fn has_nft() -> bool {
    Command::new("nft").arg("--version").output().is_ok_and(|told| told.status.success())
}

/// Drops one of a hundred packets that come from an address.
fn lose(host: &Host, from: &str) {
    host.run("nft add table ip loss");
    host.run("nft add chain ip loss in { type filter hook input priority 0 ; }");
    host.run(&format!("nft add rule ip loss in ip saddr {from} counter"));
    host.run(&format!("nft add rule ip loss in ip saddr {from} numgen random mod 100 == 0 counter drop"));
}

/// The packets that came, and those that were lost.
fn lost(host: &Host) -> (u64, u64) {
    let told = host.command("nft").args(["list", "table", "ip", "loss"]).output().expect("nft");
    let told = String::from_utf8(told.stdout).expect("UTF-8");
    let mut counts = told.split("packets ").skip(1).filter_map(|rest| rest.split(' ').next()?.parse().ok());
    (counts.next().expect("a counter"), counts.next().expect("a counter"))
}

pub async fn loss(members: usize) {
    let mut scene = Scene::open(wanted(4, 1), members, 2).await;
    let incarnation = scene.cluster.gateways[BAD].incarnation().await;
    let mut standing = Observer::standing(&scene.cluster.http, scene.cluster.gateways[0].addr, &incarnation);
    standing.sees("live").await;
    scene.begin();
    let (gateway, nats) = (&scene.cluster.gateways[BAD], &scene.cluster.nats[0]);
    lose(&gateway.host, &nats.addr.ip().to_string());
    lose(&nats.host, &scene.cluster.back.address(13).to_string());
    let mut longest = Duration::ZERO;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(30) {
        longest = longest.max(sign_ins(&scene.cluster, &scene.cluster.gateways[BAD], 10).await);
    }
    for (name, host) in [("the gateway", &scene.cluster.gateways[BAD].host), ("the log", &scene.cluster.nats[0].host)] {
        let (came, lost) = lost(host);
        assert!(came > 1_000 && lost > 0, "{name}: {lost} of {came}");
        println!("  {lost} of {came} packets to {name} were lost");
    }
    println!("  the slowest median of 10 sign-ins was {}; the gateway is {}", seconds(longest), standing.story());
    println!("  all watchers have a sign-in in {}", seconds(scene.marker().await));
    assert_eq!(standing.changes().len(), 1, "never suspect");
    assert_eq!(scene.suspects(), Names::new());
    scene.judge(&Names::new(), true).await;
}

/// The place of the server that leads the log.
async fn leader_of(cluster: &Cluster) -> usize {
    let servers: Vec<_> = cluster.nats.iter().map(|nats| format!("nats://{}", nats.addr)).collect();
    let client = async_nats::connect(servers).await.expect("a connection");
    let looking = async {
        loop {
            let asked = client.request("$JS.API.STREAM.INFO.presently-log", Bytes::new()).await;
            let told: Value =
                asked.ok().and_then(|told| serde_json::from_slice(&told.payload).ok()).unwrap_or_default();
            let leads = cluster.nats.iter().position(|nats| told["cluster"]["leader"] == nats.name.as_str());
            match leads {
                Some(place) => return place,
                None => pause().await,
            }
        }
    };
    within("a leader", looking).await
}

/// What is seen of the gateways while the log is away: none is lost, and all stay ready.
struct Away {
    standing: Observer,
    ready: Vec<Observer>,
}

impl Away {
    async fn begin(scene: &Scene) -> Self {
        let gateways = &scene.cluster.gateways;
        let http = &scene.cluster.http;
        let mut standing = Observer::standing(http, gateways[0].addr, &gateways[BAD].incarnation().await);
        let mut ready: Vec<_> = gateways.iter().map(|gateway| Observer::readiness(http, gateway.addr)).collect();
        standing.sees("live").await;
        for ready in &mut ready {
            ready.sees("ready").await;
        }
        Away { standing, ready }
    }

    fn end(&self) {
        for (number, ready) in self.ready.iter().enumerate() {
            println!("  gateway-{} calls itself {}", number + 1, ready.story());
            let words: Vec<_> = ready.changes().into_iter().map(|(what, _)| what).collect();
            // Once the log is back, it may be behind for a moment.
            assert!(words.iter().all(|word| ["ready", "stale", "503"].contains(&word.as_str())), "{words:?}");
            assert_eq!(words.get(1).map_or("stale", String::as_str), "stale", "it stays ready while the log is away");
        }
        println!("  to another one, a gateway is {}", self.standing.story());
        let words: Vec<_> = self.standing.changes().into_iter().map(|(what, _)| what).collect();
        assert!(words.iter().all(|word| word == "live" || word == "suspect"), "{words:?}");
    }
}

pub async fn leader(members: usize) {
    let mut scene = Scene::open(wanted(5, 3), members, 2).await;
    let away = Away::begin(&scene).await;
    let place = leader_of(&scene.cluster).await;
    scene.begin();
    scene.cluster.nats[place].kill().await;
    println!("  a sign-in right after the loss reaches all watchers in {}", seconds(scene.marker().await));
    scene.cluster.nats[place].restart().await;
    println!("  another one, with the server back: {}", seconds(scene.marker().await));
    away.end();
    scene.judge(&Names::new(), true).await;
}

pub async fn engine(members: usize) {
    let mut scene = Scene::open(wanted(6, 3), members, 2).await;
    let away = Away::begin(&scene).await;
    scene.begin();
    for nats in &mut scene.cluster.nats {
        nats.kill().await;
    }
    sleep(Duration::from_secs(5)).await;
    for nats in &mut scene.cluster.nats {
        nats.restart().await;
    }
    println!("  with the servers back, a sign-in reaches all watchers in {}", seconds(scene.marker().await));
    away.end();
    scene.judge(&Names::new(), true).await;
}

/// All members of a gateway come back at once.
pub async fn kill(members: usize) {
    let mut scene = Scene::open(wanted(7, 1), members, 4).await;
    let incarnation = scene.cluster.gateways[BAD].incarnation().await;
    let held = scene.crowd.held_by(&scene.cluster, &incarnation).await;
    let mut standing = Observer::standing(&scene.cluster.http, scene.cluster.gateways[0].addr, &incarnation);
    standing.sees("live").await;
    let begun = scene.begin();
    scene.cluster.gateways[BAD].kill().await;
    scene.crowd.are_back(&scene.crowd.names()).await;
    println!("  its {} members are back after {}", held.len(), seconds(begun.elapsed()));
    standing.sees("gone").await;
    println!("  the gateway is {}", standing.story());
    scene.cluster.gateways[BAD].restart().await;
    println!("  all watchers have a sign-in in {}", seconds(scene.marker().await));
    scene.judge(&Names::new(), true).await;
}

/// A machine is gone, without a word to the proxy or to the log. Those are lost whom the proxy's keep-alive or a new connection to
/// the dead machine kept from coming back in time: few.
pub async fn vanish(members: usize) {
    let mut scene = Scene::open(wanted(9, 1), members, 2).await;
    let incarnation = scene.cluster.gateways[BAD].incarnation().await;
    let held = scene.crowd.held_by(&scene.cluster, &incarnation).await;
    let mut standing = Observer::standing(&scene.cluster.http, scene.cluster.gateways[0].addr, &incarnation);
    standing.sees("live").await;
    scene.begin();
    let bad = &mut scene.cluster.gateways[BAD];
    bad.front.cut();
    bad.back.cut();
    standing.sees("gone").await;
    // The machine is off and on again.
    bad.kill().await;
    bad.front.mend();
    bad.back.mend();
    bad.restart().await;
    println!("  the gateway is {}", standing.story());
    // Those of its own watchers who come to it without the proxy notice after 25 s.
    scene.marker().await;
    scene.crowd.are_back(&scene.crowd.names()).await;
    let lost = scene.lost();
    println!("  {} of its {} members are lost", lost.len(), held.len());
    assert!(lost.len() <= held.len() / 10 && lost.is_subset(&held), "{lost:?}");
    scene.judge(&lost, true).await;
}

/// One after the other, as OPERATING says.
pub async fn update(members: usize) {
    let mut scene = Scene::open(wanted(8, 1), members, 6).await;
    println!("  the gateways hold {:?}", Crowd::spread(&scene.cluster).await.values());
    let begun = scene.begin();
    for gateway in &mut scene.cluster.gateways {
        gateway.stop().await;
        gateway.restart().await;
    }
    println!("  all gateways are new after {}", seconds(begun.elapsed()));
    scene.crowd.are_back(&scene.crowd.names()).await;
    println!("  all members are back after {}", seconds(begun.elapsed()));
    println!("  all watchers have a sign-in in {}", seconds(scene.marker().await));
    println!("  the gateways hold {:?}", Crowd::spread(&scene.cluster).await.values());
    scene.judge(&Names::new(), true).await;
}
