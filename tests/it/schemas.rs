//! `/openapi.json` and `/asyncapi.json` say what the gateway does: every route, method, refusal and message.

mod golden;
mod occurring;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use presently::model::refusal::TABLE;
use serde_json::{Value, json};

use crate::harness::schema::{ASYNCAPI, OPENAPI, compile, fault, resolved};
use crate::harness::{TestServer, raw};

const METHODS: [&str; 7] = ["get", "head", "put", "post", "patch", "delete", "options"];

fn paths() -> impl Iterator<Item = (&'static str, &'static Value)> {
    OPENAPI["paths"].as_object().expect("paths").iter().map(|(path, item)| (path.as_str(), item))
}

fn operations() -> impl Iterator<Item = (&'static str, &'static str, &'static Value)> {
    paths()
        .flat_map(|(path, item)| METHODS.into_iter().filter_map(move |method| Some((path, method, item.get(method)?))))
}

/// The `$ref`s of a document.
fn references(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            into.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| references(value, into));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The codes of the refusals that a response documents.
fn codes(response: &Value) -> BTreeSet<&str> {
    let schema = &response["content"]["application/problem+json"]["schema"];
    let narrowed = schema["allOf"][1]["properties"]["code"]["enum"].as_array();
    narrowed.into_iter().flatten().filter_map(Value::as_str).collect()
}

#[tokio::test]
async fn both_are_served_to_everybody_as_of_this_build() {
    let server = TestServer::start().await;
    for (path, document, version) in [("/openapi.json", &*OPENAPI, "3.1.1"), ("/asyncapi.json", &*ASYNCAPI, "3.0.0")] {
        let answer = server.get(path).await.expect(200);
        assert_eq!(answer.header("content-type"), Some("application/json"), "{path}");
        assert_eq!(answer.header("cache-control"), Some("no-cache"), "{path}");
        assert!(answer.header("etag").is_some(), "{path}");
        assert!(answer.json() == *document, "{path} is of another build");
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"), "{path}");
        assert_eq!(document[path.trim_start_matches('/').trim_end_matches(".json")], version, "{path}");
        server.send("HEAD", path, &[], "").await.expect(200);
        server.send("POST", path, &[], "").await.expect(405);
    }
}

/// A route of the sources, where a line has one, with each name in it as `{}`.
fn route(line: &str) -> Option<String> {
    let line = line.trim();
    if line.starts_with("path::end()") {
        return Some("/".to_owned());
    }
    let (segments, _) = line.strip_prefix("path!(")?.split_once(')')?;
    let segments = segments.split(" / ").map(|segment| match segment {
        "Segment" | ".." => "{}",
        literal => literal.trim_matches('"'),
    });
    Some(format!("/{}", segments.collect::<Vec<_>>().join("/")))
}

fn shape(path: &str) -> String {
    path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part }).collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn every_route_and_method_is_in_the_document_and_no_others() {
    let source = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/http.rs")).expect("the routes");
    let mut routes: BTreeSet<_> = source.lines().filter_map(route).collect();
    assert!(routes.len() > 28 && routes.remove("/Module"), "{routes:?}");
    routes.extend(["/presently.js", "/presently-room.js", "/presently.d.ts"].map(str::to_owned));
    let documented: BTreeSet<_> = paths().map(|(path, _)| shape(path)).collect();
    assert_eq!(documented, routes);

    let server = TestServer::start().await;
    for (path, item) in paths() {
        let target = path.replace("{room}", "lobby").replace("{user}", "ann").replace("{file}", "PROTOCOL.md");
        let answer = raw(server.addr, format!("BREW {target} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await.expect(405);
        let allowed = answer.header("allow").expect("the allowed methods").to_lowercase();
        let allowed: BTreeSet<_> = allowed.split(", ").collect();
        let documented: BTreeSet<_> = METHODS.into_iter().filter(|method| item.get(method).is_some()).collect();
        assert_eq!(documented, allowed, "{path}");
    }
}

#[test]
fn every_refusal_is_in_the_documents_with_its_status_and_close_code() {
    let mut by_status: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    let mut by_close: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for row in TABLE {
        by_status.entry(row.status).or_default().push(row.name);
        by_close.entry(row.close.to_string()).or_default().push(row.name);
    }
    let all: Vec<_> = TABLE.iter().map(|row| row.name).collect();
    let schemas = &OPENAPI["components"]["schemas"];
    assert_eq!(schemas["Code"]["enum"], json!(all));
    for (status, names) in &by_status {
        let narrowed = &schemas[format!("Refused{status}")]["allOf"][1]["properties"];
        assert_eq!((&narrowed["status"]["const"], &narrowed["code"]["enum"]), (&json!(status), &json!(names)));
    }
    assert_eq!(ASYNCAPI["x-close-codes"], json!(by_close));
}

/// Refusals that are told by a message, a close code or the end of a stream only; `failed` by anything.
const NO_ANSWERS: [&str; 9] = [
    "unknown_action",
    "not_joined",
    "not_subscribed",
    "signed_out",
    "kicked",
    "replaced",
    "too_many_joined",
    "too_many_subscribed",
    "failed",
];

#[test]
fn every_refusal_of_a_request_is_documented_with_a_path() {
    let mut documented = BTreeSet::new();
    for (path, method, operation) in operations() {
        for (status, response) in operation["responses"].as_object().expect("responses") {
            let response = resolved(response);
            let codes = codes(response);
            for code in &codes {
                let row = TABLE.iter().find(|row| row.name == *code).unwrap_or_else(|| panic!("{code}"));
                assert_eq!(row.status.to_string(), *status, "{method} {path}: {code}");
            }
            let is_refusal = status.starts_with(['4', '5']) && method != "head";
            assert_eq!(is_refusal, !codes.is_empty(), "{method} {path}: {status}");
            let said =
                codes.iter().all(|code| response["description"].as_str().is_some_and(|text| text.contains(code)));
            assert!(said, "{method} {path}: {status} names its codes in words");
            documented.extend(codes);
        }
    }
    let rest: Vec<_> = TABLE.iter().map(|row| row.name).filter(|name| !documented.contains(name)).collect();
    let (mut rest, mut without) = (rest, NO_ANSWERS.to_vec());
    rest.sort_unstable();
    without.sort_unstable();
    assert_eq!(rest, without);
}

#[test]
fn schemas_of_one_name_are_one_schema_in_both() {
    let of = |document: &'static Value| document["components"]["schemas"].as_object().expect("schemas");
    let shared = of(&ASYNCAPI).iter().filter(|(name, _)| *name != "EventFields");
    assert!(shared.clone().count() > 30);
    for (name, schema) in shared {
        assert_eq!(Some(schema), of(&OPENAPI).get(name), "{name}");
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_component_is_used() {
    for document in [&*OPENAPI, &*ASYNCAPI] {
        let mut references = BTreeSet::new();
        self::references(document, &mut references);
        for reference in &references {
            assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
        }
        for (kind, components) in document["components"].as_object().expect("components") {
            for name in components.as_object().expect("components").keys().filter(|_| kind != "securitySchemes") {
                // No request is known to make the gateway fail.
                let is_used = name == "Refused500" || references.contains(&format!("#/components/{kind}/{name}"));
                assert!(is_used, "nothing uses {kind}/{name}");
            }
        }
    }
}

#[test]
fn every_example_is_as_its_schema_says() {
    let mut checked = 0;
    let mut check = |schema: &Value, example: &Value, what: &str| {
        assert_eq!(fault(schema, example), None, "{what}: {example}");
        checked += 1;
    };
    for (path, method, operation) in operations() {
        let media = |owner: &'static Value| owner["content"].as_object().into_iter().flatten().map(|(_, media)| media);
        let responses = operation["responses"].as_object().expect("responses").values();
        for media in responses.flat_map(|response| media(resolved(response))).chain(media(&operation["requestBody"])) {
            media
                .get("example")
                .into_iter()
                .for_each(|example| check(&media["schema"], example, &format!("{method} {path}")));
        }
    }
    for (name, schema) in OPENAPI["components"]["schemas"].as_object().expect("schemas") {
        schema["examples"].as_array().into_iter().flatten().for_each(|example| check(schema, example, name));
    }
    for (name, message) in ASYNCAPI["components"]["messages"].as_object().expect("messages") {
        let examples = message["examples"].as_array().unwrap_or_else(|| panic!("{name} has no examples"));
        examples.iter().for_each(|example| check(&message["payload"], &example["payload"], name));
    }
    assert!(checked > 60, "{checked} examples are few");
}

/// AsyncAPI's schemas are of draft 7, and OpenAPI's of 2020-12: all are read alike by both.
#[test]
fn every_schema_is_one_of_both_drafts() {
    let components = &OPENAPI["components"];
    for (name, schema) in components["schemas"].as_object().expect("schemas") {
        compile(schema, components);
        let whole = json!({ "allOf": [schema], "components": components });
        jsonschema::draft7::new(&whole).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}
