//! The file of `--config`: options and variables win over it, mistakes are told with their line, and `presently config`
//! shows what is in force.

use std::fs;

use clap::CommandFactory;
use presently::Config;
use tempfile::NamedTempFile;

use crate::harness::{Binary, Finished};

fn file(text: impl AsRef<[u8]>) -> NamedTempFile {
    let file = NamedTempFile::new().expect("a file");
    fs::write(file.path(), text).expect("a text");
    file
}

fn path(file: &NamedTempFile) -> &str {
    file.path().to_str().expect("UTF-8")
}

/// What `presently config` prints.
async fn printed(args: &[&str], vars: &[(&str, &str)]) -> String {
    let finished = Binary::run(&[args, &["config"]].concat(), vars).await;
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{finished:?}");
    finished.stdout
}

/// Checks that the program does not start with a file, and says so in the one sentence `PATH<about>`.
async fn refuses(text: impl AsRef<[u8]>, about: &str) {
    let file = file(text);
    for command in [&[][..], &["config"], &["health"]] {
        let finished = Binary::run(&[&["--config", path(&file)], command].concat(), &[]).await;
        let Finished { code, stdout, stderr } = &finished;
        assert_eq!((*code, stdout.as_str()), (Some(2), ""), "{finished:?}");
        assert_eq!(stderr.trim_end(), format!("presently: {}{about}", path(&file)));
    }
}

#[tokio::test]
async fn a_gateway_starts_with_a_file_and_serves_as_it_says() {
    let file = file("# Ann is there\nlisten = [\"127.0.0.1:0\"]\nuser = [\"ann\", \"山田\"]\nmax-members = 2\n");
    for (args, vars) in [(&["--config", path(&file)][..], None), (&[], Some(("PRESENTLY_CONFIG", path(&file))))] {
        let gateway = Binary::start_with(args, vars.as_slice()).await;
        assert_eq!(gateway.held("lobby").await.users.into_keys().collect::<Vec<_>>(), ["ann", "山田"]);
        assert_eq!(gateway.send("PUT", "/api/rooms/lobby/users/bob", &[], "").await.status, 503);
        let addr = gateway.addr.to_string();
        assert_eq!(Binary::run(&["health", "--listen", &addr, "--config", path(&file)], &[]).await.code, Some(0));
    }
}

#[tokio::test]
async fn options_win_over_variables_and_both_over_the_file() {
    let file = file("grace = \"1s\"\nuser = [\"ann\"]\nopen = true\nmax-rooms = 7\n");
    let from_file = printed(&["--config", path(&file)], &[]).await;
    let place = |line: usize| format!("{}:{line}", path(&file));
    let all = printed(
        &["--config", path(&file), "--grace", "3s", "--open=false"],
        &[("PRESENTLY_GRACE", "2s"), ("PRESENTLY_USER", "bob,cyd")],
    )
    .await;
    let by_variable = printed(&[], &[("PRESENTLY_CONFIG", path(&file)), ("PRESENTLY_GRACE", "2s")]).await;
    for (printed, line) in [
        (&from_file, format!("# --config {}, from: option", path(&file))),
        (&from_file, format!("grace = \"1s\" # {}", place(1))),
        (&from_file, format!("user = [\"ann\"] # {}", place(2))),
        (&from_file, format!("open = true # {}", place(3))),
        (&from_file, "listen = [\"127.0.0.1:4000\"] # default".to_owned()),
        (&from_file, "# admin is not set".to_owned()),
        (&all, "grace = \"3s\" # option".to_owned()),
        (&all, "user = [\"bob\", \"cyd\"] # PRESENTLY_USER".to_owned()),
        (&all, "open = false # option".to_owned()),
        (&all, format!("max-rooms = 7 # {}", place(4))),
        (&by_variable, format!("# --config {}, from: PRESENTLY_CONFIG", path(&file))),
        (&by_variable, "grace = \"2s\" # PRESENTLY_GRACE".to_owned()),
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line:?} in {printed}");
    }
}

#[tokio::test]
async fn secrets_are_not_printed() {
    let secret = "hunter2Hunter2hunter2hunter2Hunter2";
    let printed = printed(&[], &[("PRESENTLY_KEY_VALUE", secret), ("PRESENTLY_API_KEY_VALUE", secret)]).await;
    assert!(printed.contains("# PRESENTLY_KEY_VALUE is set, and secret"), "{printed}");
    assert!(printed.contains("# PRESENTLY_API_KEY_VALUE is set, and secret"), "{printed}");
    assert!(!printed.contains(secret), "{printed}");
}

/// Checks that the program does not start with the arguments, and says why in one sentence without the secret.
async fn stays(args: &[&str], vars: &[(&str, &str)], why: &str) {
    let finished = Binary::run(&[&["--listen", "127.0.0.1:0"], args].concat(), vars).await;
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), ""), "{finished:?}");
    assert_eq!(finished.stderr.trim_end(), format!("presently: {why}"));
}

#[tokio::test]
async fn options_of_a_cluster_that_are_a_mistake_are_one_sentence() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let data = data.to_str().expect("UTF-8");
    let alone = "needs --cluster, the servers of the log that several gateways share";
    let password = ("PRESENTLY_CLUSTER_PASSWORD", "open-sesame");
    for (args, vars, why) in [
        (
            &["--cluster", "a:4222"][..],
            &[][..],
            "--cluster: an address begins with nats://, tls://, redis://, rediss://, valkey:// or valkeys://",
        ),
        (
            &["--cluster", "redis://ann:open-sesame@a"],
            &[],
            "--cluster: an address with a password is seen by all users of the machine: use a file",
        ),
        (
            &[],
            &[("PRESENTLY_CLUSTER", "nats://open-sesame@a")],
            "--cluster: an address with a user or a token is seen by all users of the machine: use a credentials file",
        ),
        (
            &["--cluster", "nats://a", "--cluster-name", "a.b"],
            &[],
            "--cluster-name: a name has 1 to 32 letters of ASCII, digits, - and _",
        ),
        (
            &["--cluster", "nats://a", "--cluster-credentials", data],
            &[],
            &format!("--cluster-credentials: {data}: No such file or directory (os error 2)"),
        ),
        (&["--cluster-name", "shop"], &[], &format!("--cluster-name {alone}")),
        (&["--cluster-replicas", "3"], &[], &format!("--cluster-replicas {alone}")),
        (&[], &[password], &format!("PRESENTLY_CLUSTER_PASSWORD {alone}")),
        (
            &["--cluster", "nats://a"],
            &[password],
            "PRESENTLY_CLUSTER_PASSWORD is for Redis; NATS takes --cluster-credentials",
        ),
        (
            &["--cluster", "nats://a", "--data", data, "--takeover"],
            &[],
            "--cluster does not go with --takeover: the other gateways of the cluster serve its clients meanwhile",
        ),
        (
            &["--cluster", "nats://a", "--data", data, "--sync", "always"],
            &[],
            "--cluster does not go with --sync, which is about the journal of a gateway alone: the servers of --cluster keep each change",
        ),
    ] {
        stays(args, vars, why).await;
    }
    assert!(!fs::exists(data).expect("a folder"), "nothing is made before the options are judged");
    let finished = Binary::run(&["--cluster", "nats://a", "--cluster-replicas", "6"], &[]).await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.stderr.contains("6 is not in 1..=5"), "{finished:?}");
}

#[tokio::test]
async fn options_of_a_cluster_are_printed_without_secrets() {
    let file = file("cluster = \"nats://a:4222,b:4222\"\ncluster-replicas = 5\n");
    let vars = [("PRESENTLY_CLUSTER_NAME", "shop"), ("PRESENTLY_CLUSTER_PASSWORD", "open-sesame")];
    let shown = printed(&["--config", path(&file), "--cluster-ca", "/ca.pem"], &vars).await;
    for line in [
        format!("cluster = \"nats://a:4222,b:4222\" # {}:1", path(&file)),
        format!("cluster-replicas = 5 # {}:2", path(&file)),
        "cluster-name = \"shop\" # PRESENTLY_CLUSTER_NAME".to_owned(),
        "cluster-ca = \"/ca.pem\" # option".to_owned(),
        "# cluster-credentials is not set".to_owned(),
        "# PRESENTLY_CLUSTER_PASSWORD is set, and secret".to_owned(),
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line:?} in {shown}");
    }
    assert!(!shown.contains("sesame"), "{shown}");
    for url in ["redis://ann:open-sesame@a", "nats://open-sesame@a", "http://ann:open-sesame@a"] {
        for (args, vars, origin) in
            [(&["--cluster", url][..], None, "option"), (&[], Some(("PRESENTLY_CLUSTER", url)), "PRESENTLY_CLUSTER")]
        {
            let shown = printed(args, vars.as_slice()).await;
            let line = format!("# cluster is set ({origin}), but it may have a password, which does not belong there");
            assert!(shown.lines().any(|shown| shown == line) && !shown.contains("sesame"), "{line:?} in {shown}");
        }
        let help = Binary::run(&["--help"], &[("PRESENTLY_CLUSTER", url), vars[1]]).await;
        assert!(help.stdout.contains("PRESENTLY_CLUSTER") && !help.stdout.contains("sesame"), "{help:?}");
    }
    let shown = printed(&["--cluster", "redis://ann@a"], &[]).await;
    assert!(shown.contains("\ncluster = \"redis://ann@a\" # option\n"), "{shown}");
}

#[tokio::test]
async fn a_mistake_in_the_file_is_one_sentence_with_its_line() {
    for (text, about) in [
        ("\nmax-romms = 5\n", ":2: unknown key max-romms; probably max-rooms"),
        ("max_rooms = 5\n", ":1: unknown key max_rooms; probably max-rooms"),
        (
            "config = \"x\"\n",
            ":1: unknown key config; keys are the names of long options, such as max-rooms, see presently --help",
        ),
        ("history = 0\n", ":1: history: 0 is not in 1..=1000000"),
        ("history = -1\n", ":1: history: write a number from 0 on"),
        ("\n\ngrace = \"2days\"\n", ":3: grace: a time here is 10ms to 1day"),
        ("grace = 5\n", ":1: grace: write one text in quotes"),
        ("gather = \"51ms\"\n", ":1: gather: write 0s to 50ms, such as 10ms"),
        ("max-rooms = true\n", ":1: max-rooms: write one number, or text in quotes where it has a unit"),
        ("max-rooms = [5]\n", ":1: max-rooms: write one number, or text in quotes where it has a unit"),
        ("history-bytes = \"2KiB\"\n", ":1: history-bytes: write a size of at least 64KiB, such as 2MiB"),
        ("open = \"yes\"\n", ":1: open: write true or false"),
        ("open = 1\n", ":1: open: write true or false"),
        ("user = \"ann\"\n", ":1: user: write a list, as [\"…\"]"),
        ("user = [\n  \"ann\",\n  7,\n]\n", ":3: user: write each entry in quotes"),
        (
            "listen = [\n  \"127.0.0.1:0\",\n  \"4000\",\n]\n",
            ":3: listen: the address is missing; probably 127.0.0.1:4000, or :4000 for all addresses",
        ),
        ("log-format = \"xml\"\n", ":1: log-format: write one of auto, plain, json"),
        ("log = \"presently=loud\"\n", ":1: log: "),
        ("grace = \"1s\"\ngrace = \"2s\"\n", ":2: duplicate key"),
        ("[grace]\nx = 1\n", ":1: grace: write one text in quotes and no table"),
        ("grace.x = 1\n", ":1: grace: write one text in quotes and no table"),
        ("grace = 1s\n", ":1: "),
        ("grace\n", ":1: "),
    ] {
        if about.ends_with(": ") {
            // The parser's own words.
            let file = file(text);
            let finished = Binary::run(&["--config", path(&file)], &[]).await;
            assert_eq!(finished.code, Some(2), "{finished:?}");
            assert!(finished.stderr.starts_with(&format!("presently: {}{about}", path(&file))), "{finished:?}");
            assert_eq!(finished.stderr.trim_end().lines().count(), 1, "{finished:?}");
        } else {
            refuses(text, about).await;
        }
    }
    refuses(b"grace = \"1s\"\nlog = \"\xff\"\n", ":2: not UTF-8").await;
}

#[tokio::test]
async fn a_file_that_is_absent_or_too_long_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let absent = folder.path().join("absent.toml");
    let absent = absent.to_str().expect("UTF-8");
    for (path, why) in [
        (absent, "No such file or directory (os error 2)"),
        (folder.path().to_str().expect("UTF-8"), "Is a directory (os error 21)"),
        ("/dev/zero", "the file has more than 256 KiB"),
    ] {
        let finished = Binary::run(&["--config", path], &[]).await;
        assert_eq!(finished.code, Some(2), "{finished:?}");
        assert_eq!(finished.stderr.trim_end(), format!("presently: --config: {path}: {why}"));
    }
}

#[tokio::test]
async fn a_key_file_that_the_file_names_is_used() {
    let key = file("JgfUVmHu9mH8Bvu0oE0RVbE2GeVZ4m6xw2KzF3xOqQk9hT1s");
    let file = file(format!("listen = [\"127.0.0.1:0\"]\napi-key = [\"{}\"]\n", path(&key)));
    let gateway = Binary::start_with(&["--config", path(&file)], &[]).await;
    assert_eq!(gateway.get("/api/rooms").await.status, 401);
}

#[test]
fn every_option_has_a_row_in_operating() {
    let operating = include_str!("../../src/OPERATING.md");
    for arg in Config::command().get_arguments() {
        let row = format!("\n| `--{}` | ", arg.get_long().expect("a long option"));
        assert_eq!(operating.matches(&row).count(), 1, "{row:?}");
    }
}

/// An empty list is valid in a file, since sockets may be inherited.
#[tokio::test]
async fn a_gateway_without_an_address_does_not_start() {
    let file = file("listen = []\n");
    let finished = Binary::run(&["--config", path(&file)], &[]).await;
    let told = "presently: --listen: there is no address to listen on";
    assert_eq!((finished.code, finished.stderr.trim_end()), (Some(2), told), "{finished:?}");
}
