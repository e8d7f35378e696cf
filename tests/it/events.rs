//! The last events of a room, and refusals as a page.

use serde_json::{Value, json};

use crate::harness::{Binary, TestServer, offset};

fn told(answer: &Value) -> Vec<String> {
    let events = answer["events"].as_array().expect("events").iter();
    events
        .map(|event| {
            format!("{} {}", event["action"].as_str().expect("an action"), event["user"].as_str().expect("a user"))
        })
        .collect()
}

#[tokio::test]
async fn the_last_events_of_a_room_are_told_as_streams_tell_them() {
    let server = TestServer::start().await;
    server.sign_in_as("den", "ann", &json!({ "status": "here" })).await;
    server.sign_in("den", "bob").await;
    let last = server.sign_out("den", "ann").await;
    server.sign_in("lobby", "cyd").await;
    let all = server.get("/api/rooms/den/events").await.expect(200).json();
    assert_eq!(told(&all), ["add ann", "add bob", "del ann"]);
    assert_eq!((&all["room"], &all["cursor"], &all["count"]), (&json!("den"), &json!(last), &json!(1)));
    assert_eq!(all["events"][2]["cursor"], json!(last));
    assert_eq!(all["events"][0]["meta"], json!({ "status": "here" }));
    assert_eq!(all["events"][2]["reason"], json!("signed_out"));
    assert!(all["from"].as_str() < all["events"][0]["at"].as_str(), "nothing is missing");
    let two = server.get("/api/rooms/den/events?limit=2").await.expect(200).json();
    assert_eq!(told(&two), ["add bob", "del ann"]);
    assert_eq!(two["from"], all["events"][0]["at"], "what is cut off is said");
    let none = server.get("/api/rooms/attic/events").await.expect(200).json();
    assert_eq!((told(&none), &none["count"]), (vec![], &json!(0)));
    for query in ["limit=0", "limit=1001", "limit=x", "after=1"] {
        let refused = server.get(&format!("/api/rooms/den/events?{query}")).await.expect(400).json();
        assert_eq!(refused["code"], "bad_parameter", "{query}");
    }
    server.send("POST", "/api/rooms/den/events", &[], "").await.expect(405);
    server.stop().await;
}

#[tokio::test]
async fn events_that_are_forgotten_are_not_claimed_to_be_there() {
    let gateway = Binary::start(&["--history", "3"]).await;
    for n in 0..5 {
        gateway.sign_in("den", &format!("user-{n}")).await;
    }
    let events = gateway.get("/api/rooms/den/events").await.expect(200).json();
    assert_eq!(told(&events), ["add user-2", "add user-3", "add user-4"]);
    assert_eq!(events["count"], json!(5));
    assert!(events["from"].as_str() <= events["events"][0]["at"].as_str());
    let page = gateway.get("/api/rooms/den/users/user-0").await.expect(200).json();
    assert!(page["joined"].as_str().map(|joined| &joined[..19]) <= events["from"].as_str().map(|from| &from[..19]));
}

#[tokio::test]
async fn a_long_answer_ends_early_with_the_newest() {
    let server = TestServer::start().await;
    let meta = json!({ "x": "x".repeat(1_000) });
    for n in 0..2 {
        let crowd =
            (0..600).map(|user| json!({ "user": format!("{n}-{user:0110}"), "meta": meta })).collect::<Vec<_>>();
        server.batch("den", &json!({ "add": crowd })).await;
    }
    let answer = server.get("/api/rooms/den/events?limit=1000").await.expect(200);
    assert!(answer.text().len() < 1024 * 1024 + 4_096, "{}", answer.text().len());
    let events = answer.json();
    let list = events["events"].as_array().expect("events");
    assert!((500..1_000).contains(&list.len()), "{}", list.len());
    let places: Vec<_> = list.iter().map(|event| offset(event["cursor"].as_str().expect("a cursor"))).collect();
    assert!(places.is_sorted() && list.last().expect("one")["cursor"] == events["cursor"]);
    server.stop().await;
}

const BROWSER: (&str, &str) = ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8");

#[tokio::test]
async fn a_bad_address_is_a_page_for_browsers_and_a_problem_for_others() {
    let server = TestServer::start().await;
    for (path, status, code, home) in [
        ("/users?room=%20%20", 400, "bad_name", "./users"),
        ("/users?room=%3Cimg%20src%3Dx%3E&room=b", 400, "bad_parameter", "./users"),
        ("/users?token=x", 400, "bad_parameter", "./users"),
        ("/nothing/here", 404, "not_found", "../users"),
        ("/api/rooms/%E2%80%AE/users/ann", 400, "bad_name", "../../../../users"),
    ] {
        let page = server.send("GET", path, &[BROWSER], "").await.expect(status);
        assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"), "{path}");
        assert!(page.header("content-security-policy").is_some_and(|policy| policy.starts_with("default-src 'self'")));
        assert!(page.header("vary").is_some_and(|vary| vary.contains("accept")), "{path}");
        let text = page.text();
        assert!(
            text.contains(code) && text.contains(&format!("href=\"{home}\"")) && !text.contains("<img src=x"),
            "{text}"
        );
        for headers in [&[][..], &[("accept", "*/*")], &[("accept", "application/json, text/html;q=0.5")]] {
            let problem = server.send("GET", path, headers, "").await.expect(status);
            assert_eq!(problem.header("content-type"), Some("application/problem+json"), "{path} {headers:?}");
            assert_eq!(problem.json()["code"], code);
        }
    }
    let form = [BROWSER, ("content-type", "application/x-www-form-urlencoded")];
    let page = server.send("POST", "/api/rooms/den/login", &form, "user=%20").await.expect(400);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"), "a form without script");
    server.stop().await;
}
