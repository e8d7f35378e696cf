//! Chromium, driven through chromedriver. Where one of them is missing, the tests that need them fail; `tests/run`
//! unpacks both where they are not installed.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use fantoccini::elements::Element;
use fantoccini::wd::{Capabilities, WebDriverCompatibleCommand};
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::sleep;
use url::{ParseError, Url};
use warp::http::Method;

use super::{DEADLINE, within};

/// Headless, and talking to nobody but the gateway.
const FLAGS: [&str; 11] = [
    "--headless=new",
    "--window-size=1280,900",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
];

/// Two browsers at a time: tests in browsers wait for most of their time, and more would starve the tests beside them.
static TURN: Semaphore = Semaphore::const_new(2);

/// A program of Debian's packages where `tests/run` unpacked them, or none where they are installed.
fn unpacked(program: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("chromium").join(program);
    path.exists().then_some(path)
}

/// A chromedriver, and the browsers it starts: they stay in its process group and end with it.
struct Driver {
    child: Child,
    url: String,
    _stdout: Lines<BufReader<ChildStdout>>,
}

impl Driver {
    /// All that it leaves behind on the disk, it leaves in `scratch`.
    async fn start(scratch: &Path) -> Self {
        // The port that it takes by chance must be free for IPv4 and IPv6, or it gives up.
        for _ in 0..5 {
            if let Some(driver) = Self::try_start(scratch).await {
                return driver;
            }
        }
        panic!("chromedriver does not run");
    }

    async fn try_start(scratch: &Path) -> Option<Self> {
        let mut command = Command::new(unpacked("usr/bin/chromedriver").unwrap_or("chromedriver".into()));
        command.arg("--port=0").env("TMPDIR", scratch);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let spawned = command.process_group(0).kill_on_drop(true).spawn();
        let mut child = spawned.expect("chromedriver and chromium are installed");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped")).lines();
        while let Some(line) = within("chromedriver's port", stdout.next_line()).await.expect("text") {
            if let Some((_, port)) = line.split_once("started successfully on port ") {
                let url = format!("http://127.0.0.1:{}", port.trim_end_matches('.'));
                return Some(Self { child, url, _stdout: stdout });
            }
        }
        None
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let group = self.child.id().map(|id| format!("-{id}"));
        let killed = group.map(|group| std::process::Command::new("kill").args(["-s", "KILL", "--", &group]).status());
        if !matches!(killed, Some(Ok(status)) if status.success()) {
            eprintln!("a browser may have been left behind");
        }
    }
}

/// A browser with a page in it. Its parts end in this order, also when a test panics.
pub struct Page {
    pub client: Client,
    _driver: Driver,
    _scratch: TempDir,
    _turn: SemaphorePermit<'static>,
}

impl Page {
    pub async fn blank(flags: &[&str]) -> Self {
        let turn = TURN.acquire().await.expect("never closed");
        let scratch = tempfile::tempdir().expect("a directory");
        let driver = Driver::start(scratch.path()).await;
        let profile = format!("--user-data-dir={}", scratch.path().join("profile").display());
        let flags = [&FLAGS, flags, &[profile.as_str()]].concat();
        let mut options = json!({ "args": flags });
        if let Some(chromium) = unpacked("usr/lib/chromium/chromium") {
            options["binary"] = json!(chromium);
        }
        let capabilities = Capabilities::from_iter([("goog:chromeOptions".to_owned(), options)]);
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let connecting = builder.capabilities(capabilities).connect(&driver.url);
        let client = within("chromium", connecting).await.expect("chromium starts");
        Self { client, _driver: driver, _scratch: scratch, _turn: turn }
    }

    pub async fn go(&self, url: &str) {
        within(url, self.client.goto(url)).await.expect("it loads");
    }

    pub async fn run(&self, script: &str) -> Value {
        within(script, self.client.execute(script, vec![])).await.expect("the script runs")
    }

    pub async fn get(&self, expression: &str) -> Value {
        self.run(&format!("return {expression}")).await
    }

    /// Looks again and again, for as long as anything may take here. While a page is still loading its elements
    /// are missing and the script fails: that is one more way of not yet.
    pub async fn until(&self, what: &str, expression: &str) {
        self.until_or_tell(what, expression, "document.body.innerText").await;
    }

    /// The same; in the end it tells the value of another expression.
    pub async fn until_or_tell(&self, what: &str, expression: &str, other: &str) {
        let begun = Instant::now();
        let script = format!("return Boolean({expression})");
        loop {
            let seen = within(what, self.client.execute(&script, vec![])).await;
            if matches!(seen, Ok(Value::Bool(true))) {
                return;
            }
            if begun.elapsed() > DEADLINE {
                panic!("never {what}: {seen:?}; {other} is {}", self.get(other).await);
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn find(&self, css: &str) -> Element {
        within(css, self.client.find(Locator::Css(css))).await.expect("it is in the page")
    }

    pub async fn click(&self, css: &str) {
        within(css, self.find(css).await.click()).await.expect("it can be clicked");
    }

    pub async fn enter(&self, css: &str, text: &str) {
        within(css, self.find(css).await.send_keys(text)).await.expect("it takes keys");
    }

    /// An expression: whether a plot within `css` has drawn something in the colour of this custom property.
    pub fn inked(css: &str, colour: &str) -> String {
        format!(
            "(() => {{
                const [place, probe] = [document.querySelector('{css}'), document.createElement('canvas').getContext('2d')];
                const plot = place.querySelector('canvas');
                probe.fillStyle = getComputedStyle(place).getPropertyValue('{colour}').trim();
                probe.fillRect(0, 0, 1, 1);
                const wanted = new Uint32Array(probe.getImageData(0, 0, 1, 1).data.buffer)[0];
                const drawn = plot.getContext('2d').getImageData(0, 0, plot.width, plot.height).data;
                return new Uint32Array(drawn.buffer).includes(wanted);
            }})()"
        )
    }

    /// Takes the browser off the network, or puts it back.
    pub async fn network(&self, offline: bool) {
        within("the network", self.client.issue_cmd(Network { offline })).await.expect("chromedriver does it");
    }
}

impl Page {
    /// Has the browser claim these features of media.
    pub async fn look(&self, features: &[(&str, &str)]) {
        let features: Vec<_> = features.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
        let command = DevTools { cmd: "Emulation.setEmulatedMedia", params: json!({ "features": features }) };
        within("a look", self.client.issue_cmd(command)).await.expect("chromedriver does it");
    }
}

/// A command of the DevTools protocol, by chromedriver's own command.
#[derive(Debug)]
struct DevTools {
    cmd: &'static str,
    params: Value,
}

impl WebDriverCompatibleCommand for DevTools {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(json!({ "cmd": self.cmd, "params": self.params }).to_string()))
    }
}

/// chromedriver's own command.
#[derive(Debug)]
struct Network {
    offline: bool,
}

impl WebDriverCompatibleCommand for Network {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        base.join(&format!("session/{}/chromium/network_conditions", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        let conditions = json!({ "offline": self.offline, "latency": 0, "throughput": -1 });
        (Method::POST, Some(json!({ "network_conditions": conditions }).to_string()))
    }
}
