//! The documents that the gateway serves for programs, and what they say of frames and answers.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::sync::{LazyLock, Mutex};

use jsonschema::Validator;
use serde_json::{Value, json};

use super::Answer;

/// `/openapi.json`
pub static OPENAPI: LazyLock<Value> = LazyLock::new(|| document("openapi.json"));
/// `/asyncapi.json`
pub static ASYNCAPI: LazyLock<Value> = LazyLock::new(|| document("asyncapi.json"));

/// The schemas of both, without room for fields that they do not have.
static CLOSED: LazyLock<Value> = LazyLock::new(|| {
    let mut components = json!({ "schemas": OPENAPI["components"]["schemas"] });
    close(&mut components);
    components
});

/// The compiled schemas, each made when it is needed.
static VALIDATORS: LazyLock<Mutex<HashMap<String, &'static Validator>>> = LazyLock::new(Mutex::default);

/// The most bytes of an answer whose schema is checked: a larger one has only more of the same.
const MOST: usize = 4 * 1024;

fn document(file: &str) -> Value {
    let path = format!("{}/web/api/{file}", env!("CARGO_MANIFEST_DIR"));
    read(&fs::read_to_string(&path).expect(&path))
}

fn read(text: &str) -> Value {
    serde_json::from_str(text).expect("a JSON document")
}

/// Adds `additionalProperties: false` to objects that are open for fields of later versions.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.get("type") == Some(&json!("object")) && fields.contains_key("properties") {
                fields.entry("additionalProperties").or_insert(false.into());
            }
            fields.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A validator of a schema that may refer to the schemas of `components`.
pub fn compile(schema: &Value, components: &Value) -> Validator {
    let whole = json!({ "allOf": [schema], "components": components });
    let options = jsonschema::draft202012::options().should_validate_formats(true);
    options.build(&whole).unwrap_or_else(|error| panic!("{error}: {schema}"))
}

/// Why `value` is not as the schema says, all fields of it known; `None` where it is.
pub fn fault(schema: &Value, value: &Value) -> Option<String> {
    let key = schema.to_string();
    let make = || {
        let mut closed = schema.clone();
        close(&mut closed);
        &*Box::leak(Box::new(compile(&closed, &CLOSED)))
    };
    let validator = *VALIDATORS.lock().expect("unpoisoned").entry(key).or_insert_with(make);
    validator.validate(value).err().map(|error| format!("{error} at {:?}", error.instance_path().to_string()))
}

/// The schema of a name.
pub fn named(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// The names of the schemas by action, of the messages of one side.
fn by_action(keep: impl Fn(&str) -> bool) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, schema) in OPENAPI["components"]["schemas"].as_object().expect("schemas") {
        if let Some(action) = schema["properties"]["action"]["const"].as_str().filter(|_| keep(name)) {
            found.entry(action.to_owned()).or_default().push(name.clone());
        }
    }
    found
}

/// Whether a schema is of what clients say: such messages have no unknown fields.
fn is_said(name: &str) -> bool {
    OPENAPI["components"]["schemas"][name]["additionalProperties"] == false
}

/// The schemas of the gateway's frames, by action.
pub static FRAMES: LazyLock<BTreeMap<String, Vec<String>>> = LazyLock::new(|| by_action(|name| !is_said(name)));
/// The schemas of clients' messages, by action.
pub static MESSAGES: LazyLock<BTreeMap<String, Vec<String>>> = LazyLock::new(|| by_action(is_said));

/// Why a frame of the gateway is none of the document's.
pub fn frame_fault(frame: &Value) -> Option<String> {
    let is_of_lobby = frame.as_object().is_some_and(|fields| fields.len() == 2 && fields.contains_key("user"));
    if is_of_lobby {
        return fault(&named("LobbyEvent"), frame);
    }
    match frame["action"].as_str().and_then(|action| FRAMES.get(action)) {
        Some(names) => fault(&named(&names[0]), frame),
        None => Some("no action of the document".to_owned()),
    }
}

/// The operation of a request, and its path as the document has it.
pub fn operation(method: &str, target: &str) -> Option<(&'static str, &'static Value)> {
    let path = target.split('?').next().unwrap_or_default();
    let segments: Vec<_> = path.split('/').collect();
    let fits = |template: &str| {
        let parts: Vec<_> = template.split('/').collect();
        let same = |(part, segment): (&&str, &&str)| part == segment || part.starts_with('{') && !segment.is_empty();
        parts.len() == segments.len() && parts.iter().zip(&segments).all(same)
    };
    let paths = OPENAPI["paths"].as_object().expect("paths");
    let found = paths.get_key_value(path).or_else(|| paths.iter().find(|(template, _)| fits(template)));
    let (template, item) = found?;
    let operation = item.get(method.to_lowercase())?;
    Some((template, operation))
}

/// What `$ref` leads to.
pub fn resolved(value: &'static Value) -> &'static Value {
    match value["$ref"].as_str() {
        Some(address) => OPENAPI.pointer(address.trim_start_matches('#')).unwrap_or_else(|| panic!("{address}")),
        None => value,
    }
}

/// The document's answer for a status.
pub fn response(operation: &'static Value, status: u16) -> Option<&'static Value> {
    let responses = &operation["responses"];
    let range = format!("{}XX", status / 100);
    responses.get(status.to_string()).or_else(|| responses.get(range)).map(resolved)
}

/// Why an answer is not as the document says.
pub fn answer_fault(method: &str, target: &str, answer: &Answer) -> Option<String> {
    let (_, operation) = operation(method, target)?;
    let Some(response) = response(operation, answer.status) else {
        return Some(format!("{} is no documented status", answer.status));
    };
    let missing = response["headers"].as_object().into_iter().flatten().find(|(name, header)| {
        let header = header["$ref"].as_str().and_then(|address| OPENAPI.pointer(&address[1..])).unwrap_or(header);
        header["required"] == true && !answer.headers.iter().any(|(key, _)| key.eq_ignore_ascii_case(name))
    });
    if let Some((name, _)) = missing {
        return Some(format!("{name} is missing"));
    }
    let ty = answer.header("content-type").map(|ty| ty.split(';').next().unwrap_or_default());
    let Some(ty) = ty.filter(|_| method != "HEAD") else {
        let has_content = response.get("content").is_some() && method != "HEAD";
        return has_content.then(|| "Content-Type is missing".to_owned());
    };
    let content = &response["content"];
    let Some(media) = content.get(ty).or_else(|| content.get("*/*")) else {
        return Some(format!("{ty} is no documented type"));
    };
    if !ty.ends_with("json") || answer.body.len() > MOST || answer.body.is_empty() {
        return None;
    }
    fault(media.get("schema")?, &answer.json())
}
