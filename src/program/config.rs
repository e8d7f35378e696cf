//! `presently config`.

use std::fmt::Write;

use clap::parser::ValueSource;
use clap::{Arg, CommandFactory};
use presently::engine::address::Addresses;
use presently::{Config, Password, Secrets};

use crate::file::{Shape, is_list, shown};
use crate::settings::Settings;

/// What is in force, as a file for `--config`, with the origin of each value.
pub fn config(settings: &Settings) -> String {
    let mut text = format!("# In force, presently {}\n", env!("CARGO_PKG_VERSION"));
    let (config, command) = (&settings.program.config, Config::command());
    for arg in command.get_arguments() {
        let (key, origin) = (arg.get_long().unwrap_or_default(), origin(settings, arg));
        // Writing to memory does not fail.
        let _ = match (&config.config, value(settings, arg)) {
            (Some(path), _) if key == "config" => writeln!(text, "# --config {}, from: {origin}", shown(path)),
            (None, _) if key == "config" => Ok(()),
            (_, Ok(Some(value))) => writeln!(text, "{key} = {value} # {origin}"),
            (_, Ok(None)) => writeln!(text, "# {key} is not set"),
            (_, Err(why)) => writeln!(text, "# {key} is set ({origin}), but {why}"),
        };
    }
    let secrets = [
        (Secrets::KEY, config.secrets.key.is_some()),
        (Secrets::API_KEY, config.secrets.api_key.is_some()),
        (Password::VARIABLE, config.cluster.password.is_some()),
    ];
    for (name, _) in secrets.iter().filter(|(_, is_set)| *is_set) {
        let _ = writeln!(text, "# {name} is set, and secret");
    }
    text.trim_end().to_owned()
}

/// Where an argument's value comes from.
fn origin(settings: &Settings, arg: &Arg) -> String {
    let id = arg.get_id().as_str();
    match settings.matches.value_source(id) {
        Some(ValueSource::CommandLine) => "option".to_owned(),
        Some(ValueSource::EnvVariable) => arg.get_env().unwrap_or_default().to_string_lossy().into_owned(),
        _ => settings.file.as_ref().and_then(|file| file.place(id)).unwrap_or_else(|| "default".to_owned()),
    }
}

/// An argument's value in TOML; none where there is none; or why TOML cannot have it.
fn value(settings: &Settings, arg: &Arg) -> Result<Option<String>, &'static str> {
    let raw = settings.matches.get_raw(arg.get_id().as_str()).unwrap_or_default();
    let texts: Option<Vec<&str>> = raw.map(|value| value.to_str()).collect();
    let texts = texts.ok_or("it is not UTF-8, as files are")?;
    match (is_list(arg), &texts[..]) {
        (true, _) => {
            let quoted: Vec<_> = texts.iter().map(|text| quoted(text)).collect();
            Ok(Some(format!("[{}]", quoted.join(", "))))
        }
        // The program would not start with it.
        (false, [url]) if arg.get_id() == "cluster" && url.contains('@') && url.parse::<Addresses>().is_err() => {
            Err("it may have a password, which does not belong there")
        }
        (false, [text]) => one(settings, arg, text).map(Some),
        (false, _) => Ok(None),
    }
}

fn one(settings: &Settings, arg: &Arg, text: &str) -> Result<String, &'static str> {
    match Shape::of(arg) {
        // Variables may say it in other words.
        Shape::Flag => Ok(settings.matches.get_flag(arg.get_id().as_str()).to_string()),
        Shape::Number => match text.parse::<u64>() {
            Ok(number) if i64::try_from(number).is_err() => Err("numbers of files are below 2^63"),
            Ok(number) => Ok(number.to_string()),
            Err(_) => Ok(quoted(text)),
        },
        Shape::Text => Ok(quoted(text)),
    }
}

/// A basic string of TOML: JSON's escapes, and one for U+007F.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007F")
}
