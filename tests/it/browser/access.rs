//! The page for those who see it otherwise, hear it, or have only a keyboard.

use std::env;
use std::path::Path;

use fantoccini::key::Key;
use serde_json::{Value, json};
use tokio::process::Command;

use super::{USERS, crowd};
use crate::harness::{Binary, Page, within};

const AXE: &str = "axe-core-4.11.0";
const AXE_SHA512: &str = "8a561a9c453cbf1c417b1a4977c716338125490ab841cb422ca8a1d1349f8c87\
                          c24137b21ffeb356b98825f2cfaca4ca2516e21be71f9d96d02230252661758d";
const DARK: [&str; 1] = ["--blink-settings=preferredColorScheme=0"];
const FOCUSED: &str = "document.activeElement.closest('li')?.dataset.user";

/// The checker's script. It is fetched beside other build products when it is not there yet.
pub(super) async fn axe() -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(AXE);
    let script = folder.join("package/axe.min.js");
    if !script.exists() {
        tokio::fs::create_dir_all(&folder).await.expect("a directory");
        let registry = ["npm_config_registry", "NPM_CONFIG_REGISTRY"].into_iter().find_map(|name| env::var(name).ok());
        let registry = registry.unwrap_or("https://registry.npmjs.org".into());
        let url = format!("{}/axe-core/-/{AXE}.tgz", registry.trim_end_matches('/'));
        let fetch =
            r#"curl -fsSL --retry 3 -o axe.tgz "$0" && echo "$1  axe.tgz" | sha512sum --check && tar -xzf axe.tgz"#;
        let mut shell = Command::new("sh");
        shell.args(["-c", fetch, &url, AXE_SHA512]).current_dir(&folder);
        let fetched = within(&url, shell.output()).await.expect("a shell");
        assert!(fetched.status.success(), "{url}: {}", String::from_utf8_lossy(&fetched.stderr));
    }
    tokio::fs::read_to_string(script).await.expect("it was fetched")
}

/// What axe-core finds wrong, each as its rule and the element.
pub(super) async fn violations(page: &Page, axe: &str) -> Value {
    page.run(axe).await;
    let script = "const done = arguments[arguments.length - 1];
        axe.run().then(({ violations }) => done(violations.flatMap(({ id, nodes }) =>
            nodes.map(({ html, failureSummary }) => `${id}: ${html}: ${failureSummary}`))));";
    within("axe", page.client.execute_async(script, vec![])).await.expect("axe runs")
}

#[tokio::test]
async fn axe_finds_nothing_wrong_in_light_and_dark() {
    let axe = axe().await;
    let gateway = Binary::start(&["--user", "ann", "--user", "bob"]).await;
    gateway.sign_in_as("lobby", "cyd", &json!({ "status": "away" })).await;
    for flags in [&[][..], &DARK] {
        let page = Page::at(&gateway, "/users", flags).await;
        let dark = page.get("matchMedia('(prefers-color-scheme: dark)').matches").await;
        assert_eq!(dark, json!(!flags.is_empty()), "the scheme asked for");
        page.click("li[data-user=ann] .open").await;
        page.click("#connect summary").await;
        page.until("told", "document.querySelector('.holds').textContent === 'a sign-in'").await;
        page.until("at rest", "document.getAnimations().length === 0").await;
        assert_eq!(violations(&page, &axe).await, json!([]), "open, {flags:?}");
        page.enter("#search", "nobody").await;
        assert_eq!(violations(&page, &axe).await, json!([]), "nobody found, {flags:?}");
    }
}

#[tokio::test]
async fn the_arrow_keys_go_through_the_list_and_tab_leaves_it() {
    let gateway = crowd(2_000).await;
    let page = Page::of(&gateway).await;
    page.until_heading("2\u{202f}000 members").await;
    page.enter("#sort", &Key::Tab).await;
    assert_eq!(page.get(FOCUSED).await, json!("member-0000"));
    for (key, user) in [
        (Key::Down, "member-0001"),
        (Key::Down, "member-0002"),
        (Key::Up, "member-0001"),
        (Key::End, "member-1999"),
        (Key::Up, "member-1998"),
        (Key::Home, "member-0000"),
    ] {
        page.press(key).await;
        page.until(user, &format!("{FOCUSED} === '{user}'")).await;
        let row = "document.activeElement.getBoundingClientRect()";
        let view = "document.getElementById('scroller').getBoundingClientRect()";
        page.until("in view", &format!("{row}.top >= {view}.top - 1 && {row}.bottom <= {view}.bottom + 1")).await;
    }
    page.press(Key::Tab).await;
    page.until("its Sign out", "document.activeElement.matches('li[data-user=member-0000] .out')").await;
    page.press(Key::Tab).await;
    page.until("past the list", "document.activeElement.closest('#users') === null").await;
}

#[tokio::test]
async fn the_focus_stays_with_its_row_out_of_view_and_goes_to_the_next_when_that_one_goes() {
    let gateway = crowd(2_000).await;
    let page = Page::of(&gateway).await;
    page.until_heading("2\u{202f}000 members").await;
    page.run("document.querySelector('li[data-user=member-0002] .open').focus()").await;
    page.run("document.getElementById('scroller').scrollTop = 56 * 1500").await;
    page.until("scrolled", &format!("{USERS}.includes('member-1500')")).await;
    assert_eq!(page.get(FOCUSED).await, json!("member-0002"));
    gateway.sign_out("lobby", "member-0002").await;
    page.until("the next", &format!("{FOCUSED} === 'member-0003'")).await;
}

#[tokio::test]
async fn what_happens_is_told_politely_and_a_flood_as_numbers() {
    let gateway = Binary::start(&["--user", "ann"]).await;
    let page = Page::of(&gateway).await;
    let script = "window.told = []; const news = document.getElementById('news');
        new MutationObserver(() => told.push(news.textContent)).observe(news, { childList: true })";
    page.run(script).await;
    for n in 0..60 {
        gateway.sign_in("lobby", &format!("guest-{n}")).await;
    }
    page.until("told", "told.at(-1)?.endsWith(' came. 61 members here.')").await;
    let told = page.get("told").await;
    assert!(told.as_array().expect("a list").len() < 20, "one by one nobody could listen: {told}");
    assert_eq!(page.get("document.getElementById('news').ariaLive").await, json!("polite"));
}

#[tokio::test]
async fn who_wants_less_motion_gets_none() {
    let gateway = Binary::start(&["--user", "ann"]).await;
    let page = Page::at(&gateway, "/users", &["--force-prefers-reduced-motion"]).await;
    let script = "window.moved = 0;
        for (const type of ['animationstart', 'transitionrun']) addEventListener(type, () => { moved += 1 }, true)";
    page.run(script).await;
    for user in ["aaron", "bob"] {
        gateway.sign_in("lobby", user).await;
    }
    page.until_users(&["aaron", "ann", "bob"]).await;
    gateway.sign_out("lobby", "aaron").await;
    page.until_users(&["ann", "bob"]).await;
    page.run("return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))").await;
    assert_eq!(page.get("moved").await, json!(0));
}
