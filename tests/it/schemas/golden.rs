//! The golden messages, each as the schema of its message says; and none of them broken.

use serde_json::{Value, json};

use crate::harness::schema::{ASYNCAPI, FRAMES, MESSAGES, OPENAPI, compile, fault, frame_fault, named};

/// Codes of messages that break a rule which a schema can say.
const MALFORMED: [&str; 5] = ["bad_name", "bad_meta", "bad_rank", "bad_json", "unknown_action"];

fn golden(text: &str) -> Vec<Value> {
    serde_json::from_str(text).expect("a list")
}

fn story() -> Vec<Value> {
    let stories = [include_str!("../../wire/story.json"), include_str!("../../wire/suspects.json")];
    stories.into_iter().flat_map(golden).map(|told| told["frame"].clone()).collect()
}

/// Whether the story tests by it that readers pass over what they do not know.
fn is_of_the_future(frame: &Value) -> bool {
    frame["action"] == "dance" || frame.get("mood").is_some()
}

/// Variants of a message, each with one fault.
fn broken(message: &Value) -> Vec<Value> {
    let fields = message.as_object().expect("an object");
    let mut all = vec![];
    for (name, value) in fields {
        let wrong = match value {
            Value::String(_) => json!({}),
            Value::Object(_) | Value::Array(_) => json!(7),
            Value::Bool(_) | Value::Number(_) | Value::Null => json!([]),
        };
        let mut variant = fields.clone();
        variant.insert(name.clone(), wrong);
        all.push(variant.into());
    }
    let mut more = fields.clone();
    more.insert("mete".to_owned(), json!({}));
    all.push(more.into());
    all
}

fn without<'a>(message: &'a Value, required: &'a Value) -> impl Iterator<Item = Value> + 'a {
    required.as_array().into_iter().flatten().filter_map(Value::as_str).map(move |name| {
        let mut fields = message.as_object().expect("an object").clone();
        assert!(fields.remove(name).is_some(), "{name} is required in {message}");
        fields.into()
    })
}

#[test]
fn every_frame_of_the_story_is_valid_and_none_of_it_broken() {
    let mut checked = 0;
    for frame in story().iter().filter(|frame| !is_of_the_future(frame)) {
        assert_eq!(frame_fault(frame), None, "{frame}");
        let schema = &FRAMES[frame["action"].as_str().expect("an action")][0];
        let required = &OPENAPI["components"]["schemas"][schema]["required"];
        for broken in broken(frame).into_iter().chain(without(frame, required)) {
            assert!(frame_fault(&broken).is_some(), "{broken}");
            checked += 1;
        }
    }
    assert!(checked > 200, "{checked}");
}

/// What a client validates with the document as it is: fields of later versions pass.
#[test]
fn fields_of_later_versions_are_valid() {
    let frames = story();
    let future: Vec<_> = frames.iter().filter(|frame| frame.get("mood").is_some()).collect();
    assert!(!future.is_empty());
    for frame in future {
        let schema = &FRAMES[frame["action"].as_str().expect("an action")][0];
        assert!(compile(&named(schema), &ASYNCAPI["components"]).is_valid(frame), "{frame}");
        assert!(frame_fault(frame).is_some(), "{frame}");
    }
}

/// Why no schema of a client's messages takes this one.
fn message_fault(message: &Value) -> Option<String> {
    let names = message["action"].as_str().and_then(|action| MESSAGES.get(action));
    let mut faults = names.into_iter().flatten().map(|name| fault(&named(name), message));
    faults.try_fold("no such action".to_owned(), |_, fault| fault)
}

#[test]
fn every_message_is_valid_unless_it_is_refused_for_its_form() {
    let (mut answered, mut refused) = (0, 0);
    for told in golden(include_str!("../../wire/messages.json")) {
        let (says, mut answer) = (&told["says"], told["answer"].clone());
        let is_malformed = answer["code"].as_str().is_some_and(|code| MALFORMED.contains(&code));
        let fault = message_fault(says);
        assert_eq!(fault.is_some(), is_malformed, "{told}: {fault:?}");
        if !is_malformed {
            assert_eq!(fault_of_whole(says), None, "{says}");
            for broken in broken(says) {
                assert!(message_fault(&broken).is_some(), "{broken}");
            }
        }
        if answer["action"] == "refused" {
            // The golden answers leave out the sentence, which is for people.
            answer["message"] = "a sentence".into();
            refused += 1;
        } else {
            answered += 1;
        }
        assert_eq!(frame_fault(&answer), None, "{answer}");
        for broken in broken(&answer) {
            assert!(frame_fault(&broken).is_some(), "{broken}");
        }
    }
    assert!(answered > 10 && refused > 10);
}

/// The schema of all messages takes each by exactly one of its own.
fn fault_of_whole(message: &Value) -> Option<String> {
    fault(&named("ClientMessage"), message)
}

/// A message that the gateway reads, and one that the documents have, are the same ones.
#[test]
fn every_action_of_the_sources_is_in_the_document_and_no_others() {
    let source = include_str!("../../../src/http/stream/message.rs");
    let read = crate::doors::actions(source);
    assert_eq!(MESSAGES.keys().cloned().collect::<std::collections::BTreeSet<_>>(), read);
}
