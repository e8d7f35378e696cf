//! Lines of the log that are not made by `tracing_subscriber`, and lines that are too long.

use std::any::Any;
use std::panic::Location;

use serde::Serialize;
use serde_json::Value;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

/// The longest line, in bytes; the rest is cut.
pub const MAX_LINE: usize = 4_096;

/// The longest message of a panic, in bytes. As JSON it may take six times as much.
const MAX_PANIC: usize = 512;

/// The most bytes of each text in a line of JSON that was too long; the first that suffices.
const SHORTER: [usize; 3] = [512, 128, 16];

/// Why the program ends, in a sentence.
pub fn sentence_line(sentence: &str, json: bool) -> String {
    match json {
        true => json_line("ERROR", &SentenceFields { message: sentence }),
        false => format!("presently: {sentence}\n"),
    }
}

/// The line, of at most [`MAX_LINE`] bytes and a few: cut at its end, or an object with shorter texts.
pub fn cut(line: &[u8], json: bool) -> Vec<u8> {
    match serde_json::from_slice(line) {
        Ok(object) if json => shortened(&object),
        Ok(_) | Err(_) => [&line[..boundary(line, MAX_LINE)], " …\n".as_bytes()].concat(),
    }
}

fn shortened(object: &Value) -> Vec<u8> {
    let with = |most| {
        let mut object = object.clone();
        shorten(&mut object, most);
        object.to_string() + "\n"
    };
    let fits = SHORTER.into_iter().map(with).find(|line| line.len() <= MAX_LINE);
    fits.unwrap_or_else(|| sentence_line("a line was too long", true)).into_bytes()
}

fn shorten(value: &mut Value, most: usize) {
    match value {
        Value::String(text) if text.len() > most => {
            text.truncate(boundary(text.as_bytes(), most));
            text.push_str(" …");
        }
        Value::Array(values) => values.iter_mut().for_each(|value| shorten(value, most)),
        Value::Object(fields) => fields.values_mut().for_each(|value| shorten(value, most)),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The greatest end of at most `most` bytes of `text`, UTF-8, that cuts no character.
fn boundary(text: &[u8], most: usize) -> usize {
    (0..=most.min(text.len())).rev().find(|end| text.get(*end).is_none_or(|byte| byte & 0xC0 != 0x80)).unwrap_or(0)
}

/// The text of a panic, if `panic!` made it of a text. Nothing else of a payload is used: its own code might panic again.
pub fn panic_text(payload: &(dyn Any + Send)) -> Option<&str> {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied())
}

/// A panic as a line of the log, in the form of `tracing_subscriber`'s lines.
pub fn panic_line(payload: &(dyn Any + Send), at: Option<&Location<'_>>, times: u64, json: bool) -> String {
    let text = panic_text(payload).unwrap_or("(no text)");
    let text = &text[..boundary(text.as_bytes(), MAX_PANIC)];
    let place = at.map(ToString::to_string).unwrap_or_default();
    let mut message = format!("panicked at {place}: ");
    for char in text.chars() {
        match char.is_control() {
            true => message.extend(char.escape_default()),
            false => message.push(char),
        }
    }
    match json {
        true => json_line("ERROR", &PanicFields { message: &message, times }),
        false => format!("{} ERROR {message} times={times}\n", timestamp()),
    }
}

/// A line of JSON, in the form of `tracing_subscriber`'s lines.
fn json_line(level: &str, fields: &impl Serialize) -> String {
    let line = JsonLine { timestamp: &timestamp(), level, fields, target: "presently" };
    serde_json::to_string(&line).unwrap_or_default() + "\n"
}

fn timestamp() -> String {
    let mut timestamp = String::new();
    // Without a time rather than without the line.
    let _ = SystemTime.format_time(&mut Writer::new(&mut timestamp));
    timestamp
}

#[derive(Serialize)]
struct JsonLine<'a, F> {
    timestamp: &'a str,
    level: &'a str,
    fields: &'a F,
    target: &'a str,
}

#[derive(Serialize)]
struct PanicFields<'a> {
    message: &'a str,
    times: u64,
}

#[derive(Serialize)]
struct SentenceFields<'a> {
    message: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_object_stays_an_object_of_the_same_fields() {
        for (text, fields) in [("é\"\\\u{1}", 1), ("x", 8), ("\u{1}", 30), ("\u{1}", 1_000)] {
            let fields: serde_json::Map<_, _> =
                (0..fields).map(|n| (n.to_string(), text.repeat(5_000).into())).collect();
            let line = serde_json::json!({"level": "INFO", "fields": fields}).to_string();
            let cut = String::from_utf8(cut(line.as_bytes(), true)).unwrap();
            assert!(cut.len() <= MAX_LINE && cut.ends_with("}\n"), "{}", cut.len());
            let object: Value = serde_json::from_str(&cut).unwrap();
            match fields.len() {
                1_000 => assert_eq!(object["fields"]["message"], "a line was too long"),
                _ => assert!(
                    fields.keys().all(|key| object["fields"][key].as_str().is_some_and(|text| text.ends_with('…')))
                ),
            }
        }
    }

    #[test]
    fn a_panic_is_one_line_of_its_text_and_place_whatever_its_payload_is() {
        let at = Location::caller();
        let line = |payload: &(dyn Any + Send), json| panic_line(payload, Some(at), 4, json);
        let plain = line(&"two\nlines \u{1b}[31m", false);
        assert!(plain.contains(&format!(" ERROR panicked at {at}: two\\nlines \\u{{1b}}[31m times=4\n")), "{plain}");
        assert_eq!(plain.lines().count(), 1);
        let json: serde_json::Value = serde_json::from_str(&line(&"a \"quote\"\n".to_owned(), true)).unwrap();
        assert_eq!(json["fields"]["message"], format!("panicked at {at}: a \"quote\"\\n"));
        assert_eq!((&json["level"], &json["fields"]["times"]), (&"ERROR".into(), &4.into()));
        assert!(json["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')), "{json}");
        assert!(line(&7, false).contains("(no text)"));
        let long = line(&"\u{1}".repeat(100_000), true);
        assert!(long.len() <= MAX_LINE, "{}", long.len());
    }
}
