//! Who may do what: PROTOCOL's table of verbs, tried at every door, for every kind of caller, and in rooms that the caller
//! may enter and in others, whether they exist or not. The table itself makes the requests, so a statement and the gateway
//! cannot differ; and a new route, method or message without a place in the table fails.

mod asking;
mod callers;
mod table;

use std::fs;

use serde_json::{Value, json};

use crate::harness::{API_KEY, Answer, Client, Conn, Dialogue, Keyed, Session, Talker, TestServer, grant, raw};
use asking::{Outcome, ask, open_websocket, say};
use callers::{Caller, Way};
pub use table::actions;
use table::{Door, Kind, Needs, Table};

/// A room that the table is tried in.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    /// Exists, and the caller's grant names it.
    Granted,
    /// Does not exist, and the caller's grant names it.
    GrantedAbsent,
    /// Exists, and no grant of the caller names it.
    Other,
    OtherAbsent,
}

const PLACES: [Place; 4] = [Place::Granted, Place::GrantedAbsent, Place::Other, Place::OtherAbsent];

impl Place {
    fn is_granted(self) -> bool {
        matches!(self, Place::Granted | Place::GrantedAbsent)
    }

    fn exists(self) -> bool {
        matches!(self, Place::Granted | Place::Other)
    }
}

/// Two gateways with the same keys: one with rooms, and one where no room exists at first.
struct World {
    full: Keyed,
    bare: Keyed,
    tried: usize,
}

impl World {
    async fn new(anyone: &[&str]) -> Self {
        let start = || {
            Keyed::with(|config| {
                config.anyone = anyone.iter().map(|text| grant(text)).collect();
            })
        };
        let world = Self { full: start().await, bare: start().await, tried: 0 };
        let backend = world.full.backend();
        for room in ["team-a", "other", "lobby"] {
            backend.batch(room, &json!({"add": [{"user": "ann"}, {"user": "bob"}]})).await;
        }
        world
    }

    fn gateway(&self, place: Place) -> &Keyed {
        if place.exists() { &self.full } else { &self.bare }
    }

    /// The name of the room at a place. An absent room is entered by nobody before.
    fn room(&mut self, place: Place) -> String {
        self.tried += 1;
        match place {
            Place::Granted => "team-a".to_owned(),
            Place::GrantedAbsent => format!("team-{}", self.tried),
            Place::Other | Place::OtherAbsent => "other".to_owned(),
        }
    }
}

/// Checks the outcome at one door against the table.
fn check(expected: Result<(), &str>, outcome: &Outcome, door: &Door, what: &str) {
    match (expected, outcome) {
        (Ok(()), Outcome::Open) => {}
        (Err(code), Outcome::Refused { code: refused, said }) => {
            assert_eq!(refused, code, "{what}");
            if let (Needs::Verbs { verbs, .. }, "not_allowed") = (&door.needs, code) {
                // What a body asks for is judged after it is read, and by then less is needed to be refused.
                let needs = |verb: &String| said.contains(&format!("this needs {verb}"));
                let names_one = verbs.iter().any(needs) || door.has(" info") || said.contains("this key only reads");
                assert!(names_one || said.is_empty(), "{what} needs one of {verbs:?}, and the gateway says {said:?}");
            }
        }
        (Err("token_missing"), Outcome::Waits) => {}
        _ => panic!("{what}: the table says {expected:?}, and the gateway {outcome:?}"),
    }
}

/// Tries all requests for a caller, in all places.
async fn try_requests(world: &mut World, table: &Table, caller: &Caller, way: Way) {
    for door in table.doors.iter().filter(|door| door.kind == Kind::Request) {
        for place in PLACES.into_iter().filter(|place| door.has_place(*place)) {
            if door.is_of_lobby() && caller.is_stranger() && !place.is_granted() {
                continue;
            }
            let room = world.room(place);
            let gateway = world.gateway(place);
            let what = format!("{} by {} ({way:?}) in {room:?} ({place:?})", door.text, caller.name);
            let credential = caller.headers(gateway, way, door.is_of_lobby() && !place.is_granted()).await;
            let expected = caller.may(table, door, place.is_granted());
            let (outcome, answer) = ask(gateway.addr, door, &room, caller, &credential).await;
            check(expected, &outcome, door, &what);
            if door.text.starts_with("GET ") {
                let credential = caller.headers(gateway, way, door.is_of_lobby() && !place.is_granted()).await;
                let (_, head) = ask(gateway.addr, &door.head(), &room, caller, &credential).await;
                assert_eq!(head.status, answer.status, "HEAD {what}");
            }
            if expected.is_err() && place == Place::Other && door.has_place(Place::OtherAbsent) {
                let absent = caller.headers(&world.bare, way, door.is_of_lobby()).await;
                let (_, other) = ask(world.bare.addr, door, &room, caller, &absent).await;
                assert_eq!(told(&answer), told(&other), "{what}: a refusal tells whether the room exists");
            }
        }
    }
}

/// All of an answer but for its time.
fn told(answer: &Answer) -> (u16, Vec<(String, String)>, String) {
    let differs = |name: &str| ["date", "x-request-id"].contains(&name);
    let headers = answer.headers.iter().filter(|(name, _)| !differs(name)).cloned().collect();
    (answer.status, headers, answer.text().to_owned())
}

/// Tries the URLs of WebSockets.
async fn try_websockets(world: &mut World, table: &Table, caller: &Caller, way: Way) {
    for door in table.doors.iter().filter(|door| door.kind == Kind::WebSocket) {
        for place in PLACES.into_iter().filter(|place| door.has_place(*place)) {
            let room = world.room(place);
            let what = format!("{} by {} ({way:?}) in {room:?} ({place:?})", door.text, caller.name);
            let gateway = world.gateway(place);
            let outcome = open_websocket(gateway, door, &room, caller, way).await;
            check(caller.may(table, door, place.is_granted()), &outcome, door, &what);
        }
    }
}

/// Tries all messages over a WebSocket and a session.
async fn try_messages(world: &mut World, table: &Table, caller: &Caller, way: Way) {
    for door in table.doors.iter().filter(|door| door.kind == Kind::Message) {
        for place in PLACES.into_iter().filter(|place| door.has_place(*place)) {
            let room = world.room(place);
            let gateway = world.gateway(place);
            let expected = caller.may(table, door, place.is_granted());
            for over in ["WebSocket", "session"] {
                let what = format!("{} by {} ({way:?}, {over}) in {room:?}", door.text, caller.name);
                let headers = caller.connection_headers(gateway, way).await;
                let outcome = if over == "session" {
                    let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
                    let mut session = Session::with(Conn::open(gateway.addr).await, &json!([]), &lines).await;
                    authenticate(&mut session, caller, way).await;
                    say(&mut session, door, &room, caller).await
                } else {
                    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
                    let mut talker = Talker::with(gateway.addr, "", &headers).await;
                    authenticate(&mut talker, caller, way).await;
                    say(&mut talker, door, &room, caller).await
                };
                check(expected, &outcome, door, &what);
            }
        }
    }
}

/// Brings the caller's credential by a message, if that is the way.
async fn authenticate(dialogue: &mut impl Dialogue, caller: &Caller, way: Way) {
    if way == Way::Message {
        let answer = dialogue.ask(json!({"action": "auth", "token": caller.credential()})).await;
        assert_eq!(answer["action"], "ok", "{answer}");
        assert_eq!(answer["sub"].as_str(), caller.sub(), "{answer}");
        assert_eq!(answer.get("expires_in").is_some(), caller.sub().is_some(), "{answer}");
    }
}

#[tokio::test]
async fn every_request_is_open_to_the_verbs_of_the_table_only() {
    let table = Table::read();
    let mut world = World::new(&[]).await;
    let before = world.full.backend().held("other").await;
    // Those who may change everything come last.
    let (all, some): (Vec<_>, Vec<_>) = Caller::all().into_iter().partition(Caller::may_change_other);
    for caller in &some {
        for way in caller.ways(&[Way::Header, Way::Cookie]) {
            try_requests(&mut world, &table, caller, way).await;
        }
    }
    assert_eq!(world.full.backend().held("other").await, before, "a refused request has changed a room");
    assert!(
        !world.bare.backend().get("/api/rooms").await.text().contains("other"),
        "a refused request has made a room"
    );
    for caller in &all {
        for way in caller.ways(&[Way::Header, Way::Cookie]) {
            try_requests(&mut world, &table, caller, way).await;
        }
    }
}

#[tokio::test]
async fn every_websocket_and_message_is_open_to_the_verbs_of_the_table_only() {
    let table = Table::read();
    let mut world = World::new(&[]).await;
    for caller in Caller::all() {
        for way in caller.ways(&[Way::Header, Way::Cookie, Way::Message]) {
            try_websockets(&mut world, &table, &caller, way).await;
            try_messages(&mut world, &table, &caller, way).await;
        }
    }
}

#[tokio::test]
async fn strangers_have_the_verbs_of_anyone_and_no_others() {
    let table = Table::read();
    for verb in ["count", "watch"] {
        let mut world = World::new(&[&format!("team-*:{verb}"), &format!("lobby:{verb}")]).await;
        let stranger = Caller::stranger_with(verb);
        try_requests(&mut world, &table, &stranger, Way::None).await;
        try_websockets(&mut world, &table, &stranger, Way::None).await;
        try_messages(&mut world, &table, &stranger, Way::None).await;
    }
}

#[tokio::test]
async fn without_keys_every_door_is_open_to_everybody() {
    let table = Table::read();
    let open = TestServer::start().await;
    for door in table.doors.iter().filter(|door| door.kind == Kind::Request) {
        let (outcome, _) = ask(open.addr, door, "team-a", &Caller::anybody(), "").await;
        check(Ok(()), &outcome, door, &door.text);
    }
    for door in table.doors.iter().filter(|door| door.kind == Kind::Message) {
        let mut talker = Talker::open(open.addr, "").await;
        check(Ok(()), &say(&mut talker, door, "team-a", &Caller::anybody()).await, door, &door.text);
    }
    for (method, path) in [("GET", "/api/login/ann"), ("GET", "/api/logout/ann")] {
        open.send(method, path, &[], "").await.expect(302);
        let keyed = Keyed::start().await;
        keyed.backend().send(method, path, &[], "").await.expect(405);
    }
}

/// A ticket opens of its maker's doors those of its verbs, in its room, once.
#[tokio::test]
async fn a_ticket_opens_what_the_table_says_of_its_verbs() {
    let table = Table::read();
    let world = World::new(&[]).await;
    world.full.backend().batch("team-b", &json!({"add": [{"user": "ann"}]})).await;
    let takes_tickets = |door: &&Door| door.has("GET /api/rooms/{room}/stream") || door.has("GET /ws?");
    let callers = Caller::all().into_iter().filter(|caller| caller.has_credential());
    for caller in callers {
        for can in [&["count"][..], &["watch"], &["join"], &["watch", "join"], &["count", "join"]] {
            for door in table.doors.iter().filter(takes_tickets) {
                let Some(ticket) = ticket(&world.full, &caller, can).await else {
                    let missing = can.iter().find(|verb| !caller.verbs(&table, true).contains(**verb));
                    assert!(missing.is_some(), "{} gets no ticket for {can:?}", caller.name);
                    continue;
                };
                let bearer = caller.with_ticket(can);
                for (room, is_granted) in [("team-a", true), ("team-b", false)] {
                    let what = format!("{} with a ticket of {} for {can:?} in {room}", door.text, caller.name);
                    let ticketed = door.with_ticket(&ticket);
                    let outcome = match door.kind {
                        Kind::WebSocket => open_websocket(&world.full, &ticketed, room, &bearer, Way::None).await,
                        Kind::Request | Kind::Message => ask(world.full.addr, &ticketed, room, &bearer, "").await.0,
                    };
                    // The first room uses the ticket up.
                    let expected = if is_granted { bearer.may(&table, door, true) } else { Err("token_invalid") };
                    check(expected, &outcome, door, &what);
                }
            }
        }
        if let Some(ticket) = ticket(&world.full, &caller, &["watch"]).await {
            let answer = world.full.get(&format!("/api/rooms/team-b/stream?ticket={ticket}")).await.expect(403);
            assert_eq!(answer.json()["code"], "not_allowed", "a ticket is for one room");
        }
    }
}

/// Makes a ticket for the room team-a.
async fn ticket(gateway: &Keyed, caller: &Caller, can: &[&str]) -> Option<String> {
    let mut asked = json!({"room": "team-a", "can": can});
    if caller.sub().is_none() {
        asked["sub"] = "ann".into();
    }
    let answer = gateway.bearing(&caller.credential()).send_json("POST", "/api/tickets", &asked).await;
    if answer.status != 201 {
        assert_eq!(answer.json()["code"], "not_allowed", "{answer:?}");
        return None;
    }
    answer.json()["ticket"].as_str().map(str::to_owned)
}

/// What a handler or a message is called by, in the sources.
#[tokio::test]
async fn no_route_method_or_message_is_missing_in_the_table() {
    let table = Table::read();
    let source = |path: &str| fs::read_to_string(format!("{}/src/{path}", env!("CARGO_MANIFEST_DIR"))).expect(path);
    let routes: Vec<_> = source("http.rs").lines().filter_map(table::route).collect();
    assert!(routes.len() > 25, "{routes:?}");
    for route in &routes {
        assert!(table.doors.iter().any(|door| door.is_at(route)), "PROTOCOL's table of verbs has no {route:?}");
    }
    let keyed = Keyed::start().await;
    for door in table.doors.iter().filter(|door| door.kind != Kind::Message) {
        let path = door.path("team-a", "ann");
        let answer = raw(keyed.addr, format!("BREW {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await.expect(405);
        let allowed = answer.header("allow").expect("the allowed methods").to_owned();
        for method in allowed.split(", ").filter(|method| !["HEAD", "OPTIONS"].contains(method)) {
            let is_there = table.doors.iter().any(|other| other.method() == method && other.shares_path(door));
            assert!(is_there, "PROTOCOL's table of verbs has no {method} {path}");
        }
    }
    let actions = actions(&source("http/stream/message.rs"));
    assert!(actions.len() >= 8, "{actions:?}");
    for action in actions {
        let is_there = table.doors.iter().any(|door| door.kind == Kind::Message && door.method() == action);
        assert!(is_there, "PROTOCOL's table of verbs has no message {action}");
    }
}

/// What `GET /api/access` tells is what the table opens.
#[tokio::test]
async fn callers_are_told_what_they_may() {
    let table = Table::read();
    let keyed = Keyed::start().await;
    for caller in Caller::all() {
        let client = match caller.has_credential() {
            true => keyed.bearing(&caller.credential()),
            false => Client::of(keyed.addr),
        };
        let access = client.get("/api/access").await.expect(200).json();
        let granted = access["rooms"].as_array().expect("grants").iter().find(|grant| {
            let pattern = grant["match"].as_str().expect("a pattern");
            pattern == "*" || pattern == "team-*"
        });
        let can: Vec<_> = granted.map_or(vec![], |grant| texts(&grant["can"]));
        assert_eq!(can, table.in_order(&caller.verbs(&table, true)), "{}: {access}", caller.name);
        assert_eq!(access["admin"], caller.admin(), "{}: {access}", caller.name);
        assert_eq!(access["sub"].as_str(), caller.sub(), "{}: {access}", caller.name);
        assert_eq!(access["api_key"], caller.is_api_key(), "{}: {access}", caller.name);
        assert_eq!(access["keys"], true, "{access}");
        assert_eq!(access["expires_in"].is_u64(), caller.sub().is_some(), "{access}");
    }
    let open = TestServer::start().await.get("/api/access").await.expect(200).json();
    let all = json!([{"match": "*", "can": table.in_order(&Caller::anybody().verbs(&table, true))}]);
    assert_eq!((&open["keys"], &open["rooms"], &open["admin"]), (&json!(false), &all, &json!(true)));
    keyed.bearing("no key").get("/api/access").await.expect(401);
    assert_eq!(keyed.bearing(API_KEY).get("/api/access").await.expect(200).header("cache-control"), Some("no-store"));
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().expect("a list").iter().map(|text| text.as_str().expect("a text").to_owned()).collect()
}
