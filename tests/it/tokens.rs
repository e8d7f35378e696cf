//! Tokens and their keys: what is refused and why, rotation, key sets at an address, and the commands about tokens.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use presently::{Config, KeyFile};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::harness::signer::{Signer, base64url, claims, now, with};
use crate::harness::{Answer, Binary, Client, Dialogue, KeyServer, Talker, TestServer, within};

/// A folder with files of keys.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Folder(tempfile::tempdir().expect("a folder"))
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, content).expect("a file");
        path
    }

    fn key(&self, signer: &Signer, kid: Option<&str>) -> KeyFile {
        let path = self.write(kid.unwrap_or(signer.alg()), signer.verifying());
        KeyFile { kid: kid.map(str::to_owned), path }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

async fn access(client: &Client, credential: &str) -> Answer {
    client.send("GET", "/api/access", &[("authorization", &format!("Bearer {credential}"))], "").await
}

/// The check that `credential` fails; `good` if none.
async fn check(client: &Client, credential: &str) -> String {
    let answer = access(client, credential).await;
    match answer.status {
        200 => "good".to_owned(),
        401 => answer.json()["check"].as_str().map_or(format!("{:?}", answer.text()), str::to_owned),
        _ => panic!("{answer:?}"),
    }
}

async fn until(what: &str, client: &Client, credential: &str, wanted: &str) {
    let looks = async {
        while check(client, credential).await != wanted {
            sleep(Duration::from_millis(20)).await;
        }
    };
    within(what, looks).await;
}

#[tokio::test]
async fn forgeries_are_refused_with_the_check_that_failed() {
    let (folder, signer, other, rsa) = (Folder::new(), Signer::es256(), Signer::es256(), Signer::all());
    let keys = vec![folder.key(&signer, Some("k")), folder.key(&rsa[1], Some("r"))];
    let gateway = TestServer::with(|config| config.keys = keys).await;
    let good = claims("ann", "team-*");
    let token = signer.token(Some("k"), &good);
    let (message, _) = token.rsplit_once('.').expect("three parts");
    let head = |head: Value| signer.token_of(&head.to_string(), &good.to_string());
    let of = |name: &str, value: Value| signer.token(Some("k"), &with(&good, name, value));
    let none = format!("{}.{}.", base64url(r#"{"alg":"none"}"#), base64url(good.to_string()));
    let hs = Signer::Hs256(rsa[1].verifying()).token(Some("r"), &good);
    for (forgery, failed) in [
        (token.clone(), "good"),
        (none, "alg"),
        (hs, "alg"),
        (other.token(Some("k"), &good), "signature"),
        (format!("{message}.{}", base64url([0; 64])), "signature"),
        (head(json!({"alg": "ES256", "kid": "../../k"})), "kid"),
        (head(json!({"alg": "ES256", "kid": 1})), "kid"),
        (head(json!({"alg": "ES256", "kid": "k", "crit": ["exp"]})), "crit"),
        (format!("{token}=="), "signature"),
        (signer.token_of(r#"{"alg":"ES256","kid":"k","kid":"k"}"#, &good.to_string()), "format"),
        (format!("{token}{}", "A".repeat(8_000)), "format"),
        (signer.token_of(r#"{"alg":"ES256"}"#, &"[".repeat(5_000)), "format"),
        (of("exp", json!(now() + 100_000)), "exp"),
        (of("nbf", json!(now() + 100)), "nbf"),
        (of("aud", json!("other")), "aud"),
        (of("aud", Value::Null), "aud"),
        (of("sub", json!("")), "claims"),
        (of("presently", json!({"rooms": [{"match": "a", "can": ["fly"]}]})), "claims"),
        ("no-such-key".to_owned(), "format"),
    ] {
        assert_eq!(check(&gateway, &forgery).await, failed, "{forgery}");
        let mut talker = Talker::open(gateway.addr, "alive=1").await;
        let answer = talker.ask(json!({"action": "auth", "token": forgery})).await;
        if failed == "good" {
            assert_eq!((&answer["action"], &answer["sub"]), (&json!("ok"), &json!("ann")));
        } else {
            assert_eq!((&answer["code"], &answer["check"]), (&json!("token_invalid"), &json!(failed)), "{answer}");
            assert_eq!(talker.closed().await.0, 4401);
        }
    }
    let expired = with(&with(&good, "exp", json!(now() - 60)), "iat", Value::Null);
    let answer = access(&gateway, &signer.token(Some("k"), &expired)).await.expect(401);
    assert_eq!(answer.json()["code"], "token_expired");
    assert!(answer.header("www-authenticate").is_some_and(|told| told.contains("invalid_token")), "{answer:?}");
    let admin = with(&claims("ops", "*"), "presently", json!({"admin": true}));
    let bearer = format!("Bearer {}", signer.token(None, &admin));
    let refused = gateway.send("GET", "/metrics", &[("authorization", &bearer)], "").await.expect(200);
    assert!(refused.text().contains(r#"presently_tokens_refused_total{check="crit"} 2"#), "{}", refused.text());
}

#[tokio::test]
async fn a_token_that_comes_again_is_verified_once_and_so_is_a_forgery() {
    let (folder, signer) = (Folder::new(), Signer::es256());
    let keys = vec![folder.key(&signer, None)];
    let gateway = TestServer::with(|config| config.keys = keys).await;
    let admin = with(&claims("ops", "*"), "presently", json!({"admin": true}));
    let (admin, good) = (signer.token(None, &admin), signer.token(None, &claims("ann", "*")));
    let forged = Signer::es256().token(None, &claims("ann", "*"));
    let stale = signer.token(None, &with(&claims("ann", "*"), "aud", json!("other")));
    for _ in 0..50 {
        for (token, is) in [(&admin, "good"), (&good, "good"), (&forged, "signature"), (&stale, "aud")] {
            assert_eq!(check(&gateway, token).await, is);
        }
    }
    assert_eq!(verifications_of(&gateway, &admin).await, 3);
}

async fn verifications_of(client: &Client, credential: &str) -> u64 {
    let bearer = format!("Bearer {credential}");
    let answer = client.send("GET", "/api/gateway", &[("authorization", &bearer)], "").await.expect(200);
    answer.json()["token_verifications"].as_u64().expect("a number")
}

/// As Kubernetes replaces a mounted secret: by a link to another folder.
#[tokio::test]
async fn keys_are_replaced_while_the_gateway_runs() {
    let (folder, old, new) = (Folder::new(), Signer::eddsa(), Signer::eddsa());
    let root = folder.0.path();
    let publish = |version: &str, keys: &[Value]| {
        fs::create_dir(root.join(version)).expect("a folder");
        folder.write(&format!("{version}/keys.json"), json!({ "keys": keys }).to_string());
        symlink(root.join(version), root.join("next")).expect("a link");
        fs::rename(root.join("next"), root.join("now")).expect("the link is replaced");
    };
    publish("1", &[old.jwk("old")]);
    let path = root.join("now/keys.json");
    let gateway = TestServer::with(|config| config.keys = vec![KeyFile { kid: None, path: path.clone() }]).await;
    let tokens = [old.token(Some("old"), &claims("ann", "*")), new.token(Some("new"), &claims("bob", "*"))];
    assert_eq!(check(&gateway, &tokens[0]).await, "good");
    assert_eq!(check(&gateway, &tokens[1]).await, "kid");

    let mut talkers = Vec::new();
    for token in [&tokens[0], &tokens[0]] {
        let mut talker = Talker::open(gateway.addr, "").await;
        assert_eq!(talker.ask(json!({"action": "auth", "token": token})).await["action"], "ok");
        talkers.push(talker);
    }
    publish("2", &[old.jwk("old"), new.jwk("new")]);
    until("the new key", &gateway, &tokens[1], "good").await;
    assert_eq!(check(&gateway, &tokens[0]).await, "good", "old and new side by side");
    let mut renewed = talkers.pop().expect("a connection");
    assert_eq!(
        renewed.ask(json!({"action": "auth", "token": new.token(Some("new"), &claims("ann", "*"))})).await["action"],
        "ok"
    );

    publish("3", &[new.jwk("new")]);
    until("the end of the old key", &gateway, &tokens[0], "kid").await;
    assert_eq!(check(&gateway, &tokens[1]).await, "good");
    assert_eq!(talkers.pop().expect("a connection").closed().await, (4401, "token_invalid".to_owned()));
    let answer = renewed.ask(json!({"action": "subscribe", "room": "den"})).await;

    assert_eq!(answer["action"], "ok");
}

#[tokio::test]
async fn sighup_reads_the_keys_and_a_bad_file_changes_nothing() {
    let folder = Folder::new();
    let (one, two) = ("1".repeat(40), "2".repeat(40));
    let path = folder.write("api-keys", &one);
    let gateway = Binary::start(&["--api-key", text(&path)]).await;
    assert_eq!(check(&gateway, &one).await, "good");
    let logged = |what: &'static str| {
        let gateway = &gateway;
        async move {
            let looks = async {
                while !gateway.log().iter().any(|line| line.contains(what)) {
                    sleep(Duration::from_millis(5)).await;
                }
            };
            within(what, looks).await;
        }
    };
    fs::write(&path, "a short one\n").expect("a file");
    gateway.signal("HUP").await;
    logged("the keys stay as they are: --api-key: ").await;
    logged("line 1: an API key has at least 32 bytes").await;
    assert!(gateway.log().iter().all(|line| !line.contains("a short one")));
    assert_eq!(check(&gateway, &one).await, "good");
    fs::write(&path, format!("read {two}\n{one}\n")).expect("a file");
    gateway.signal("HUP").await;
    until("the second key", &gateway, &two, "good").await;
    assert_eq!(check(&gateway, &one).await, "good");
    let bearer = format!("Bearer {two}");
    let refused = gateway.send("PUT", "/api/rooms/den/users/ann", &[("authorization", &bearer)], "").await.expect(403);
    assert_eq!(refused.json()["code"], "not_allowed");
    fs::write(&path, &two).expect("a file");
    gateway.signal("HUP").await;
    until("the end of the first key", &gateway, &one, "format").await;
    let changed = gateway.send("PUT", "/api/rooms/den/users/ann", &[("authorization", &bearer)], "").await;
    assert_eq!(changed.status, 201, "no longer read-only: {changed:?}");
}

/// While 8 callers go on all the time: old, both, new, ten times over.
#[tokio::test]
async fn rotation_refuses_nobody() {
    let (folder, all) = (Folder::new(), (0..3).map(|_| Signer::es256()).collect::<Vec<_>>());
    let set = |from: usize, to: usize| {
        let jwk = |n: usize| all[n % 3].jwk(&format!("k{n}"));
        json!({"keys": (from..to).map(jwk).collect::<Vec<_>>()}).to_string()
    };
    let path = folder.write("keys.json", set(0, 1));
    let gateway = Binary::start(&["--key", text(&path)]).await;
    let token = |n: usize| all[n % 3].token(Some(&format!("k{n}")), &claims("ann", "*"));
    for n in 0..5 {
        fs::write(folder.0.path().join("next"), set(n, n + 2)).expect("a file");
        fs::rename(folder.0.path().join("next"), &path).expect("the file is replaced");
        gateway.signal("HUP").await;
        until("both keys", &gateway, &token(n + 1), "good").await;
        let callers = (0..8).map(|caller| {
            let (client, tokens) = (gateway.client(), [token(n), token(n + 1)]);
            tokio::spawn(async move {
                for round in 0..20 {
                    assert_eq!(check(&client, &tokens[(round + caller) % 2]).await, "good");
                }
            })
        });
        for caller in callers.collect::<Vec<_>>() {
            caller.await.expect("nobody is refused");
        }
    }
}

async fn with_keys_at(server: &KeyServer, change: impl FnOnce(&mut Config)) -> TestServer {
    let url = server.url();
    TestServer::with(|config| {
        config.jwks = Some(url);
        change(config);
    })
    .await
}

#[tokio::test]
async fn keys_at_an_address_are_fetched_and_once_more_for_an_unknown_one() {
    let (server, one, two) = (KeyServer::start().await, Signer::es256(), Signer::rs256_2048());
    server.publish(&[one.jwk("one")]);
    let gateway = with_keys_at(&server, |_| {}).await;
    let (known, new) = (one.token(Some("one"), &claims("ann", "*")), two.token(Some("two"), &claims("bob", "*")));
    until("the first keys", &gateway, &known, "good").await;
    assert_eq!(gateway.get("/readyz").await.status, 200);
    assert_eq!(server.asked(), 1);
    // A crowd with one new key waits for one fetch.
    server.publish(&[json!({"kty": "EC"}), one.jwk("one"), two.jwk("two")]);
    let crowd: Vec<_> = (0..20).map(|_| (Client::of(gateway.addr), new.clone())).collect();
    let crowd = crowd.into_iter().map(|(client, token)| tokio::spawn(async move { check(&client, &token).await }));
    for one in crowd.collect::<Vec<_>>() {
        assert_eq!(one.await.expect("an answer"), "good");
    }
    assert_eq!(server.asked(), 2);
    // Names that anybody can invent cause no further fetch.
    for n in 0..20 {
        assert_eq!(check(&gateway, &one.token(Some(&n.to_string()), &claims("eve", "*"))).await, "kid");
    }
    assert_eq!((server.asked(), check(&gateway, &known).await), (2, "good".to_owned()));
}

/// A client that hangs up takes the fetch from nobody.
#[tokio::test]
async fn a_fetch_outlives_who_asked_for_it() {
    let (server, one, two) = (KeyServer::start().await, Signer::es256(), Signer::es256());
    server.publish(&[one.jwk("one")]);
    let gateway = with_keys_at(&server, |_| {}).await;
    until("the keys", &gateway, &one.token(Some("one"), &claims("ann", "*")), "good").await;
    server.stall();
    let token = two.token(Some("two"), &claims("bob", "*"));
    let client = Client::of(gateway.addr);
    let asking = token.clone();
    let asking = tokio::spawn(async move { check(&client, &asking).await });
    server.was_asked(2).await;
    asking.abort();
    let waiting = Client::of(gateway.addr);
    let second = tokio::spawn(async move { check(&waiting, &token).await });
    assert_eq!(within("the end of the fetch", second).await.expect("an answer"), "kid", "the server stalled");
}

/// Hostile answers: (status, body), or nothing at all.
fn bad_answers() -> Vec<(&'static str, String)> {
    let key = Signer::es256().jwk("k");
    vec![
        ("200 OK", r#"{"keys":[]}"#.to_owned()),
        ("200 OK", "<html>Sorry</html>".to_owned()),
        ("200 OK", json!({"keys": [Signer::hs256().jwk("k")]}).to_string()),
        ("200 OK", json!({"keys": [key], "filling": "x".repeat(70_000)}).to_string()),
        ("200 OK", "[".repeat(60_000)),
        ("302 Found", json!({ "keys": [key] }).to_string()),
        ("500 Internal Server Error", json!({ "keys": [key] }).to_string()),
        ("204 No Content", String::new()),
        ("", String::new()),
    ]
}

#[tokio::test]
async fn without_a_usable_set_the_gateway_is_not_ready_and_tries_again() {
    for (status, body) in bad_answers() {
        let (server, one) = (KeyServer::start().await, Signer::es256());
        server.says(status, &body);
        let gateway = with_keys_at(&server, |_| {}).await;
        let known = one.token(Some("one"), &claims("ann", "*"));
        assert_eq!(check(&gateway, &known).await, "keys", "{status} {body:.80}");
        let unready = gateway.get("/readyz").await.expect(503);
        assert_eq!(unready.json()["code"], "not_ready");
        assert_eq!(gateway.get("/healthz").await.status, 200);
        server.publish(&[one.jwk("one")]);
        until("the keys", &gateway, &known, "good").await;
        assert_eq!(gateway.get("/readyz").await.status, 200);
    }
}

#[tokio::test]
async fn only_a_usable_set_replaces_another() {
    for (status, body) in bad_answers() {
        let (server, one) = (KeyServer::start().await, Signer::es256());
        server.publish(&[one.jwk("one")]);
        let gateway = with_keys_at(&server, |_| {}).await;
        let known = one.token(Some("one"), &claims("ann", "*"));
        let ready = async {
            while gateway.get("/readyz").await.status != 200 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        within("the first fetch", ready).await;
        server.says(status, &body);
        assert_eq!(check(&gateway, &one.token(Some("other"), &claims("eve", "*"))).await, "kid");
        assert_eq!(server.asked(), 2, "{status} {body:.80}");
        assert_eq!(check(&gateway, &known).await, "good", "{status} {body:.80}");
        assert_eq!(gateway.get("/readyz").await.status, 200);
    }
}

#[tokio::test]
async fn an_address_over_tls_needs_a_known_authority() {
    let (folder, one) = (Folder::new(), Signer::eddsa());
    let ca = folder.0.path().join("ca.pem");
    let server = KeyServer::over_tls(&ca).await;
    server.publish(&[one.jwk("one")]);
    let token = one.token(None, &claims("ann", "*"));
    let strange = with_keys_at(&server, |_| {}).await;
    assert_eq!(check(&strange, &token).await, "keys");
    assert_eq!((strange.get("/readyz").await.status, server.asked()), (503, 0));
    let gateway = with_keys_at(&server, |config| config.jwks_ca = Some(ca)).await;
    until("the keys", &gateway, &token, "good").await;
}

#[tokio::test]
async fn a_start_with_a_bad_key_exits_2_and_says_no_content() {
    let folder = Folder::new();
    let private = Signer::es256();
    for (option, content, said) in [
        ("--key", b"hunter2".to_vec(), "has 7 bytes; a secret for HS256 has at least 32"),
        ("--key", private.signing(), "is a private key, and verifying needs the public one"),
        ("--key", private.public_der(), "is DER; write the key as PEM, as a JWK set, or as raw bytes"),
        ("--key", b"{\"keys\":[]}".to_vec(), "has no usable key"),
        ("--key", vec![b'x'; 70_000], "has at most 65536 bytes"),
        ("--api-key", b"hunter2\n".to_vec(), "line 1: an API key has at least 32 bytes"),
        ("--api-key", vec![0xFF; 40], "not text"),
    ] {
        let path = folder.write("file", &content);
        let finished = Binary::run(&[option, text(&path)], &[]).await;
        assert_eq!(finished.code, Some(2), "{finished:?}");
        let all = finished.stdout + &finished.stderr;
        assert!(all.contains(said) && all.contains(text(&path)) && !all.contains("hunter2"), "{all}");
        assert_eq!(all.lines().count(), 1, "{all}");
    }
    for (args, said) in [
        (["--key", "/nowhere/key"], "cannot read the keys in /nowhere/key"),
        (["--jwks", "http://keys.example/set"], "--jwks is https, or http on this machine"),
        (["--jwks", "https://user:word@keys.example/"], "--jwks names no host, or a user"),
        (["--jwks", "ftp://localhost/"], "--jwks is https, or http on this machine"),
    ] {
        let finished = Binary::run(&args, &[]).await;
        assert!(finished.code == Some(2) && finished.stderr.contains(said), "{finished:?}");
        assert!(!finished.stderr.contains("word"), "{finished:?}");
    }
}

#[tokio::test]
async fn the_commands_make_and_explain_tokens_of_each_kind_of_key() {
    let folder = Folder::new();
    for signer in Signer::all() {
        let (private, public) = (folder.write("private", signer.signing()), folder.write("public", signer.verifying()));
        let (private, public) = (format!("k={}", text(&private)), format!("k={}", text(&public)));
        let make = |more: &[&str]| {
            let args: Vec<String> = [&["token", "--key", &private, "--sub", "a*"][..], more]
                .concat()
                .iter()
                .map(|arg| (*arg).to_owned())
                .collect();
            async move { Binary::run(&args.iter().map(String::as_str).collect::<Vec<_>>(), &[]).await }
        };
        let made = make(&[
            "--room",
            "by/{sub}",
            "--room",
            "doc/*:watch",
            "--can",
            "join,count",
            "--info",
            r#"{"name":"Ann"}"#,
        ])
        .await;
        assert_eq!((made.code, made.stderr.as_str()), (Some(0), ""), "{}", signer.alg());
        let key = KeyFile { kid: Some("k".to_owned()), path: folder.0.path().join("public") };
        let gateway = TestServer::with(|config| config.keys = vec![key]).await;
        let token = made.stdout.trim();
        let told = access(&gateway, token).await.expect(200).json();
        let rooms =
            json!([{"match": "by/a*", "can": ["count", "join"]}, {"match": "doc/*", "can": ["count", "watch"]}]);
        assert_eq!((&told["sub"], &told["rooms"]), (&json!("a*"), &rooms));
        let bearer = format!("Bearer {token}");
        let other = gateway.send("GET", "/api/rooms/by%2Fabc", &[("authorization", &bearer)], "").await;
        assert_eq!(other.status, 403, "a * in a subject is no star: {other:?}");

        let said = Binary::run_with_input(&["check-token", "--key", &public], &format!("Bearer {token}\n")).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        for words in [
            "a good token of a*",
            "may count, join in the room by/a*",
            "the rooms that begin with doc/",
            r#"{"name":"Ann"}"#,
        ] {
            assert!(said.stdout.contains(words), "{words}: {}", said.stdout);
        }
        let (message, _) = token.rsplit_once('.').expect("three parts");
        let said = Binary::run_with_input(&["check-token", "--key", &public], &format!("{message}.AAAA")).await;
        assert!(said.code == Some(1) && said.stderr.contains("check signature"), "{said:?}");
        for (more, wrong) in [
            (&["--room", "den"][..], "--room den needs verbs"),
            (&["--room", "a*b:watch"], "a * in a pattern is its last character"),
            (&["--can", "watch"], "--can needs a --room"),
            (&[], "the token would allow nothing"),
            (&["--room", "den:watch", "--info", "[]"], "--info: info is not a JSON object"),
            (&["--room", "den:watch", "--ttl", "2days"], "10ms to 1day"),
        ] {
            let finished = make(more).await;
            assert!(finished.code == Some(2) && finished.stderr.contains(wrong), "{wrong}: {finished:?}");
            assert_eq!(finished.stdout, "");
        }
    }
    let public = folder.write("public", Signer::es256().verifying());
    let finished = Binary::run(&["token", "--key", text(&public), "--sub", "ann", "--room", "a:join"], &[]).await;
    assert!(finished.stderr.contains("is a public key; signing needs the private one"), "{finished:?}");
    let finished = Binary::run(&["check-token"], &[]).await;
    assert!(finished.code == Some(2) && finished.stderr.contains("needs --key"), "{finished:?}");
}

#[tokio::test]
async fn no_key_and_no_token_is_logged_at_any_level() {
    let (folder, secret, signer, server) = (Folder::new(), Signer::hs256(), Signer::es256(), KeyServer::start().await);
    server.publish(&[signer.jwk("one")]);
    let path = folder.write("secret", secret.verifying());
    let mut gateway = Binary::start(&["--log", "trace", "--key", text(&path), "--jwks", &server.url()]).await;
    let of = |signer: &Signer, kid, sub| signer.token(kid, &claims(sub, "*"));
    let known = of(&signer, Some("one"), "ann");
    until("the keys", &gateway, &known, "good").await;
    let stranger = Signer::es256();
    let tokens = [
        known,
        of(&secret, None, "bob"),
        of(&stranger, Some("two"), "eve"),
        of(&stranger, Some("one"), "eve"),
        of(&stranger, None, "e\ne"),
    ];
    for token in &tokens {
        check(&gateway, token).await;
        let mut talker = Talker::open(gateway.addr, "").await;
        talker.ask(json!({"action": "auth", "token": token})).await;
    }
    fs::write(&path, Signer::hs256().verifying()).expect("a file");
    gateway.signal("HUP").await;
    until("the end of the secret", &gateway, &tokens[1], "signature").await;
    gateway.signal("TERM").await;
    gateway.exit().await;
    let secret = String::from_utf8(secret.verifying()).expect("ASCII");
    let parts = tokens.iter().flat_map(|token| token.split('.').skip(1)).chain([secret.trim()]);
    for part in parts {
        let told = gateway.log().into_iter().find(|line| line.contains(part));
        assert_eq!(told, None);
    }
}
