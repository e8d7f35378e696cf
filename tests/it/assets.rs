//! What the page is made of: small, and fetched once.

use std::io::Read;

use flate2::read::GzDecoder;
use serde_json::json;

use crate::harness::{Answer, TestServer};

/// What the page's own files weigh at most on their way to a browser, all together and compressed.
const BUDGET: usize = 100_000;
const GZIP: [(&str, &str); 1] = [("accept-encoding", "gzip, br")];

fn unpacked(answer: &Answer) -> Vec<u8> {
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    let mut plain = Vec::new();
    GzDecoder::new(&answer.body[..]).read_to_end(&mut plain).expect("gzip");
    plain
}

/// What a page asks for: all that it links to but the documentation, and the script that comes later. The page is at the root here.
fn links(page: &str) -> Vec<String> {
    let quoted = page.split('"').filter(|part| part.starts_with("assets/") && !part.ends_with(".md"));
    let mut links: Vec<_> = quoted.map(|link| format!("/{link}")).collect();
    let folder = links[0].rsplit_once('/').expect("a folder").0.to_owned();
    links.push(format!("{folder}/vendor/uPlot.iife.min.js"));
    links.sort_unstable();
    links.dedup();
    links
}

#[tokio::test]
async fn the_page_and_all_it_is_made_of_are_compressed_and_small() {
    let server = TestServer::start().await;
    let users: Vec<_> =
        (0..500).map(|n| json!({"user": format!("somebody-{n}"), "meta": {"status": "here"}})).collect();
    server.batch("lobby", &json!({ "add": users })).await;
    let plain = server.get("/users").await.expect(200);
    let page = server.send("GET", "/users", &GZIP, "").await.expect(200);
    assert_eq!(unpacked(&page), plain.body);
    assert!(page.body.len() < plain.body.len() / 8, "{} of {} bytes", page.body.len(), plain.body.len());
    let mut weight = page.body.len();
    let links = links(plain.text());
    assert!(links.len() > 15, "{links:?}");
    for link in links {
        let small = server.send("GET", &link, &GZIP, "").await.expect(200);
        let large = server.get(&link).await.expect(200);
        assert_eq!(unpacked(&small), large.body, "{link}");
        assert_ne!(small.header("etag"), large.header("etag"), "{link}");
        weight += small.body.len();
    }
    assert!(weight < BUDGET, "{weight} bytes");
}

#[tokio::test]
async fn files_named_by_their_build_may_be_kept_for_ever_and_others_not() {
    let server = TestServer::start().await;
    for link in links(server.get("/users").await.expect(200).text()) {
        let file = server.get(&link).await.expect(200);
        assert_eq!(file.header("cache-control"), Some("public, max-age=31536000, immutable"), "{link}");
    }
    for path in ["/assets/app.js", "/assets/0123456789abcdef/app.js", "/assets/PROTOCOL.md"] {
        let file = server.get(path).await.expect(200);
        assert_eq!(file.header("cache-control"), Some("no-cache"), "{path}");
        let etag = file.header("etag").expect("a tag");
        assert!(server.send("GET", path, &[("if-none-match", etag)], "").await.expect(304).body.is_empty(), "{path}");
        let gzip = [GZIP[0], ("if-none-match", etag)];
        server.send("GET", path, &gzip, "").await.expect(200);
    }
    for path in [
        "/assets/",
        "/assets/nope.js",
        "/assets/0123456789abcdef/nope.js",
        "/assets/app.js/app.js",
        "/assets/index.html",
    ] {
        server.get(path).await.expect(404);
    }
}

/// A proxy may serve the page below a path prefix, where an address from the root leads elsewhere.
#[tokio::test]
async fn every_address_in_the_page_is_relative() {
    let server = TestServer::start().await;
    server.sign_in("lobby", "ann").await;
    for path in ["/users", "/users?room=team%207%2Fa"] {
        let page = server.get(path).await.expect(200);
        let addresses = |attribute: &str| {
            let values = page.text().split(attribute).skip(1).filter_map(|rest| rest.split('"').next());
            values.map(str::to_owned).collect::<Vec<_>>()
        };
        let all = [" href=\"", " src=\"", " action=\""].map(addresses).concat();
        assert!(all.len() > 20, "{all:?}");
        for address in all {
            assert!(!address.starts_with('/') && !address.contains("://"), "{path} has {address}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn examples_for_backends_are_not_served() {
    let server = TestServer::start().await;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/web/examples");
    let names: Vec<_> =
        std::fs::read_dir(folder).expect(folder).map(|entry| entry.expect("an entry").file_name()).collect();
    assert!(names.len() >= 4, "{names:?}");
    for name in names {
        server.get(&format!("/assets/examples/{}", name.to_str().expect("UTF-8"))).await.expect(404);
    }
}
