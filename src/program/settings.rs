//! What the program was told: by options, by the environment, by a file, or by nobody, in this order.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches};

use crate::Program;
use crate::file::File;

/// The program's options, with the origin of each value.
pub struct Settings {
    pub program: Program,
    pub matches: ArgMatches,
    pub file: Option<File>,
}

/// Why the options cannot be used.
pub enum Mistake {
    /// As clap says it; also a wish for help.
    Options(Box<clap::Error>),
    /// A sentence about the file.
    File(String),
}

impl From<clap::Error> for Mistake {
    fn from(error: clap::Error) -> Self {
        Mistake::Options(Box::new(error))
    }
}

impl Settings {
    /// Reads the arguments `args`, the environment, and the file that one of the two names. Values of the file become the
    /// defaults of arguments, and so pass the same parsers. Only what was given in no other way takes its value from the file,
    /// because lists are not split there.
    pub fn read(args: &[OsString]) -> Result<Self, Mistake> {
        let command = command(args);
        let matches = command.clone().try_get_matches_from(args)?;
        let Some(path) = matches.get_one::<PathBuf>("config") else {
            return Settings::of(matches, None);
        };
        let file = File::read(path, &command).map_err(Mistake::File)?;
        let is_free = |id: &str| matches.value_source(id).is_none_or(|source| source == ValueSource::DefaultValue);
        let matches = file.fill(command, is_free).try_get_matches_from(args)?;
        Settings::of(matches, Some(file))
    }

    /// Whether the argument `id` is given in no way.
    pub fn is_default(&self, id: &str) -> bool {
        let in_file = self.file.as_ref().is_some_and(|file| file.place(id).is_some());
        !in_file && self.matches.value_source(id) == Some(ValueSource::DefaultValue)
    }

    fn of(matches: ArgMatches, file: Option<File>) -> Result<Self, Mistake> {
        Ok(Settings { program: Program::from_arg_matches(&matches)?, matches, file })
    }
}

/// The program's arguments. Behind the command `config` stand all options; other commands have options of their own.
fn command(args: &[OsString]) -> Command {
    let command = Program::command().mut_args(switchable);
    match args.iter().skip(1).any(|arg| arg == "config") {
        true => command.mut_args(|arg| arg.global(true)),
        false => command,
    }
}

/// Lets a flag be switched off, too (`--open=false`), since a file may have switched it on.
fn switchable(arg: Arg) -> Arg {
    if !matches!(arg.get_action(), ArgAction::SetTrue) {
        return arg;
    }
    let arg = arg.action(ArgAction::Set).num_args(0..=1).require_equals(true).value_name("BOOL");
    arg.default_missing_value("true").default_value("false").hide_default_value(true).hide_possible_values(true)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;
    use presently::Config;
    use tempfile::NamedTempFile;

    use super::*;
    use crate::config::config;
    use crate::file::{Shape, is_list};

    /// Values of many kinds. Each option takes one of them that is not its default.
    const VALUES: [&str; 15] = [
        "true",
        "11ms",
        "7s",
        "9001",
        "3/min",
        "3MiB",
        "json",
        "192.0.2.0/24",
        "192.0.2.1:1",
        "https://a.example",
        "a.example",
        "a*:watch",
        "a=b,\u{7f}\"\\\t山",
        "a",
        "5",
    ];

    fn file(text: &str) -> NamedTempFile {
        let file = NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        file
    }

    fn read(file: &NamedTempFile) -> Settings {
        let args = ["presently", "--config", file.path().to_str().unwrap()].map(OsString::from);
        Settings::read(&args)
            .map_err(|mistake| match mistake {
                Mistake::Options(error) => error.to_string(),
                Mistake::File(sentence) => sentence,
            })
            .unwrap_or_else(|why| panic!("{why}"))
    }

    /// The configuration, but for the file's own name.
    fn told(mut config: Config) -> String {
        config.config = None;
        format!("{config:?}")
    }

    /// A line of a file for `arg`, and the configuration that it makes.
    fn sample(arg: &Arg) -> (String, String) {
        let (key, default) = (arg.get_long().unwrap(), told(Config::default()));
        let options = |value| match Shape::of(arg) {
            Shape::Flag => format!("--{key}"),
            Shape::Number | Shape::Text => format!("--{key}={value}"),
        };
        let parse = |value| Config::try_parse_from(["presently", &options(value)]).ok().map(told);
        let (value, config) = VALUES
            .into_iter()
            .filter(|value| !is_list(arg) || !value.contains([',', ';']))
            .find_map(|value| Some((value, parse(value).filter(|config| *config != default)?)))
            .unwrap_or_else(|| panic!("no value of VALUES fits --{key}; add one"));
        let value = match Shape::of(arg) {
            Shape::Flag => value.to_owned(),
            Shape::Number if value.parse::<u64>().is_ok() => value.to_owned(),
            Shape::Number | Shape::Text => serde_json::Value::from(value).to_string().replace('\u{7f}', "\\u007F"),
        };
        (if is_list(arg) { format!("{key} = [{value}]\n") } else { format!("{key} = {value}\n") }, config)
    }

    #[test]
    fn every_option_can_stand_in_a_file_and_is_printed_as_one() {
        let (command, mut all) = (Config::command(), "# All of them.\n".to_owned());
        for arg in command.get_arguments().filter(|arg| arg.get_id() != "config") {
            let (line, config) = sample(arg);
            let given = file(&line);
            assert_eq!(told(read(&given).program.config), config, "{line}");
            all += &line;
        }
        let given = file(&all);
        let settings = read(&given);
        let printed = self::config(&settings);
        for (n, line) in all.lines().enumerate().skip(1) {
            let place = format!(" # {}:{}", given.path().display(), n + 1);
            assert!(printed.lines().any(|printed| printed == format!("{line}{place}")), "{line}{place} in {printed}");
        }
        assert_eq!(told(read(&file(&printed)).program.config), told(settings.program.config), "{printed}");
    }

    #[test]
    fn what_is_printed_without_a_file_changes_nothing_as_a_file() {
        let args = ["presently", "config", "--user=a,b", "--open", "--max-rooms=5"].map(OsString::from);
        let Ok(settings) = Settings::read(&args) else { panic!("good options") };
        let printed = config(&settings);
        assert_eq!(told(read(&file(&printed)).program.config), told(settings.program.config), "{printed}");
        for line in ["user = [\"a\", \"b\"] # option", "open = true # option", "max-rooms = 5 # option"] {
            assert!(printed.lines().any(|printed| printed == line), "{line} in {printed}");
        }
    }

    #[test]
    fn a_lists_entries_are_not_split_and_a_list_may_be_empty() {
        let config = read(&file("user = [\"a,b\", 'c']\ntrusted-proxy = []\n")).program.config;
        assert_eq!(config.users.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a,b", "c"]);
        assert!(config.trusted_proxies.is_empty());
    }
}
