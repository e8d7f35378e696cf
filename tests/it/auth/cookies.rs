//! Cookies: made, read, ended, and never another gateway's.

use serde_json::{Value, json};

use super::{teammate, watched};
use crate::harness::{API_KEY, Answer, Client, Keyed, Talker, TestServer, Token, member_path, now};

const ORIGIN: (&str, &str) = ("origin", "http://localhost:4000");
const HOST: (&str, &str) = ("host", "localhost:4000");

/// Makes a cookie; returns name and value, and what else the browser is told.
async fn made(gateway: &Keyed, credential: &str, more: &[(&str, &str)]) -> (String, String) {
    let answer = gateway.bearing(credential).send("POST", "/api/cookie", more, "").await.expect(204);
    let set = answer.header("set-cookie").expect("a cookie").to_owned();
    let (pair, rest) = set.split_once("; ").expect("attributes");
    (pair.to_owned(), rest.to_owned())
}

fn code(answer: &Answer) -> Value {
    answer.json()["code"].clone()
}

#[tokio::test]
async fn a_cookie_stands_for_its_token_until_it_is_ended() {
    let keyed = Keyed::start().await;
    let token = Token::of("ann").may("team-*", &["watch", "sign_in"]).sign();
    let (pair, rest) = made(&keyed, &token, &[HOST, ORIGIN]).await;
    assert!(pair.starts_with("presently-4000="), "{pair}");
    assert_eq!(rest, "Path=/; HttpOnly; SameSite=Strict");
    let client = Client::of(keyed.addr);
    let cookie = ("cookie", pair.as_str());
    client.send("GET", "/api/rooms/team-7/users", &[HOST, cookie], "").await.expect(200);
    let access = client.send("GET", "/api/access", &[HOST, cookie], "").await.expect(200).json();
    assert_eq!(access["sub"], "ann");
    // A change says which page it comes from.
    let path = member_path("team-7", "ann");
    let refused = client.send("PUT", &path, &[HOST, cookie], "").await.expect(403);
    assert_eq!(code(&refused), "cross_site");
    for named in [ORIGIN, ("sec-fetch-site", "same-origin")] {
        let status = client.send("PUT", &path, &[HOST, cookie, named], "").await.status;
        assert!([200, 201].contains(&status), "{named:?}: {status}");
    }
    for foreign in [("origin", "http://localhost:4001"), ("origin", "null"), ("sec-fetch-site", "same-site")] {
        let refused = client.send("PUT", &path, &[HOST, cookie, foreign], "").await.expect(403);
        assert_eq!(code(&refused), "cross_site", "{foreign:?}");
    }
    let stream = client.send("GET", "/api/rooms/team-7/stream?as=ann", &[HOST, cookie], "").await.expect(403);
    assert_eq!(code(&stream), "cross_site");
    let closed = Talker::with(keyed.addr, "room=team-7", &[cookie, HOST]).await.closed().await;
    assert_eq!(closed, (4403, "cross_site".to_owned()), "a page of another site could watch by this WebSocket");
    let session = client.send("POST", "/api/stream", &[HOST, cookie], "").await.expect(403);
    assert_eq!(code(&session), "cross_site");

    client.send("DELETE", "/api/cookie", &[HOST, cookie], "").await.expect(403);
    let ended = client.send("DELETE", "/api/cookie", &[HOST, cookie, ORIGIN], "").await.expect(204);
    let set = ended.header("set-cookie").expect("a deletion");
    assert_eq!(set, "presently-4000=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0");
    let over = client.send("GET", "/api/rooms/team-7/users", &[HOST, cookie], "").await.expect(401);
    assert_eq!((code(&over), over.header("set-cookie")), (json!("token_expired"), Some(set)));
    // Whatever the cookie, the page's HTML comes, and a token counts.
    client.send("GET", "/users", &[HOST, cookie, ("accept", "text/html")], "").await.expect(200);
    keyed.bearing(&token).send("GET", "/api/rooms/team-7/users", &[HOST, cookie], "").await.expect(200);
}

#[tokio::test]
async fn an_unknown_cookie_deletes_itself_and_that_of_another_gateway_is_none() {
    let keyed = watched().await;
    let client = Client::of(keyed.addr);
    let get = |pairs: &'static str| {
        let client = client.clone();
        async move { client.send("GET", "/api/rooms/team-7", &[HOST, ("cookie", pairs)], "").await }
    };
    let own = get("a=b; presently-4000=0123").await.expect(401);
    assert_eq!(code(&own), "token_expired");
    assert!(
        own.header("set-cookie").is_some_and(|set| set.starts_with("presently-4000=;") && set.ends_with("Max-Age=0"))
    );
    assert!(own.json()["retry"] == true && own.json()["field"] == "Cookie", "{own:?}");
    for others in ["presently-4001=0123", "presently=0123", "__Host-presently-443=0123", "session=x"] {
        let answer = get(others).await.expect(200);
        assert_eq!(answer.header("set-cookie"), None, "{others}");
    }
    // Its own among others is found, under whatever name it has.
    let (pair, _) = made(&keyed, &teammate("ann").sign(), &[HOST, ORIGIN]).await;
    let both = format!("presently-4001=0123; {pair}");
    let access = client.send("GET", "/api/access", &[HOST, ("cookie", &both)], "").await.expect(200).json();
    assert_eq!(access["sub"], "ann");
}

#[tokio::test]
async fn a_cookie_over_https_has_another_name_and_the_plain_one_does_not_count() {
    let keyed =
        Keyed::with(|config| config.trusted_proxies = vec!["127.0.0.1".parse::<std::net::IpAddr>().unwrap().into()])
            .await;
    let token = teammate("ann").sign();
    let https = [("host", "app.example"), ("x-forwarded-proto", "https"), ("x-forwarded-for", "127.0.0.9")];
    let (pair, rest) = made(&keyed, &token, &[&https[..], &[("origin", "https://app.example")]].concat()).await;
    assert!(pair.starts_with("__Host-presently-443="), "{pair}");
    assert_eq!(rest, "Path=/; HttpOnly; SameSite=Strict; Secure");
    let client = Client::of(keyed.addr);
    let get = async |pair: &str| {
        let headers = [&https[..], &[("cookie", pair)]].concat();
        client.send("GET", "/api/rooms/team-7/users", &headers, "").await
    };
    get(&pair).await.expect(200);
    let id = pair.split_once('=').expect("a value").1;
    assert_eq!(code(&get(&format!("presently-443={id}")).await.expect(401)), "token_missing");
    let below = [&https[..], &[("origin", "https://app.example"), ("x-forwarded-prefix", "/apps/p")]].concat();
    let (pair, _) = made(&keyed, &token, &below).await;
    assert!(pair.starts_with("__Host-presently-443.apps.p="), "{pair}");
}

#[tokio::test]
async fn a_cookie_ends_with_its_token_and_needs_one() {
    let keyed = Keyed::start().await;
    let client = Client::of(keyed.addr);
    let none = client.send("POST", "/api/cookie", &[HOST, ORIGIN], "").await.expect(401);
    assert_eq!(code(&none), "token_missing");
    let foreign = [HOST, ("origin", "http://evil.example")];
    let refused = keyed.bearing(API_KEY).send("POST", "/api/cookie", &foreign, "").await.expect(403);
    assert_eq!((code(&refused), refused.header("set-cookie")), (json!("cross_site"), None));

    let old = Token::of("ann").may("team-*", &["watch"]).claim("iat", now() - 100).sign();
    let (pair, _) = made(&keyed, &old, &[HOST, ORIGIN]).await;
    let (key, _) = made(&keyed, API_KEY, &[HOST, ORIGIN]).await;
    keyed.backend().send_json("POST", "/api/revocations", &json!({"sub": "ann"})).await.expect(201);
    let revoked = client.send("GET", "/api/rooms/team-7", &[HOST, ("cookie", &pair)], "").await.expect(403);
    assert_eq!(code(&revoked), "revoked");
    let access = client.send("GET", "/api/access", &[HOST, ("cookie", &key)], "").await.expect(200).json();
    assert!(access["api_key"] == true && access["expires_in"].as_u64().is_some_and(|left| left <= 86_400), "{access}");

    let open = TestServer::start().await;
    let answer = open.send("POST", "/api/cookie", &[HOST, ORIGIN], "").await.expect(204);
    assert_eq!(answer.header("set-cookie"), None, "nobody needs one");
}
