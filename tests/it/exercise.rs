//! The wire of the exercise (a login tracker), unchanged to the byte.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{Answer, Conn, Mirror, Sse, SseEvent, TestServer, offset, quoted, raw, within};

/// Names with characters that are special in a path, a page or a JSON text.
const NAMES: [&str; 10] =
    ["Ωμέγα", "山田", "👩‍👧", "a/b", "a+b c", "<b>bold</b>", "\"quoted\" & 'so'", "%2F", "...", "back\\slash?#;=&"];

/// The users that a page lists, as a browser would read them.
fn listed(page: &str) -> Vec<String> {
    let items = page.split("<li data-user=\"").skip(1);
    items.map(|item| unescaped(item.split('"').next().expect("a quoted value"))).collect()
}

/// The text of an attribute, after decoding numeric references and the five named references.
fn unescaped(escaped: &str) -> String {
    let (mut text, mut rest) = (String::new(), escaped);
    while let Some((before, reference)) = rest.split_once('&') {
        let (name, after) = reference.split_once(';').expect("a whole reference");
        let sign = match name {
            "lt" => '<',
            "gt" => '>',
            "amp" => '&',
            "quot" => '"',
            "apos" => '\'',
            _ => name.strip_prefix('#').and_then(|code| char::from_u32(code.parse().ok()?)).expect("a reference"),
        };
        text.push_str(before);
        text.push(sign);
        rest = after;
    }
    text + rest
}

async fn login(server: &TestServer, user: &str) -> Answer {
    server.get(&format!("/api/login/{}", quoted(user))).await.expect(302)
}

async fn logout(server: &TestServer, user: &str) -> Answer {
    server.get(&format!("/api/logout/{}", quoted(user))).await.expect(302)
}

async fn names(server: &TestServer) -> Vec<String> {
    server.held("lobby").await.users.into_keys().collect()
}

/// A stream that is up to date with the room: the head and `retry:` have arrived.
async fn stream(server: &TestServer, headers: &[(&str, &str)]) -> Sse {
    let mut stream = Sse::open(server.addr, "/user-stream", headers).await;
    within("retry", stream.until(|stream| stream.retry.is_some())).await;
    stream
}

async fn next(stream: &mut Sse) -> SseEvent {
    within("an event", stream.next()).await.expect("the stream goes on")
}

#[tokio::test]
async fn the_root_redirects_to_the_users() {
    let server = TestServer::start().await;
    assert_eq!(server.get("/").await.expect(302).header("location"), Some("/users"));
}

#[tokio::test]
async fn login_and_logout_by_get_redirect_to_the_users() {
    let server = TestServer::start().await;
    assert_eq!(login(&server, "yay").await.header("location"), Some("/users"));
    assert_eq!(names(&server).await, ["yay"]);
    assert_eq!(logout(&server, "yay").await.header("location"), Some("/users"));
    assert!(names(&server).await.is_empty());
}

#[tokio::test]
async fn the_users_given_at_start_are_members() {
    let users = ["ann", "bob", "ann"].map(|user| user.parse().expect("a name"));
    let server = TestServer::with(|config| config.users = users.to_vec()).await;
    assert_eq!(names(&server).await, ["ann", "bob"]);
}

#[tokio::test]
async fn the_stream_is_unchanged_to_the_byte() {
    let server = TestServer::start().await;
    let mut stream = stream(&server, &[]).await;
    login(&server, "yay").await;
    let added = server.cursor("lobby").await;
    logout(&server, "yay").await;
    let gone = server.cursor("lobby").await;
    next(&mut stream).await;
    next(&mut stream).await;
    let retry = stream.retry.expect("it began with retry");
    let expected = format!(
        "retry: {retry}\n\n\
         id: {added}\ndata: {{\"action\":\"add\",\"user\":\"yay\"}}\n\n\
         id: {gone}\ndata: {{\"action\":\"del\",\"user\":\"yay\"}}\n\n"
    );
    assert_eq!(stream.text, expected);
}

#[tokio::test]
async fn a_fresh_stream_begins_with_the_next_event() {
    let server = TestServer::start().await;
    login(&server, "before").await;
    let mut stream = stream(&server, &[]).await;
    login(&server, "after").await;
    assert_eq!(next(&mut stream).await.data, r#"{"action":"add","user":"after"}"#);
}

/// A past bug: an EventSource that was cut before the first event missed the events until it was back.
#[tokio::test]
async fn an_event_source_can_resume_before_the_first_event() {
    let server = TestServer::start().await;
    login(&server, "before").await;
    for accept in ["text/event-stream", "text/html;q=0.5, Text/Event-Stream;q=0.9, */*;q=0.1"] {
        let here = server.cursor("lobby").await;
        let mut source = stream(&server, &[("Accept", accept)]).await;
        let place = next(&mut source).await;
        // An event type of its own, which an `onmessage` handler does not see.
        assert_eq!((place.event.as_deref(), place.id.as_deref()), (Some("cursor"), Some(&*here)));
        assert_eq!(place.data, format!(r#"{{"action":"cursor","room":"lobby","cursor":"{here}"}}"#));
        drop(source);
        login(&server, accept).await;
        let mut back = stream(&server, &[("Accept", accept), ("Last-Event-ID", &here)]).await;
        assert_eq!(next(&mut back).await.data, json!({"action": "add", "user": accept}).to_string());
    }
}

#[tokio::test]
async fn readers_of_lines_get_the_exercise_alone() {
    let server = TestServer::start().await;
    for headers in [&[][..], &[("Accept", "*/*")], &[("Accept", "text/*, application/json")]] {
        let mut lines = stream(&server, headers).await;
        login(&server, "yay").await;
        assert_eq!(next(&mut lines).await.data, r#"{"action":"add","user":"yay"}"#);
        logout(&server, "yay").await;
    }
}

#[tokio::test]
async fn only_real_changes_are_events_and_there_is_no_update() {
    let server = TestServer::start().await;
    let mut stream = stream(&server, &[]).await;
    logout(&server, "yay").await;
    login(&server, "yay").await;
    login(&server, "yay").await;
    server.sign_in_as("lobby", "yay", &json!({"status": "away"})).await;
    logout(&server, "yay").await;
    logout(&server, "yay").await;
    login(&server, "end").await;
    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(next(&mut stream).await.data);
    }
    let expected = [("add", "yay"), ("del", "yay"), ("add", "end")];
    assert_eq!(told, expected.map(|(action, user)| format!(r#"{{"action":"{action}","user":"{user}"}}"#)));
}

#[tokio::test]
async fn users_with_names_of_any_language_and_sign_come_and_go() {
    let server = TestServer::start().await;
    let mut stream = stream(&server, &[]).await;
    for name in NAMES {
        login(&server, name).await;
        let told = json!(name);
        assert_eq!(next(&mut stream).await.data, format!(r#"{{"action":"add","user":{told}}}"#));
        assert_eq!(names(&server).await, [name]);
        logout(&server, name).await;
        assert_eq!(next(&mut stream).await.data, format!(r#"{{"action":"del","user":{told}}}"#));
    }
}

#[tokio::test]
async fn a_plus_is_a_plus_in_a_path_and_a_space_in_a_form() {
    let server = TestServer::start().await;
    server.get("/api/login/a+b").await.expect(302);
    assert_eq!(names(&server).await, ["a+b"]);
    let form = [("content-type", "application/x-www-form-urlencoded")];
    server.send("POST", "/api/login", &form, "user=c+d%2Be").await.expect(204);
    assert_eq!(names(&server).await, ["a+b", "c d+e"]);
    server.send("POST", "/api/logout", &form, "user=a%2Bb").await.expect(204);
    assert_eq!(names(&server).await, ["c d+e"]);
}

#[tokio::test]
async fn unquoted_utf_8_in_a_path_is_accepted() {
    let server = TestServer::start().await;
    raw(server.addr, "GET /api/login/émile HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect(302);
    assert_eq!(names(&server).await, ["émile"]);
}

#[tokio::test]
async fn login_by_post_is_answered_with_204_or_a_redirect_by_the_accept_header() {
    let server = TestServer::start().await;
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let form = "application/x-www-form-urlencoded";
    for (accept, status) in [("*/*", 204), ("application/json", 204), (browser, 303), ("text/html;q=0", 204)] {
        for (path, body) in
            [("/api/login/ann", ""), ("/api/login", "user=ann"), ("/api/logout/ann", ""), ("/api/logout", "user=ann")]
        {
            let headers = [("accept", accept), ("content-type", form)];
            let headers = if body.is_empty() { &headers[..1] } else { &headers };
            let answer = server.send("POST", path, headers, body).await.expect(status);
            assert_eq!(answer.header("location"), (status == 303).then_some("/users"), "{path} {accept}");
            assert_eq!(names(&server).await.len(), usize::from(path.starts_with("/api/login")), "{path} {accept}");
        }
    }
}

#[tokio::test]
async fn unknown_query_parameters_are_ignored() {
    let server = TestServer::start().await;
    server.get("/api/login/ann?utm_source=x&utm_source=y").await.expect(302);
    server.get("/users?theme=dark").await.expect(200);
    server.send("GET", "/users?theme=dark&limit=1", &[("accept", "application/json")], "").await.expect(200);
    let mut stream = Sse::open(server.addr, "/user-stream?theme=dark", &[]).await;
    within("retry", stream.until(|stream| stream.retry.is_some())).await;
    assert_eq!(names(&server).await, ["ann"]);
}

#[tokio::test]
async fn a_page_lists_the_users_as_text_whatever_their_names() {
    let server = TestServer::start().await;
    for name in NAMES {
        login(&server, name).await;
    }
    let page = server.get("/users").await.expect(200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(listed(page.text()), names(&server).await);
    assert!(page.text().contains("<ul id=\"users\""), "{}", page.text());
    assert!(!page.text().contains("<b>bold"), "a name became markup");
}

#[tokio::test]
async fn a_page_shows_the_first_500_of_many_users() {
    let server = TestServer::start().await;
    let users: Vec<_> = (0..501).map(|n| json!({"user": format!("u{n:03}")})).collect();
    server.batch("lobby", &json!({ "add": users })).await;
    let page = server.get("/users").await.expect(200);
    let listed = listed(page.text());
    assert_eq!((listed.len(), listed.last().map(String::as_str)), (500, Some("u499")));
}

/// A past bug: 500 members with long `meta` made a page of 4 MiB.
#[tokio::test]
async fn a_page_of_members_with_long_meta_or_info_ends_earlier() {
    for field in ["meta", "info"] {
        let server = TestServer::start().await;
        let long = json!({ "a": "\"".repeat(500) });
        let user = |n| json!({"user": format!("{n:03}{}", "'".repeat(125)), field: long});
        server.batch("lobby", &json!({ "add": (0..500).map(user).collect::<Vec<_>>() })).await;
        let page = server.get("/users").await.expect(200);
        let shown = listed(page.text()).len();
        assert!(shown > 100 && page.body.len() < 1 << 20, "{field}: {shown} users in {} bytes", page.body.len());
        assert!(page.text().contains(&format!("and {} more", 500 - shown)));
    }
}

#[tokio::test]
async fn a_page_is_revalidated_before_reuse_and_runs_only_the_gateways_scripts() {
    let server = TestServer::start().await;
    let page = server.get("/users").await.expect(200);
    assert_eq!(page.header("cache-control"), Some("no-cache"));
    assert_eq!(page.header("vary").map(str::to_lowercase), Some("accept, accept-encoding".to_owned()));
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'self'") && !policy.contains("unsafe"), "{policy}");
}

#[tokio::test]
async fn the_users_are_json_if_the_accept_header_prefers_json() {
    let server = TestServer::start().await;
    login(&server, "ann").await;
    let same = server.get("/api/rooms/lobby/users").await.expect(200).json();
    for (accept, json) in [
        ("application/json", true),
        ("text/html;q=0.5, application/json", true),
        ("application/json, text/html;q=0.9", true),
        ("text/*;q=0.2, application/*;q=0.7", true),
        ("application/json;q=0.5, text/html", false),
        ("application/json;q=0", false),
        ("*/*", false),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", false),
        ("image/png", false),
    ] {
        let answer = server.send("GET", "/users", &[("accept", accept)], "").await.expect(200);
        let expected = if json { "application/json" } else { "text/html; charset=utf-8" };
        assert_eq!(answer.header("content-type"), Some(expected), "{accept}");
        let vary = answer.header("vary").map(str::to_lowercase).expect("Vary");
        assert!(vary.split(", ").any(|name| name == "accept"), "{accept}: {vary}");
        assert!(!json || answer.json() == same, "{accept}");
    }
}

#[tokio::test]
async fn the_json_of_the_users_is_paged_like_a_rooms() {
    let server = TestServer::start().await;
    for name in ["ann", "bob", "cyd"] {
        login(&server, name).await;
    }
    let accept = [("accept", "application/json")];
    let page = server.send("GET", "/users?limit=1&after=ann", &accept, "").await.expect(200).json();
    assert_eq!(
        (&page["users"][0]["user"], &page["users"][1], &page["count"]),
        (&json!("bob"), &json!(null), &json!(3))
    );
}

#[tokio::test]
async fn the_users_of_another_room_are_shown_on_request() {
    let server = TestServer::start().await;
    server.sign_in("lobby", "ann").await;
    server.sign_in("team 7/a", "bob").await;
    let path = "/users?room=team+7%2Fa";
    assert_eq!(listed(server.get(path).await.expect(200).text()), ["bob"]);
    let json = server.send("GET", path, &[("accept", "application/json")], "").await.expect(200).json();
    assert_eq!(json, server.get("/api/rooms/team%207%2Fa/users").await.expect(200).json());
    assert_eq!(server.get("/users?room=..").await.expect(400).json()["code"], "bad_name");
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let answer = server.send("POST", "/api/rooms/team%207%2Fa/login", &form, "user=cyd").await.expect(303);
    assert_eq!(answer.header("location"), Some("/users?room=team%207%2Fa"));
    server.send("POST", "/api/rooms/team%207%2Fa/logout", &form, "user=bob").await.expect(303);
    assert_eq!(listed(server.get(path).await.expect(200).text()), ["cyd"]);
    assert_eq!(names(&server).await, ["ann"]);
}

#[tokio::test]
async fn a_page_without_an_accept_header_is_a_page() {
    let server = TestServer::start().await;
    let answer = raw(server.addr, "GET /users HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect(200);
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
}

#[tokio::test]
async fn the_stream_resumes_after_the_last_event_id() {
    let server = TestServer::start().await;
    let since = server.sign_in("lobby", "ann").await;
    server.sign_in_as("lobby", "ann", &json!({"an": "update"})).await;
    login(&server, "bob").await;
    logout(&server, "ann").await;
    let mut stream = stream(&server, &[("Last-Event-ID", &since)]).await;
    assert_eq!(next(&mut stream).await.data, r#"{"action":"add","user":"bob"}"#);
    let last = next(&mut stream).await;
    assert_eq!((last.data.as_str(), last.event), (r#"{"action":"del","user":"ann"}"#, None));
    assert_eq!(last.id, Some(server.cursor("lobby").await));
}

#[tokio::test]
async fn a_stream_that_cannot_resume_begins_with_the_set_under_a_separate_event_type() {
    let server = TestServer::with(|config| config.history = 2).await;
    let old = server.sign_in("lobby", "ann").await;
    for name in ["bob", "cyd", "dee"] {
        login(&server, name).await;
    }
    let other = server.sign_in("den", "eve").await;
    for unknown in ["nonsense", "k3f.17", &format!("{old}9"), &old, &other] {
        let mut stream = stream(&server, &[("Last-Event-ID", unknown)]).await;
        let event = next(&mut stream).await;
        assert_eq!(event.event.as_deref(), Some("snapshot"), "{unknown}");
        assert_eq!(event.id, Some(server.cursor("lobby").await), "{unknown}");
        let mut mirror = Mirror::of("lobby");
        mirror.apply(&serde_json::from_str(&event.data).expect("a JSON text"));
        assert_eq!(mirror.names(), ["ann", "bob", "cyd", "dee"], "{unknown}");
    }
}

#[tokio::test]
async fn an_empty_last_event_id_is_none() {
    let server = TestServer::start().await;
    login(&server, "before").await;
    let mut stream = stream(&server, &[("Last-Event-ID", "")]).await;
    login(&server, "after").await;
    assert_eq!(next(&mut stream).await.data, r#"{"action":"add","user":"after"}"#);
}

/// Applies an event, or a part of a snapshot, as the page of the exercise did.
fn apply(users: &mut BTreeSet<String>, event: &SseEvent) {
    let told: Value = serde_json::from_str(&event.data).expect("a JSON text");
    let user = |told: &Value| told["user"].as_str().expect("a name").to_owned();
    if event.event.as_deref() == Some("snapshot") {
        if told["part"] == 0 {
            users.clear();
        }
        users.extend(told["users"].as_array().expect("users").iter().map(user));
    } else if told["action"] == "add" {
        assert!(users.insert(user(&told)), "add only of who is absent: {told}");
    } else {
        assert!(users.remove(&user(&told)), "del only of who is present: {told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_of_the_exercise_skips_events_and_ends_with_the_right_set() {
    let server = TestServer::with(|config| config.history = 16).await;
    let mut stream = Sse::over(Conn::narrow(server.addr).await, "/user-stream", &[]).await;
    let names: Vec<_> = (0..5_000).map(|n| format!("{n}{}", "x".repeat(100))).collect();
    let add: Vec<_> = names.iter().map(|name| json!({ "user": name })).collect();
    for _ in 0..4 {
        server.batch("lobby", &json!({ "add": add })).await;
        server.batch("lobby", &json!({ "del": names })).await;
    }
    let end = server.sign_in("lobby", "end").await;
    let (mut users, mut events) = (BTreeSet::new(), 0);
    read_until(&mut stream, &end, |event| {
        apply(&mut users, event);
        events += 1;
    })
    .await;
    assert!(events < 40_000, "it had all {events} events");
    assert_eq!(users.into_iter().collect::<Vec<_>>(), ["end"]);
}

#[tokio::test]
async fn an_exercise_reader_that_fell_behind_gets_no_id_before_the_last_event() {
    let server = TestServer::with(|config| config.history = 4).await;
    let mut stream = stream(&server, &[]).await;
    // One batch, so that even a quick reader sees only the last four events.
    let add: Vec<_> = (0..20).map(|n| json!({"user": format!("u{n}")})).collect();
    let end = server.batch("lobby", &json!({ "add": add })).await;
    let mut users = BTreeSet::new();
    read_until(&mut stream, &end, |event| apply(&mut users, event)).await;
    assert_eq!(users.into_iter().collect::<Vec<_>>(), names(&server).await);
}

/// Reads up to the cursor. No `id:` may come twice, since each `id:` is a place to resume from.
async fn read_until(stream: &mut Sse, end: &str, mut each: impl FnMut(&SseEvent)) {
    let mut here = 0;
    while here < offset(end) {
        let event = next(stream).await;
        each(&event);
        if let Some(id) = &event.id {
            assert!(offset(id) > here, "{id} comes twice");
            here = offset(id);
        }
    }
}
