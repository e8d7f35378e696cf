//! The client's files, as pages of any origin get them.

use crate::harness::TestServer;

const MODULES: [(&str, &str); 3] = [
    ("/presently.js", "text/javascript"),
    ("/presently-room.js", "text/javascript"),
    ("/presently.d.ts", "application/typescript"),
];

#[tokio::test]
async fn a_module_has_a_name_that_stays_and_asks_again_each_time() {
    let server = TestServer::start().await;
    for (path, ty) in MODULES {
        let file = server.get(path).await.expect(200);
        assert_eq!(file.header("content-type"), Some(ty), "{path}");
        assert_eq!(file.header("cache-control"), Some("no-cache"), "{path}");
        assert_eq!(file.header("access-control-allow-origin"), Some("*"), "{path}");
        assert!(file.text().contains("Room"), "{path}");
        let etag = file.header("etag").expect("a tag");
        let again = server.send("GET", path, &[("if-none-match", etag)], "").await.expect(304);
        assert_eq!(again.header("access-control-allow-origin"), Some("*"), "{path}");
        assert!(again.body.is_empty(), "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn by_its_hash_a_module_is_for_ever() {
    let server = TestServer::start().await;
    for (path, ty) in MODULES {
        let file = server.get(path).await.expect(200);
        let hashed = file.header("content-location").expect("its name by hash");
        let (stem, ending) = path.split_once('.').expect("an ending");
        let hash = hashed.strip_prefix(&format!("{stem}.")).and_then(|rest| rest.strip_suffix(&format!(".{ending}")));
        assert_eq!(hash.map(str::len), Some(16), "{hashed}");
        let same = server.get(hashed).await.expect(200);
        assert_eq!(same.body, file.body, "{hashed}");
        assert_eq!(same.header("content-type"), Some(ty), "{hashed}");
        assert_eq!(same.header("cache-control"), Some("public, max-age=31536000, immutable"), "{hashed}");
        assert_eq!(same.header("access-control-allow-origin"), Some("*"), "{hashed}");
    }
    for other in ["/presently.0123456789abcdef.js", "/presently", "/presently.js.js", "/presently.ts"] {
        assert_eq!(server.get(other).await.expect(404).json()["code"], "not_found", "{other}");
    }
    server.stop().await;
}
