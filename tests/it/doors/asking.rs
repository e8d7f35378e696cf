//! The requests and messages of the table, and what comes of them.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::callers::{Caller, Way};
use super::table::{Door, Kind};
use crate::harness::{Answer, Body, Conn, Dialogue, Keyed, Talker, within};

/// What came of a request or message.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Open,
    Refused {
        code: String,
        /// What the refusal says; empty in a close frame.
        said: String,
    },
    /// Nothing comes before `auth`.
    Waits,
}

/// Body and content type of a request.
fn body(door: &Door, room: &str, caller: &Caller) -> Option<(&'static str, String)> {
    let json = |value: Value| Some(("application/json", value.to_string()));
    let user = if door.has("{sub}") { "ann" } else { "bob" };
    match (door.method(), door.rest()) {
        (_, "user={sub}" | "user={user}") => Some(("application/x-www-form-urlencoded", format!("user={user}"))),
        (_, can) if can.starts_with("can=") => {
            let mut asked = json!({"room": room, "can": [can.trim_start_matches("can=")]});
            if caller.is_api_key() {
                asked["sub"] = "ann".into();
            }
            json(asked)
        }
        ("PUT" | "PATCH", "info") => json(json!({"info": {"role": "host"}})),
        ("PATCH", _) => json(json!({"meta": {"status": "here"}})),
        ("POST", _) if door.has("/api/counts") => json(json!({"rooms": [room]})),
        ("POST", _) if door.has("/api/revocations") => json(json!({"jti": "nobody's"})),
        ("POST", _) if door.has("/stream/messages") => json(json!([])),
        ("POST", _) if door.text.ends_with("/users") => json(json!({"add": [{"user": "ann"}], "del": ["cyd"]})),
        _ => None,
    }
}

/// Sends the request of a door, with header lines that bring a credential.
pub async fn ask(addr: SocketAddr, door: &Door, room: &str, caller: &Caller, credential: &str) -> (Outcome, Answer) {
    let accept = match door.rest() {
        "as HTML" => "Accept: text/html\r\n",
        "as JSON" => "Accept: application/json\r\n",
        _ => "",
    };
    let content = body(door, room, caller).map_or(String::from("\r\n"), |(ty, body)| {
        format!("Content-Type: {ty}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    });
    let session = if door.has("/stream/messages") { "Presently-Session: none\r\nPresently-Seq: 1\r\n" } else { "" };
    let target = format!("{} {}", door.method(), door.path(room, "ann"));
    let head = format!("{target} HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n");
    let mut conn = Conn::open(addr).await;
    conn.send(format!("{head}{accept}{session}{credential}{content}")).await;
    let mut answer = conn.head().await;
    if door.method() == "HEAD" {
        // Without a body there is only the status.
        return (Outcome::Open, answer);
    }
    let is_stream = answer.header("content-type") == Some("text/event-stream");
    if !is_stream && answer.status != 204 {
        let (mut body, mut bytes) = (Body::of(&answer), Vec::new());
        while within("the body of an answer", body.read(&mut conn, &mut bytes)).await {}
        answer.body = bytes;
    }
    (outcome(&answer), answer)
}

/// What an answer says. What a room or session has not is another matter than what is allowed.
fn outcome(answer: &Answer) -> Outcome {
    if answer.status < 400 {
        return Outcome::Open;
    }
    let problem = answer.json();
    let text = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
    let (code, said) = (text("code"), text("detail"));
    let challenge = answer.header("www-authenticate").unwrap_or_default();
    let error = match code.as_str() {
        "token_missing" => r#"Bearer realm="presently""#,
        "token_invalid" | "token_expired" => r#"error="invalid_token""#,
        "not_allowed" => r#"error="insufficient_scope""#,
        _ => "",
    };
    assert!(challenge.contains(error) && challenge.is_empty() == error.is_empty(), "{answer:?}");
    match code.as_str() {
        "not_present" | "no_session" => Outcome::Open,
        _ => Outcome::Refused { code, said },
    }
}

/// Opens the WebSocket of a door, and does what its URL asks for.
pub async fn open_websocket(gateway: &Keyed, door: &Door, room: &str, caller: &Caller, way: Way) -> Outcome {
    let headers = caller.connection_headers(gateway, way).await;
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let path = door.path(room, "ann");
    let query = path.split_once('?').map(|(_, query)| query).unwrap_or_default();
    let mut talker = Talker::with(gateway.addr, &format!("{query}&alive=1"), &headers).await;
    let hello = match first(&mut talker).await {
        Ok(hello) => hello,
        Err(refused) => return refused,
    };
    // A refused URL is told before anything else.
    assert_eq!(hello["action"], "hello", "{hello}");
    if way == Way::Message {
        talker.send(&json!({"action": "auth", "token": caller.credential(), "ref": 0})).await;
        match first(&mut talker).await {
            Ok(answer) => assert_eq!((&answer["action"], &answer["ref"]), (&json!("ok"), &json!(0)), "{answer}"),
            Err(refused) => return refused,
        }
    }
    if !door.has("{room}") {
        return Outcome::Open;
    }
    if caller.is_stranger() {
        // Whatever comes before the answer is what the URL asked for.
        let answer = talker.ask(json!({"action": "alive"})).await;
        assert!(answer["action"] == "ok" || answer["code"] == "token_missing", "{answer}");
        let frames = talker.heard();
        return if frames.iter().any(|frame| frame["action"] == "snapshot") { Outcome::Open } else { Outcome::Waits };
    }
    match first(&mut talker).await {
        Ok(frame) => {
            assert_eq!((&frame["action"], &frame["room"]), (&json!("snapshot"), &json!(room)), "{frame}");
            Outcome::Open
        }
        Err(refused) => refused,
    }
}

/// The next frame, or the code with which the gateway closes.
async fn first(talker: &mut Talker) -> Result<Value, Outcome> {
    let heard = async {
        loop {
            let heard = talker.next_or_close().await;
            if heard.as_ref().is_err() || heard.as_ref().is_ok_and(|frame| frame["action"] != "alive") {
                return heard;
            }
        }
    };
    within("a frame or a close", heard).await.map_err(|(status, code)| {
        assert_eq!(status, if code.starts_with("token_") { 4401 } else { 4403 }, "{code}");
        Outcome::Refused { code, said: String::new() }
    })
}

/// Says the message of a door.
pub async fn say(dialogue: &mut impl Dialogue, door: &Door, room: &str, caller: &Caller) -> Outcome {
    assert_eq!(door.kind, Kind::Message);
    let mut message = json!({"action": door.method()});
    if door.has("counts") {
        message["counts"] = room.into();
    } else if door.has("{room}") || door.has("{sub}") || door.has("{user}") {
        message["room"] = room.into();
    }
    match door.method() {
        "join" | "update" | "leave" => message["user"] = if door.has("{sub}") { "ann" } else { "bob" }.into(),
        "auth" if caller.sub().is_some() => message["token"] = caller.credential().into(),
        "auth" => message["token"] = crate::harness::API_KEY.into(),
        _ => {}
    }
    if door.method() == "update" {
        message["meta"] = json!({});
    }
    let answer = dialogue.ask(message).await;
    let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
    match (answer["action"].as_str(), text("code").as_str()) {
        (Some("ok"), _) | (_, "not_joined" | "not_subscribed") => Outcome::Open,
        (_, code) => Outcome::Refused { code: code.to_owned(), said: text("message") },
    }
}
