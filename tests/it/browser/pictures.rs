//! Pictures of the page at work.

use std::{env, fs, path::PathBuf};

use serde_json::json;

use crate::harness::{Binary, Page, within};

/// Also a way to take one: `PRESENTLY_SCREENSHOT=page.png cargo test screenshot`.
#[tokio::test]
async fn a_screenshot_shows_the_page_at_work() {
    let gateway = Binary::start(&[]).await;
    let page = Page::of(&gateway).await;
    let people = [
        ("🦊 fox", json!({})),
        ("Ada", json!({})),
        ("Barbara", json!({ "on": "phone" })),
        ("Edith", json!({})),
        ("Frances", json!({})),
        ("Grace", json!({ "status": "away" })),
        ("Hedy", json!({})),
        ("Jean", json!({})),
        ("Katherine", json!({})),
        ("Margaret", json!({})),
        ("Radia", json!({ "status": "here" })),
        ("Sophie", json!({})),
        ("Zoë", json!({})),
        ("נעמי", json!({})),
    ];
    for (name, meta) in &people {
        gateway.sign_in_as("lobby", name, meta).await;
    }
    page.until_users(&people.each_ref().map(|(name, _)| *name)).await;
    page.until("at rest", "document.getAnimations().length === 0").await;
    let picture = within("a screenshot", page.client.screenshot()).await.expect("a screenshot");
    assert!(picture.starts_with(b"\x89PNG"));
    let scratch = tempfile::tempdir().expect("a directory");
    let path = env::var_os("PRESENTLY_SCREENSHOT").map_or(scratch.path().join("page.png"), PathBuf::from);
    fs::write(&path, picture).expect("a place for the screenshot");
}
