//! The program: options, variables, exit codes, and one sentence for each mistake.

use std::net::TcpListener;
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::harness::{Binary, Finished, within};

/// Checks the exit code and one sentence about the mistake on standard error, without internals of the program.
fn complains(finished: &Finished, code: i32, about: &str) {
    assert_eq!(finished.code, Some(code), "{finished:?}");
    assert!(finished.stderr.contains(about), "{about:?} in {finished:?}");
    assert!(!finished.stderr.contains("panicked") && !finished.stderr.contains("RUST_BACKTRACE"), "{finished:?}");
    assert!(finished.stdout.is_empty(), "{finished:?}");
}

#[tokio::test]
async fn help_and_version_are_printed_and_exit_0() {
    let help = Binary::run(&["--help"], &[]).await;
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
    for option in ["--listen", "--user", "PRESENTLY_LISTEN", "PRESENTLY_USER", "127.0.0.1:4000"] {
        assert!(help.stdout.contains(option), "{option} in {}", help.stdout);
    }
    let version = Binary::run(&["--version"], &[]).await;
    assert_eq!((version.code, version.stdout.trim()), (Some(0), concat!("presently ", env!("CARGO_PKG_VERSION"))));
}

#[tokio::test]
async fn every_option_is_a_variable_too() {
    let help = Binary::run(&["--help"], &[]).await.stdout;
    let options = help.split_whitespace().filter_map(|word| word.strip_prefix("--"));
    let options =
        options.map(|option| option.trim_end_matches([',', '.', ';', ':', ')']).trim_end_matches("[=<BOOL>]"));
    let options: Vec<_> = options.filter(|option| !["help", "version"].contains(option)).collect();
    assert!(options.len() > 5, "{help}");
    for option in options {
        let variable = format!("PRESENTLY_{}", option.to_uppercase().replace('-', "_"));
        assert!(help.contains(&variable), "--{option} as {variable} in {help}");
    }
}

#[tokio::test]
async fn a_bad_option_exits_2_and_names_it() {
    for (args, about) in [
        (&["--nonsense"][..], "--nonsense"),
        (&["nonsense"], "nonsense"),
        (&["--listen", "nowhere"], "nowhere"),
        (&["--listen", "127.0.0.1:99999"], "99999"),
        (&["--listen"], "--listen"),
        (&["--user", ""], "empty"),
        (&["--user", ".."], ".."),
        (&["--user", "a\tb"], "control"),
        (&["--user", &"x".repeat(129)], "129"),
        (&["--history", "many"], "many"),
        (&["--history", "-1"], "-1"),
        (&["--keep-alive", "soon"], "soon"),
        (&["--gather", "51ms"], "write 0s to 50ms, such as 10ms"),
        (&["--gather", "10"], "write 0s to 50ms, such as 10ms"),
        (&["--log-format", "xml"], "xml"),
    ] {
        complains(&Binary::run(args, &[]).await, 2, about);
    }
}

#[tokio::test]
async fn a_bad_variable_exits_2_and_names_it() {
    for (name, value) in [("PRESENTLY_LISTEN", "nowhere"), ("PRESENTLY_HISTORY", "many")] {
        complains(&Binary::run(&[], &[(name, value)]).await, 2, value);
    }
}

#[tokio::test]
async fn a_taken_port_exits_1_with_one_sentence() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = taken.local_addr().expect("its address").to_string();
    let finished = Binary::run(&["--listen", &addr], &[]).await;
    complains(&finished, 1, &addr);
    assert_eq!(finished.stderr.trim().lines().count(), 1, "{finished:?}");
}

#[tokio::test]
async fn an_address_of_another_machine_exits_1_with_one_sentence() {
    let finished = Binary::run(&["--listen", "192.0.2.1:0", "--open"], &[]).await;
    complains(&finished, 1, "192.0.2.1:0");
    assert_eq!(finished.stderr.trim().lines().count(), 1, "{finished:?}");
}

#[tokio::test]
async fn options_may_be_variables_and_the_command_line_wins() {
    let vars = [("PRESENTLY_LISTEN", "127.0.0.1:0"), ("PRESENTLY_USER", "ann,bob")];
    let gateway = Binary::start_with(&[], &vars).await;
    assert_eq!(gateway.held("lobby").await.users.into_keys().collect::<Vec<_>>(), ["ann", "bob"]);
    let gateway = Binary::start_with(&["--user", "cyd"], &vars).await;
    assert_eq!(gateway.held("lobby").await.users.into_keys().collect::<Vec<_>>(), ["cyd"]);
}

#[tokio::test]
async fn users_given_at_start_are_in_the_lobby() {
    let gateway = Binary::start(&["--user", "ann", "--user", "山田", "--user", "ann"]).await;
    assert_eq!(gateway.held("lobby").await.users.into_keys().collect::<Vec<_>>(), ["ann", "山田"]);
}

#[tokio::test]
async fn bounds_given_as_options_hold() {
    let gateway = Binary::start(&["--max-members", "1", "--max-rooms", "2", "--max-body", "100"]).await;
    gateway.sign_in("lobby", "ann").await;
    let status = async |path: &str, body: &str| {
        let json = [("content-type", "application/json")];
        gateway.send("PUT", path, &json[..usize::from(!body.is_empty())], body).await.status
    };
    assert_eq!(status("/api/rooms/lobby/users/bob", "").await, 503);
    assert_eq!(status("/api/rooms/den/users/bob", "").await, 201);
    assert_eq!(status("/api/rooms/attic/users/bob", "").await, 503);
    let large = format!(r#"{{"meta":{{"a":"{}"}}}}"#, "x".repeat(100));
    assert_eq!(status("/api/rooms/lobby/users/ann", &large).await, 413);
}

#[tokio::test]
async fn logs_are_json_where_asked() {
    let mut gateway = Binary::start(&["--log-format", "json"]).await;
    gateway.signal("TERM").await;
    gateway.exit().await;
    let log = gateway.log();
    assert!(!log.is_empty());
    for line in log {
        let line: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line["level"].is_string() && line["timestamp"].is_string(), "{line}");
    }
}

#[tokio::test]
async fn logs_are_plain_when_piped() {
    for args in [&[][..], &["--log-format", "auto"], &["--log-format", "plain"]] {
        let gateway = Binary::start(args).await;
        let log = gateway.log().join("\n");
        assert!(log.contains(&format!("http://{}", gateway.addr)), "{log}");
        assert!(!log.contains('\u{1b}'), "colours in a pipe: {log:?}");
    }
}

#[tokio::test]
async fn health_checks_the_gateway_at_the_same_address() {
    let mut gateway = Binary::start(&[]).await;
    let addr = gateway.addr.to_string();
    let (by_option, by_variable) = (["--listen", &addr, "health"], [("PRESENTLY_LISTEN", addr.as_str())]);
    assert_eq!(Binary::run(&by_option, &[]).await.code, Some(0));
    assert_eq!(Binary::run(&["health"], &by_variable).await.code, Some(0));
    gateway.signal("TERM").await;
    gateway.exit().await;
    let finished = Binary::run(&by_option, &[]).await;
    complains(&finished, 1, &addr);
}

#[tokio::test]
async fn health_finds_a_gateway_that_listens_on_every_address() {
    let gateway = Binary::start_with(&["--listen", "0.0.0.0:0", "--open"], &[]).await;
    let everywhere = format!("0.0.0.0:{}", gateway.addr.port());
    assert_eq!(Binary::run(&["health"], &[("PRESENTLY_LISTEN", &everywhere)]).await.code, Some(0));
}

#[tokio::test]
async fn health_fails_if_another_server_or_none_answers() {
    let mute = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = mute.local_addr().expect("its address").to_string();
    assert_eq!(Binary::run(&["health"], &[("PRESENTLY_LISTEN", &addr)]).await.code, Some(1));
}

#[tokio::test]
async fn help_into_a_closed_pipe_does_not_panic() {
    let shell = ["-c", r#""$0" --help | true"#, env!("CARGO_BIN_EXE_presently")];
    let output = tokio::process::Command::new("sh").args(shell).output().await.expect("a shell");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[tokio::test]
async fn running_out_of_files_is_survived() {
    let gateway = Binary::start(&["--max-connections", "1000"]).await;
    gateway.limit_files(64).await;
    let mut crowd = Vec::new();
    while !gateway.log().iter().any(|line| line.contains("cannot accept connections")) {
        crowd.push(within("a place in the backlog", TcpStream::connect(gateway.addr)).await.expect("a connection"));
    }
    drop(crowd);
    gateway.sign_in("lobby", "ann").await;
    assert_eq!(gateway.held("lobby").await.users.len(), 1);
}

/// A past fault: 20 lines a second for as long as there were no files.
#[tokio::test]
async fn of_many_failures_to_accept_only_some_are_logged() {
    let gateway = Binary::start(&["--max-connections", "1000"]).await;
    gateway.limit_files(64).await;
    let mut crowd = Vec::new();
    let failures = || -> Vec<String> {
        let log = gateway.log();
        let lines = log.iter().filter(|line| line.contains("cannot accept connections"));
        lines.map(|line| line.rsplit_once("times=").unwrap_or_else(|| panic!("{line}")).1.to_owned()).collect()
    };
    while failures().is_empty() {
        crowd.push(within("a place in the backlog", TcpStream::connect(gateway.addr)).await.expect("a connection"));
    }
    let sixteenth = async {
        while failures().last().is_none_or(|times| times != "16") {
            sleep(Duration::from_millis(5)).await;
        }
    };
    within("the 16th failure", sixteenth).await;
    assert_eq!(failures(), ["1", "2", "4", "8", "16"]);
}
