//! PROTOCOL's "Which token do I make?": its commands, as they stand there.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Stdio;

use tokio::io::AsyncReadExt;
use tokio::process::Command;

use crate::harness::{Binary, within};

/// The blocks of commands below the heading.
fn blocks() -> Vec<String> {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/PROTOCOL.md")).expect("PROTOCOL");
    let (_, rest) = page.split_once("### Which token do I make?\n").expect("the heading");
    let section = rest.split("\n## ").next().unwrap_or_default();
    section.split("```sh\n").skip(1).filter_map(|block| Some(block.split_once("```")?.0.to_owned())).collect()
}

/// A shell that finds the program and the files.
fn shell(folder: &Path, script: &str) -> Command {
    let programs = Path::new(env!("CARGO_BIN_EXE_presently")).parent().expect("a folder");
    let mut shell = Command::new("sh");
    shell.args(["-euc", script]).current_dir(folder).stdout(Stdio::piped()).stderr(Stdio::null());
    shell
        .kill_on_drop(true)
        .env("NO_PROXY", "*")
        .env("PATH", format!("{}:{}", programs.display(), env::var("PATH").expect("a path")));
    shell
}

#[tokio::test]
async fn the_documented_commands_do_what_each_verb_is_for() {
    let blocks = blocks();
    let [start, commands] = &blocks[..] else {
        panic!("two blocks: {blocks:?}");
    };
    let folder = tempfile::tempdir().expect("a folder");
    let (files, serve) = start.trim_end().rsplit_once('\n').expect("the files, and the gateway");
    let made = within("the files", shell(folder.path(), files).status()).await.expect("a shell");
    assert!(made.success(), "{files}");
    let args = serve.strip_prefix("presently ").expect("the gateway").split(' ');
    let args: Vec<_> = args
        .map(|arg| if arg.ends_with(".key") { folder.path().join(arg).display().to_string() } else { arg.to_owned() })
        .collect();
    let gateway = Binary::start(&args.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let commands = commands.replace("localhost:4000", &gateway.addr.to_string());
    let (function, commands) = commands.split_once('\n').expect("a function and the commands");
    let commands: Vec<_> = commands.lines().collect();
    let expected = [
        r#""room":"team-7","count":0"#,
        r#""users":[]"#,
        r#""count":1,"part":0,"last":true,"users":[{"user":"ann""#,
        r#""user":"ann""#,
        r#""user":"bob""#,
        r#""uptime"#,
        r#"{"room":"team-7","count":2}"#,
    ];
    assert_eq!(commands.len(), expected.len(), "{commands:?}");
    for (command, expected) in commands.iter().zip(expected) {
        let mut child = shell(folder.path(), &format!("{function}\nexec {command}")).spawn().expect("a shell");
        let (mut stdout, mut said) = (child.stdout.take().expect("piped"), Vec::new());
        // A stream does not end.
        let heard = async {
            while !String::from_utf8_lossy(&said).contains(expected) {
                let more = stdout.read_buf(&mut said).await.expect("output");
                assert!(more > 0, "{command} says {:?}, and not {expected}", String::from_utf8_lossy(&said));
            }
        };
        within(command, heard).await;
    }
}
