//! Messages with answers, over a WebSocket or a session.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::{Session, Talker, within};

/// What a client has heard between answers, and the last `ref` of its own.
#[derive(Default)]
pub struct Heard {
    pub frames: VecDeque<Value>,
    asked: u64,
}

/// A client that sends messages, and finds the answers by their `ref`.
pub trait Dialogue {
    /// Sends one message.
    async fn say(&mut self, message: &Value);

    /// The next frame of the stream; `None` at its end.
    async fn read(&mut self) -> Option<Value>;

    fn between(&mut self) -> &mut Heard;

    /// Sends a message with a `ref` of its own and waits for the answer.
    async fn ask(&mut self, mut message: Value) -> Value {
        self.between().asked += 1;
        message["ref"] = json!(self.between().asked);
        self.ask_as_is(&message).await
    }

    /// Sends a message that has a `ref`, and waits for the answer.
    async fn ask_as_is(&mut self, message: &Value) -> Value {
        self.say(message).await;
        loop {
            let frame = within("an answer", self.read()).await.expect("an answer");
            let answers = frame["action"] == "ok" || frame["action"] == "refused";
            if answers && frame.get("ref") == message.get("ref") {
                return frame;
            }
            self.between().frames.push_back(frame);
        }
    }

    /// Sends a message that must be answered with `ok`; returns the cursor.
    async fn does(&mut self, message: Value) -> String {
        let answer = self.ask(message.clone()).await;
        assert_eq!(answer["action"], "ok", "{message}: {answer}");
        answer["cursor"].as_str().unwrap_or_default().to_owned()
    }

    /// Sends a message that must be refused; returns the code.
    async fn is_refused(&mut self, message: Value) -> String {
        let answer = self.ask(message.clone()).await;
        assert_eq!(answer["action"], "refused", "{message}: {answer}");
        answer["code"].as_str().expect("a code").to_owned()
    }

    async fn join(&mut self, room: &str, user: &str) -> String {
        self.does(json!({"action": "join", "room": room, "user": user})).await
    }

    async fn leave(&mut self, room: &str, user: &str) -> String {
        self.does(json!({"action": "leave", "room": room, "user": user})).await
    }
}

impl Dialogue for Talker {
    async fn say(&mut self, message: &Value) {
        self.send(message).await;
    }

    async fn read(&mut self) -> Option<Value> {
        self.next().await
    }

    fn between(&mut self) -> &mut Heard {
        &mut self.heard
    }
}

impl Dialogue for Session {
    async fn say(&mut self, message: &Value) {
        self.send(&json!([message])).await;
    }

    async fn read(&mut self) -> Option<Value> {
        self.next_frame().await
    }

    fn between(&mut self) -> &mut Heard {
        &mut self.heard
    }
}
