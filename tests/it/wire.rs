//! The golden messages in `tests/wire/`, which the tests of the browser code read, too; and the form of all JSON.

use std::sync::Arc;

use presently::model::changes::Changes;
use presently::model::cursor::Cursor;
use presently::model::event::{Change, DelReason, Event};
use presently::model::history::{Brief, Kind};
use presently::model::hold::{ConnectionHold, HoldKind, Holds, Transport};
use presently::model::id::ConnectionId;
use presently::model::info::Info;
use presently::model::meta::Meta;
use presently::model::moment::{Taken, Timestamp};
use presently::model::name::Name;
use presently::model::roster::{Member, Roster, Suspect};
use presently::model::snapshot::Snapshot;
use presently::wire::{object, part};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Dialogue, Session, Sse, Talker, TestServer, offset, within};

/// A past bug: readers that split lines as Python does got half an event.
#[tokio::test]
async fn no_name_and_no_meta_breaks_a_line() {
    const SEPARATORS: [char; 3] = ['\u{85}', '\u{2028}', '\u{2029}'];
    let server = TestServer::start().await;
    let (name, meta) = ("a\u{2028}b\u{2029}c", json!({"\u{2028}": "\u{85}\u{2029}"}));
    let mut live = ["/api/rooms/lobby/stream", "/user-stream"].map(|path| (path, None));
    for (path, stream) in &mut live {
        let mut opened = Sse::open(server.addr, path, &[]).await;
        within("retry", opened.until(|stream| stream.retry.is_some())).await;
        *stream = Some(opened);
    }
    server.sign_in_as("lobby", name, &meta).await;
    for (path, stream) in live {
        let mut stream = stream.expect("open");
        let last = loop {
            let event = within("an event", stream.next()).await.expect("the stream goes on");
            if event.data.contains("\"add\"") {
                break event;
            }
        };
        let told: Value = serde_json::from_str(&last.data).expect("a JSON text");
        assert_eq!(told["user"], name, "{path}");
        assert!(!stream.text.contains(SEPARATORS), "{path}: {:?}", stream.text);
    }
    let mut fresh = Sse::open(server.addr, "/api/rooms/lobby/stream", &[]).await;
    within("a snapshot", fresh.next()).await.expect("a snapshot");
    assert!(!fresh.text.contains(SEPARATORS));
    let page = server.get("/api/rooms/lobby/users").await.expect(200);
    assert_eq!(page.json()["users"][0]["meta"], meta);
    assert!(!page.text().contains(SEPARATORS));
}

#[derive(Deserialize)]
struct Told {
    about: String,
    frame: Box<RawValue>,
}

#[derive(Deserialize)]
struct Asked {
    about: String,
    says: Value,
    answer: Value,
}

fn story() -> Vec<Told> {
    serde_json::from_str(include_str!("../wire/story.json")).expect("a story")
}

/// The story of a reader who asks for suspects.
fn suspects() -> Vec<Told> {
    serde_json::from_str(include_str!("../wire/suspects.json")).expect("a story")
}

fn name(told: &Value, key: &str) -> Name {
    told[key].as_str().expect(key).parse().expect("a name")
}

fn member(told: &Value) -> Arc<Member> {
    let joined = if told["joined"].is_null() { Timestamp::default() } else { time(told, "joined") };
    let meta = Meta::read(&told["meta"].to_string()).expect("an object");
    let info = told.get("info").map(|info| RawValue::from_string(info.to_string()).expect("JSON"));
    let info = info.map(|info| Info::try_from(&*info).expect("an object")).unwrap_or_default();
    Arc::new(Member { user: name(told, "user"), meta, info, joined })
}

/// The members of a list; who is suspect has a hold through a silent node only.
fn roster(told: &Value) -> Roster {
    let mut roster = Roster::default();
    for user in told.as_array().expect("members") {
        let hold = ConnectionHold {
            connection: ConnectionId(Uuid::nil()),
            client: None,
            transport: Transport::WebSocket,
            deadline: None,
            unclaimed: false,
            silent: true,
        };
        let holds = match user["suspect"] == true {
            true => Holds::of(HoldKind::Connection(hold), None),
            false => Holds::plain(&Meta::default()),
        };
        roster.put(member(user), holds);
    }
    roster
}

fn time(told: &Value, key: &str) -> Timestamp {
    let time = humantime::parse_rfc3339(told[key].as_str().expect(key)).expect("a time");
    Timestamp(0) + time.duration_since(std::time::UNIX_EPOCH).expect("after 1970")
}

fn reason(told: &Value) -> DelReason {
    match told["reason"].as_str().expect("a reason") {
        "signed_out" => DelReason::SignedOut,
        "closed" => DelReason::Closed,
        "timeout" => DelReason::Timeout,
        "expired" => DelReason::Expired,
        "kicked" => DelReason::Kicked,
        "node_lost" => DelReason::NodeLost,
        other => panic!("no reason: {other}"),
    }
}

/// The frame as encoded by the gateway; `None` for frames of the story that this test cannot encode.
fn encoded(told: &Value) -> Option<String> {
    let cursor: Cursor = told["cursor"].as_str()?.parse().expect("a cursor");
    let change = match told["action"].as_str().expect("an action") {
        "add" => Change::Add(member(told)),
        "update" => Change::Update(member(told)),
        "del" => Change::Del(name(told, "user"), reason(told)),
        "snapshot" if told["part"] == 0 && told["last"] == true => {
            let taken = Taken { at: time(told, "at"), fresh_for: told["fresh_for"].as_u64() };
            let snapshot = Snapshot { room: name(told, "room"), cursor, taken, roster: roster(&told["users"]) };
            return Some(part::snapshot(&snapshot, part::SnapshotMark::default(), false).json);
        }
        _ => return None,
    };
    Some(object::event(&Event::new(name(told, "room"), cursor, time(told, "at"), change)).to_owned())
}

/// The frame as encoded for a reader who asks for suspects.
fn encoded_for_asker(told: &Value) -> String {
    let (room, at) = (name(told, "room"), time(told, "at"));
    let cursor: Cursor = told["cursor"].as_str().expect("a cursor").parse().expect("a cursor");
    let taken = Taken { at, fresh_for: None };
    match told["action"].as_str().expect("an action") {
        "snapshot" => {
            let snapshot = Snapshot { room, cursor, taken, roster: roster(&told["users"]) };
            part::snapshot(&snapshot, part::SnapshotMark::default(), true).json
        }
        "update" => {
            let is = told["suspect"] == true;
            let change = Change::Suspect(Suspect { member: member(told), is, changed: false });
            object::suspect(&Event::new(room, cursor, at, change), is)
        }
        "changes" => {
            let brief = |set: &Value| Brief { user: name(set, "user"), kind: Kind::Suspect, at: time(set, "at") };
            let briefs: Vec<_> = told["set"].as_array().expect("set").iter().map(brief).collect();
            let changes = Changes::net(room, cursor, taken, briefs.into_iter(), &roster(&told["set"]));
            part::changes(&changes, part::ChangesMark::default(), true).json
        }
        other => panic!("no frame of the story: {other}"),
    }
}

/// Whether the frame has fields that the gateway does not send: the story uses such fields to test that readers ignore
/// unknown fields.
fn is_of_the_future(told: &Value) -> bool {
    told.get("mood").is_some()
}

#[test]
fn the_frames_of_the_story_are_encoded_as_written() {
    let mut checked = 0;
    for Told { about, frame } in story() {
        let told: Value = serde_json::from_str(frame.get()).expect("an object");
        if let Some(encoded) = encoded(&told).filter(|_| !is_of_the_future(&told)) {
            assert_eq!(frame.get(), encoded, "{about}");
            checked += 1;
        }
    }
    assert!(checked > 10, "{checked} frames are few");
}

#[test]
fn the_frames_for_a_reader_who_asks_for_suspects_are_encoded_as_written() {
    for Told { about, frame } in suspects() {
        let told: Value = serde_json::from_str(frame.get()).expect("an object");
        assert_eq!(frame.get(), encoded_for_asker(&told), "{about}");
    }
}

#[tokio::test]
async fn every_message_is_answered_as_written() {
    let server = TestServer::start().await;
    let mut talker = Talker::open(server.addr, "").await;
    // The same over a session, whose rooms are at the same places.
    let other = TestServer::start().await;
    let mut session = Session::open(other.addr).await;
    let asked: Vec<Asked> = serde_json::from_str(include_str!("../wire/messages.json")).expect("messages");
    assert!(asked.len() > 10);
    for Asked { about, says, answer: expected } in asked {
        for mut answer in [talker.ask_as_is(&says).await, session.ask_as_is(&says).await] {
            let text = answer.as_object_mut().expect("an object");
            text.remove("message");
            text.remove("field");
            if let Some(cursor) = text.get_mut("cursor") {
                *cursor = format!("k3f.{}", offset(cursor.as_str().expect("a cursor"))).into();
            }
            assert_eq!(answer, expected, "{about}: {says}");
        }
    }
}
