//! WebSocket frames, RFC 6455, 5 to 8: a frame that breaks the rules closes only its own connection, with the right
//! code.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, RawWs, Reader, Sse, TEXT, TestServer, Transport, frame, unmasked,
    upgrade, within,
};

/// A gateway, and a reader that must not be affected by other connections.
struct Watched {
    server: TestServer,
    witness: Reader,
}

impl Watched {
    async fn new() -> Self {
        let server = TestServer::start().await;
        let witness = Reader::open(server.addr, Transport::Ws, "lobby").await.begun().await;
        Self { server, witness }
    }

    async fn socket(&self) -> RawWs {
        RawWs::open(self.server.addr, "lobby").await
    }

    /// Sends bytes on a new connection, and checks the close code.
    async fn closes(&mut self, code: u16, bytes: &[u8]) {
        let mut socket = self.socket().await;
        socket.send(bytes).await;
        let head = format!("{:02x?}", &bytes[..bytes.len().min(40)]);
        assert_eq!(socket.closed().await.0, code, "{head}");
        self.lives().await;
    }

    async fn lives(&mut self) {
        for cursor in [self.server.sign_in("lobby", "ann").await, self.server.sign_out("lobby", "ann").await] {
            self.witness.caught_up(&cursor).await;
        }
        assert!(self.witness.mirror.users.is_empty());
    }
}

/// Sends a text, and returns the answer.
async fn said_to(socket: &mut RawWs, text: impl AsRef<[u8]>) -> Value {
    socket.send(frame(FIN | TEXT, text)).await;
    socket.reply().await.json()
}

#[tokio::test]
async fn frames_without_a_mask_close_with_1002() {
    let mut watched = Watched::new().await;
    for first in [FIN | TEXT, FIN | PING, FIN | CLOSE, FIN | BINARY] {
        watched.closes(1002, &unmasked(first, "{}")).await;
    }
}

#[tokio::test]
async fn reserved_bits_and_opcodes_close_with_1002() {
    let mut watched = Watched::new().await;
    for reserved in [0x40, 0x20, 0x10, 0x70] {
        watched.closes(1002, &frame(FIN | reserved | TEXT, "{}")).await;
        watched.closes(1002, &frame(FIN | reserved | PING, "")).await;
    }
    for opcode in [0x3, 0x4, 0x5, 0x6, 0x7, 0xB, 0xC, 0xD, 0xE, 0xF] {
        watched.closes(1002, &frame(FIN | opcode, "")).await;
    }
}

#[tokio::test]
async fn control_frames_in_fragments_or_over_125_bytes_close_with_1002() {
    let mut watched = Watched::new().await;
    for opcode in [PING, PONG, CLOSE] {
        watched.closes(1002, &frame(opcode, "")).await;
        watched.closes(1002, &frame(FIN | opcode, vec![3; 126])).await;
    }
}

#[tokio::test]
async fn fragments_out_of_order_close_with_1002() {
    let mut watched = Watched::new().await;
    watched.closes(1002, &frame(CONTINUATION, "{}")).await;
    watched.closes(1002, &frame(FIN | CONTINUATION, "{}")).await;
    watched.closes(1002, &[frame(TEXT, "{"), frame(FIN | TEXT, "}")].concat()).await;
    let done = [frame(TEXT, "{"), frame(FIN | CONTINUATION, "}"), frame(FIN | CONTINUATION, "")].concat();
    let mut socket = watched.socket().await;
    socket.send(done).await;
    assert_eq!(socket.reply().await.json()["action"], "refused", "the whole message is answered first");
    assert_eq!(socket.closed().await.0, 1002);
}

#[tokio::test]
async fn impossible_frame_lengths_close_the_connection() {
    let mut watched = Watched::new().await;
    let huge = [&[FIN | TEXT, 0xFF][..], &u64::MAX.to_be_bytes(), &[0; 4]].concat();
    let mut socket = watched.socket().await;
    socket.send(huge).await;
    let code = socket.closed().await.0;
    assert!(matches!(code, 1002 | 1009), "{code}");
    watched.lives().await;
}

#[tokio::test]
async fn text_that_is_not_utf_8_closes_with_1007() {
    let mut watched = Watched::new().await;
    for bytes in [&b"\xff"[..], b"{\"a\":\"\xc3\x28\"}", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\xaf", b"\xe2\x82"]
    {
        watched.closes(1007, &frame(FIN | TEXT, bytes)).await;
    }
    let split = [frame(TEXT, b"\xe2\x82"), frame(FIN | CONTINUATION, b"\x28")].concat();
    watched.closes(1007, &split).await;
}

#[tokio::test]
async fn messages_over_64_kib_close_with_1009_also_in_fragments() {
    let mut watched = Watched::new().await;
    let text = "x".repeat(64 * 1024 + 1);
    watched.closes(1009, &frame(FIN | TEXT, &text)).await;
    let (start, rest) = text.split_at(40_000);
    watched.closes(1009, &[frame(TEXT, start), frame(FIN | CONTINUATION, rest)].concat()).await;
}

/// After a close without further reads, the rest of the message would cause a reset.
#[tokio::test]
async fn a_close_arrives_while_the_client_is_still_sending() {
    let mut watched = Watched::new().await;
    watched.closes(1009, &frame(FIN | TEXT, "x".repeat(8 * 1024 * 1024))).await;
}

#[tokio::test]
async fn a_message_announced_as_too_large_is_refused_before_the_payload() {
    let mut watched = Watched::new().await;
    let promised = [&[FIN | TEXT, 0xFF][..], &1_000_000_000_u64.to_be_bytes(), &[0; 4]].concat();
    watched.closes(1009, &promised).await;
}

#[tokio::test]
async fn a_message_of_just_64_kib_is_read() {
    let watched = Watched::new().await;
    let mut socket = watched.socket().await;
    let filling = "x".repeat(64 * 1024 - r#"{"action":"","ref":1}"#.len());
    let answer = said_to(&mut socket, format!(r#"{{"action":"{filling}","ref":1}}"#)).await;
    assert_eq!((&answer["code"], &answer["ref"]), (&json!("unknown_action"), &json!(1)));
}

#[tokio::test]
async fn binary_messages_close_with_1003() {
    let mut watched = Watched::new().await;
    watched.closes(1003, &frame(FIN | BINARY, "{}")).await;
    watched.closes(1003, &frame(FIN | BINARY, "")).await;
    watched.closes(1003, &[frame(BINARY, "{"), frame(FIN | CONTINUATION, "}")].concat()).await;
}

#[tokio::test]
async fn closes_that_break_the_rules_are_answered_with_1002() {
    let mut watched = Watched::new().await;
    watched.closes(1002, &frame(FIN | CLOSE, [3])).await;
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535_u16] {
        watched.closes(1002, &frame(FIN | CLOSE, code.to_be_bytes())).await;
    }
    let reason = [&1000_u16.to_be_bytes()[..], b"\xff"].concat();
    watched.closes(1007, &frame(FIN | CLOSE, reason)).await;
}

#[tokio::test]
async fn a_close_is_answered_with_its_own_code() {
    let mut watched = Watched::new().await;
    for code in [1000, 1001, 1003, 1007, 1011, 3000, 4999_u16] {
        let payload = [&code.to_be_bytes()[..], b"bye"].concat();
        watched.closes(code, &frame(FIN | CLOSE, payload)).await;
    }
}

#[tokio::test]
async fn a_close_without_a_code_is_answered() {
    let watched = Watched::new().await;
    let mut socket = watched.socket().await;
    socket.send(frame(FIN | CLOSE, "")).await;
    let close = socket.reply().await;
    assert_eq!(close.opcode, CLOSE);
    assert!(close.payload.is_empty() || close.close().0 == 1000, "{close:?}");
    socket.ended().await;
}

#[tokio::test]
async fn nothing_is_read_after_a_close() {
    let mut watched = Watched::new().await;
    let bye = frame(FIN | CLOSE, 1000_u16.to_be_bytes());
    watched.closes(1000, &[bye, frame(FIN | PING, "late"), unmasked(FIN | TEXT, "late")].concat()).await;
}

#[tokio::test]
async fn a_ping_is_answered_with_its_payload_also_between_fragments() {
    let watched = Watched::new().await;
    let mut socket = watched.socket().await;
    for payload in [&b""[..], b"hello", &[0xFF; 125]] {
        socket.send(frame(FIN | PING, payload)).await;
        let pong = socket.reply().await;
        assert_eq!((pong.opcode, pong.payload.as_slice()), (PONG, payload));
    }
    let mixed = [frame(TEXT, r#"{"action":"#), frame(FIN | PING, "mid"), frame(FIN | CONTINUATION, r#""x"}"#)];
    socket.send(mixed.concat()).await;
    assert_eq!(socket.reply().await.opcode, PONG);
    assert_eq!(socket.reply().await.json()["code"], "unknown_action");
}

#[tokio::test]
async fn an_unasked_pong_is_ignored() {
    let watched = Watched::new().await;
    let mut socket = watched.socket().await;
    socket.send(frame(FIN | PONG, "unasked")).await;
    assert_eq!(said_to(&mut socket, r#"{"action":"x","ref":"after"}"#).await["ref"], "after");
}

#[tokio::test]
async fn fragments_of_any_size_are_one_message() {
    let watched = Watched::new().await;
    let mut socket = watched.socket().await;
    let text = r#"{"action":"tanzen-für-山田","ref":7}"#.as_bytes();
    let mut bytes = Vec::new();
    for (at, byte) in text.iter().enumerate() {
        let first = if at == 0 { TEXT } else { CONTINUATION };
        bytes.extend(frame(first, [*byte]));
        bytes.extend(frame(CONTINUATION, ""));
    }
    bytes.extend(frame(FIN | CONTINUATION, ""));
    socket.send(bytes).await;
    let answer = socket.reply().await.json();
    assert_eq!((&answer["code"], &answer["ref"]), (&json!("unknown_action"), &json!(7)));
    assert!(answer["message"].as_str().is_some_and(|message| message.contains("tanzen-für-山田")), "{answer}");
}

#[tokio::test]
async fn bytes_may_arrive_one_at_a_time() {
    let watched = Watched::new().await;
    let mut socket = watched.socket().await;
    for byte in frame(FIN | TEXT, r#"{"action":"x","ref":1}"#) {
        socket.send([byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(socket.reply().await.json()["ref"], 1);
}

#[tokio::test]
async fn unknown_and_malformed_messages_are_refused_and_the_connection_stays() {
    let watched = Watched::new().await;
    let mut socket = watched.socket().await;
    for (text, code, reference) in [
        (r#"{"action":"dance","ref":1}"#, "unknown_action", json!(1)),
        (r#"{"action":"dance","ref":"a"}"#, "unknown_action", json!("a")),
        (r#"{"action":"dance"}"#, "unknown_action", json!(null)),
        (r#"{"action":"join","room":"lobby","user":"bob","as":"bob","ref":2}"#, "bad_json", json!(2)),
        (r#"{"action":"join","room":"lobby","ref":2}"#, "bad_json", json!(2)),
        (r#"{"action":"join","room":"lobby","user":"","ref":2}"#, "bad_name", json!(2)),
        (r#"{"action":"join","room":"lobby","user":"\u2066","ref":2}"#, "bad_name", json!(2)),
        (r#"{"action":"subscribe","room":" ","ref":2}"#, "bad_name", json!(2)),
        (r#"{"action":"join","room":"lobby","user":"bob","meta":null}"#, "bad_meta", json!(null)),
        (r#"{"action":"join","room":"lobby","user":"bob","meta":{"a":1,"a":1},"ref":2}"#, "bad_meta", json!(2)),
        (r#"{"action":"join","room":"lobby","user":"bob","meta":{"a":"\ud800"},"ref":2}"#, "bad_meta", json!(2)),
        (r#"{"action":"join","room":"lobby","user":"bob","user":"cyd","ref":2}"#, "bad_json", json!(2)),
        (r#"{"action":"join","room":"lobby","user":"bob","\u0075ser":"cyd","ref":2}"#, "bad_json", json!(2)),
        (r#"{"action":"join","room":"lobby","user":"\ud800","ref":2}"#, "bad_json", json!(2)),
        (r#"{"action":"dance","ref":1,"ref":2}"#, "bad_json", json!(null)),
        (r#"{"action":"dance","ref":"\ud800"}"#, "bad_json", json!(null)),
        (r#"{"action":"dance","ref":1e400}"#, "bad_json", json!(null)),
        (r#"{"$serde_json::private::RawValue":"{\"action\":\"dance\"}"}"#, "bad_json", json!(null)),
        (r#"{"action":"join","room":"lobby","user":"bob","client":"x"}"#, "bad_parameter", json!(null)),
        (r#"{"action":"update","room":"lobby","user":"bob","meta":{}}"#, "not_joined", json!(null)),
        (r#"{"action":"leave","room":"lobby","user":"bob"}"#, "not_joined", json!(null)),
        (r#"{"action":"unsubscribe","room":"nowhere"}"#, "not_subscribed", json!(null)),
        (r#"{"action":7,"ref":3}"#, "bad_json", json!(3)),
        (r#"{"ref":4}"#, "bad_json", json!(4)),
        ("{", "bad_json", json!(null)),
        ("", "bad_json", json!(null)),
        ("[]", "bad_json", json!(null)),
        ("null", "bad_json", json!(null)),
        ("{} {}", "bad_json", json!(null)),
        (&"[".repeat(60_000), "bad_json", json!(null)),
    ] {
        let answer = said_to(&mut socket, text).await;
        let short = &text[..text.len().min(60)];
        assert_eq!((&answer["action"], &answer["code"]), (&json!("refused"), &json!(code)), "{short}: {answer}");
        assert_eq!((&answer["ref"], &answer["retry"]), (&reference, &json!(false)), "{short}: {answer}");
        assert!(answer["message"].as_str().is_some_and(|message| !message.is_empty()), "{short}: {answer}");
    }
}

#[tokio::test]
async fn a_ref_that_is_no_number_or_string_is_not_repeated() {
    let watched = Watched::new().await;
    let mut socket = watched.socket().await;
    for reference in ["{}", "[1]", "true", "null"] {
        let answer = said_to(&mut socket, format!(r#"{{"action":"dance","ref":{reference}}}"#)).await;
        assert_eq!((&answer["action"], answer.get("ref")), (&json!("refused"), None), "{answer}");
    }
}

#[tokio::test]
async fn a_ref_comes_back_as_sent() {
    let watched = Watched::new().await;
    let mut socket = watched.socket().await;
    for reference in ["1E5", "123456789012345678901234567890", "0.10", "-0", "\"\\n山田\""] {
        socket.send(frame(FIN | TEXT, format!(r#"{{"action":"x","ref": {reference} }}"#))).await;
        let answer = String::from_utf8(socket.reply().await.payload).expect("a text");
        assert!(answer.starts_with(&format!(r#"{{"action":"refused","ref":{reference},"#)), "{answer}");
    }
}

#[tokio::test]
async fn a_refusal_is_as_the_protocol_shows_it() {
    let watched = Watched::new().await;
    let mut socket = watched.socket().await;
    socket.send(frame(FIN | TEXT, r#"{"action":"dance","ref":1}"#)).await;
    let refused = String::from_utf8(socket.reply().await.payload).expect("a text");
    let expected = r#"{"action":"refused","ref":1,"code":"unknown_action","message":"action \"dance\" is not known","retry":false}"#;
    assert_eq!(refused, expected);
}

#[tokio::test]
async fn frames_in_the_same_segment_as_the_handshake_are_answered() {
    let watched = Watched::new().await;
    let bytes = [upgrade("/ws?room=lobby").into_bytes(), frame(FIN | TEXT, r#"{"action":"x","ref":1}"#)].concat();
    let mut socket = RawWs::request(watched.server.addr, bytes).await;
    assert_eq!(socket.reply().await.json()["ref"], 1);
}

#[tokio::test]
async fn many_messages_at_once_are_all_answered_in_order() {
    let watched = Watched::new().await;
    let mut socket = watched.socket().await;
    let messages = (0..500).flat_map(|n| frame(FIN | TEXT, format!(r#"{{"action":"x","ref":{n}}}"#)));
    socket.send(messages.collect::<Vec<_>>()).await;
    for n in 0..500 {
        assert_eq!(socket.reply().await.json()["ref"], n);
    }
}

#[tokio::test]
async fn answers_among_events_are_whole_frames() {
    let mut watched = Watched::new().await;
    let mut socket = watched.socket().await;
    for n in 0..50 {
        let user = format!("u{n}");
        let (cursor, answer) = tokio::join!(
            watched.server.sign_in("lobby", &user),
            said_to(&mut socket, format!(r#"{{"action":"x","ref":{n}}}"#)),
        );
        assert_eq!(answer["ref"], n);
        watched.witness.caught_up(&cursor).await;
    }
}

#[tokio::test]
async fn a_connection_without_a_close_frame_affects_no_other() {
    let mut watched = Watched::new().await;
    for half in [&[][..], &[FIN | TEXT], &frame(FIN | TEXT, "half")[..5], &frame(TEXT, "a start")] {
        let mut socket = watched.socket().await;
        socket.send(half).await;
        drop(socket);
        watched.lives().await;
    }
}

#[tokio::test]
async fn an_idle_websocket_is_pinged_and_stays_open_with_pongs() {
    let keep_alive = Duration::from_millis(250);
    let server = TestServer::with(|config| config.keep_alive = keep_alive).await;
    let mut socket = RawWs::open(server.addr, "lobby").await;
    // More pings than may stay unanswered.
    for _ in 0..4 {
        let ping = socket.reply().await;
        assert_eq!(ping.opcode, PING);
        socket.send(frame(FIN | PONG, ping.payload)).await;
    }
    socket.send(frame(FIN | TEXT, r#"{"action":"x"}"#)).await;
    loop {
        let said = socket.reply().await;
        if said.opcode != PING {
            assert_eq!(said.json()["action"], "refused");
            break;
        }
    }
}

#[tokio::test]
async fn a_websocket_that_answers_no_ping_is_ended() {
    let keep_alive = Duration::from_millis(50);
    let server = TestServer::with(|config| config.keep_alive = keep_alive).await;
    RawWs::open(server.addr, "lobby").await.lost().await;
}

#[tokio::test]
async fn an_idle_stream_gets_comments() {
    let keep_alive = Duration::from_millis(50);
    let server = TestServer::with(|config| config.keep_alive = keep_alive).await;
    for path in ["/api/rooms/lobby/stream", "/user-stream"] {
        let mut stream = Sse::open(server.addr, path, &[]).await;
        within("comments", stream.until(|stream| stream.comments >= 3)).await;
        assert!(stream.text.ends_with("\n:\n\n"), "{:?}", stream.text);
    }
}

/// A room subscribed to just before the client's close, by the URL or a message, is not read.
#[tokio::test]
async fn nothing_follows_a_close_right_after_a_subscription() {
    let watched = Watched::new().await;
    let addr = watched.server.addr;
    let close = frame(FIN | CLOSE, 1000_u16.to_be_bytes());
    let subscribe = frame(FIN | TEXT, r#"{"action":"subscribe","room":"lobby","ref":1}"#);
    for (path, messages) in [("/ws?room=lobby", close.clone()), ("/ws", [subscribe, close].concat())] {
        let mut socket = RawWs::request(addr, [upgrade(path).as_bytes(), &messages].concat()).await;
        let mut last = socket.frame().await;
        while last.opcode != CLOSE {
            last = socket.frame().await;
        }
        assert_eq!(last.close().0, 1000, "{path}");
        socket.ended().await;
    }
}
