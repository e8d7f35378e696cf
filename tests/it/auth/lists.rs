//! Lists and counts: only of rooms that the caller may count, and all of them.

use serde_json::{Value, json};

use crate::harness::{Client, Keyed, READ_KEY, Token, grant, member_path};

/// Rooms of one to four members.
async fn with_rooms(anyone: &[&str]) -> Keyed {
    let keyed = Keyed::with(|config| config.anyone = anyone.iter().map(|text| grant(text)).collect()).await;
    for (room, members) in [("doc/1", 3), ("doc/2", 1), ("lobby", 4), ("team-7", 2), ("team-70", 1)] {
        let add: Vec<_> = (0..members).map(|n| json!({"user": format!("u{n}")})).collect();
        keyed.backend().batch(room, &json!({ "add": add })).await;
    }
    keyed
}

/// All rooms of a list, page by page, and the total of the last page.
async fn listed(client: &Client, query: &str) -> (String, Value) {
    let (mut rooms, mut after) = (Vec::new(), String::new());
    loop {
        let page = client.get(&format!("/api/rooms?{query}&after={after}")).await.expect(200).json();
        for room in page["rooms"].as_array().expect("rooms") {
            rooms.push(format!("{}:{}", room["room"].as_str().expect("a name"), room["count"]));
        }
        match page["next"].as_str() {
            Some(next) => after = crate::harness::quoted(next),
            None => return (rooms.join(" "), page["total"].clone()),
        }
    }
}

#[tokio::test]
async fn lists_and_totals_leave_out_what_one_may_not_count() {
    let keyed = with_rooms(&["lobby:count"]).await;
    let some = Token::of("ann").may("doc/*", &["count"]).may("team-7", &["watch"]).may("team-70", &["join"]);
    let overlapping = Token::of("ann").may("doc/1", &["count"]).may("doc/*", &["watch"]).may("doc/1*", &["count"]);
    let ann = keyed.bearing(&some.sign());
    let total = |rooms: u64, members: u64| json!({"rooms": rooms, "members": members});
    for limit in [1, 2, 1_000] {
        for (client, query, rooms, sum) in [
            (&ann, "", "doc/1:3 doc/2:1 team-7:2", Value::Null),
            (&ann, "total=1", "doc/1:3 doc/2:1 team-7:2", total(3, 6)),
            (&ann, "order=count", "doc/1:3 team-7:2 doc/2:1", total(3, 6)),
            (&ann, "prefix=team-&total=1", "team-7:2", total(1, 2)),
            (&ann, "prefix=doc/2&order=count", "doc/2:1", total(1, 1)),
            (&ann, "prefix=lobby&total=1", "", total(0, 0)),
            (&keyed.bearing(&overlapping.sign()), "total=1", "doc/1:3 doc/2:1", total(2, 4)),
            (&keyed.bearing(&Token::of("ann").sign()), "total=1", "", total(0, 0)),
            (&Client::of(keyed.addr), "total=1", "lobby:4", total(1, 4)),
        ] {
            let told = listed(client, &format!("limit={limit}&{query}")).await;
            assert_eq!(told, (rooms.to_owned(), sum), "{query:?}, {limit} a page");
        }
        let all = "doc/1:3 doc/2:1 lobby:4 team-7:2 team-70:1";
        for credential in [READ_KEY.to_owned(), Token::of("ops").admin().sign()] {
            let told = listed(&keyed.bearing(&credential), &format!("limit={limit}&total=1")).await;
            assert_eq!(told, (all.to_owned(), total(5, 11)));
        }
    }
}

#[tokio::test]
async fn counts_of_other_rooms_are_null_whether_they_exist_or_not() {
    let keyed = with_rooms(&[]).await;
    let ann = keyed.bearing(&Token::of("ann").may("doc/*", &["count"]).sign());
    let asked = json!({"rooms": ["doc/1", "lobby", "doc/none", "none"]});
    let counts = ann.send_json("POST", "/api/counts", &asked).await.expect(200).json();
    let told = |room: &str, count: Value| json!({"room": room, "count": count});
    let expected =
        [told("doc/1", json!(3)), told("lobby", Value::Null), told("doc/none", json!(0)), told("none", Value::Null)];
    assert_eq!(counts["counts"], json!(expected));
    // A prefix is for all of its rooms, also for those that are still to come.
    for (prefix, status) in [("doc/", 200), ("doc/1", 200), ("doc", 403), ("", 403), ("lobby", 403)] {
        ann.send("HEAD", &format!("/api/counts?prefix={prefix}"), &[], "").await.expect(status);
    }
    let exact = keyed.bearing(&Token::of("ann").may("lobby", &["count"]).sign());
    exact.send("HEAD", "/api/counts?prefix=lobby", &[], "").await.expect(403);
}

#[tokio::test]
async fn holds_are_shown_to_those_who_manage_or_administer() {
    let keyed = with_rooms(&[]).await;
    let path = member_path("team-7", "u0");
    let of = |token: Token| token.may("team-*", &["watch"]);
    let managing = Token::of("ann").may("team-7", &["manage"]);
    for (token, shown) in [
        (of(Token::of("ann")), false),
        (of(Token::of("u0")).may("team-*", &["sign_in"]), false),
        (managing, true),
        (of(Token::of("ops")).admin(), true),
    ] {
        let member = keyed.bearing(&token.sign()).get(&path).await.expect(200).json();
        assert_eq!((&member["user"], member.get("holds").is_some()), (&json!("u0"), shown), "{member}");
    }
}
