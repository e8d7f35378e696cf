//! The file of `--config`.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::error::Error;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgAction, Command};
use toml_edit::{Document, Item, Value};

/// The most bytes of a file: ten times the longest file that has a sense.
const MAX_BYTES: u64 = 256 * 1024;

/// The most characters of an unknown key in a sentence.
const MAX_KEY: usize = 64;

/// The options in a file.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    /// By the arguments' ids.
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    line: usize,
    /// As they would be written behind the option.
    values: Vec<String>,
}

/// How an argument's values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `true` or `false`.
    Flag,
    /// A number, or text where it has a unit.
    Number,
    /// Text.
    Text,
}

impl Shape {
    /// The shape of an argument's values.
    pub fn of(arg: &Arg) -> Self {
        let id = arg.get_value_parser().type_id();
        let numbers =
            [TypeId::of::<u64>(), TypeId::of::<u32>(), TypeId::of::<u16>(), TypeId::of::<u8>(), TypeId::of::<usize>()];
        match () {
            () if id == TypeId::of::<bool>() => Shape::Flag,
            () if numbers.iter().any(|number| id == *number) => Shape::Number,
            () => Shape::Text,
        }
    }
}

/// Whether an argument may be given several times.
pub fn is_list(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
}

/// A path as text of one line.
pub fn shown(path: &Path) -> String {
    one_line(&path.display().to_string())
}

impl File {
    /// Reads the file at `path`, whose keys are the long options of `command`.
    ///
    /// # Errors
    ///
    /// A sentence with the file, the line, the key and what to write instead.
    pub fn read(path: &Path, command: &Command) -> Result<Self, String> {
        let name = shown(path);
        let bytes = bytes(path).map_err(|why| format!("--config: {name}: {why}"))?;
        let place = |at: usize| format!("{name}:{}", line(&bytes, at));
        let text = str::from_utf8(&bytes).map_err(|error| format!("{}: not UTF-8", place(error.valid_up_to())))?;
        let document = Document::parse(text).map_err(|error| {
            let why = error.message().lines().collect::<Vec<_>>().join(", ");
            format!("{}: {}", place(start(error.span())), one_line(&why))
        })?;
        let mut entries = BTreeMap::new();
        for (key, item) in document.iter() {
            let span = document.get_key_value(key).and_then(|(key, _)| key.span()).or(item.span());
            let at = start(span);
            let arg = argument(command, key).map_err(|why| format!("{}: {why}", place(at)))?;
            let values = values(command, arg, item)
                .map_err(|(span, why)| format!("{}: {key}: {why}", place(span.map_or(at, |span| span.start))))?;
            entries.insert(arg.get_id().to_string(), Entry { line: line(&bytes, at), values });
        }
        Ok(File { path: path.to_owned(), entries })
    }

    /// The place where the argument `id` is given, as `FILE:LINE`.
    pub fn place(&self, id: &str) -> Option<String> {
        self.entries.get(id).map(|entry| format!("{}:{}", shown(&self.path), entry.line))
    }

    /// The command, whose free arguments have the file's values as their defaults.
    pub fn fill(&self, command: Command, is_free: impl Fn(&str) -> bool) -> Command {
        let free = self.entries.iter().filter(|(id, _)| is_free(id));
        free.fold(command, |command, (id, entry)| {
            command.mut_arg(id, |arg| arg.value_delimiter(None).default_values(entry.values.clone()))
        })
    }
}

fn bytes(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
    read.map_err(|error| error.to_string())?;
    match bytes.len() as u64 > MAX_BYTES {
        true => Err(format!("the file has more than {} KiB", MAX_BYTES / 1024)),
        false => Ok(bytes),
    }
}

fn start(span: Option<Range<usize>>) -> usize {
    span.map_or(0, |span| span.start)
}

/// The number of the line with the byte `at`, from 1.
fn line(text: &[u8], at: usize) -> usize {
    1 + text[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count()
}

fn one_line(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// The argument of a key. `config` is none: a file names no other file.
fn argument<'a>(command: &'a Command, key: &str) -> Result<&'a Arg, String> {
    let mut arguments = command.get_arguments();
    if let Some(arg) = arguments.find(|arg| arg.get_long() == Some(key) && arg.get_id() != "config") {
        return Ok(arg);
    }
    let shown = one_line(&key.chars().take(MAX_KEY).collect::<String>());
    let asked = command.clone().try_get_matches_from(["presently", &format!("--{key}")]);
    let meant = asked.err().and_then(|error| match error.get(ContextKind::SuggestedArg) {
        Some(ContextValue::String(option)) => Some(option.trim_start_matches('-').to_owned()),
        _ => None,
    });
    Err(match meant {
        Some(option) => format!("unknown key {shown}; probably {option}"),
        None => {
            format!("unknown key {shown}; keys are the names of long options, such as max-rooms, see presently --help")
        }
    })
}

/// The values of `item` for `arg`, each as it would be written behind the option; or the place of a mistake, and a sentence.
fn values(command: &Command, arg: &Arg, item: &Item) -> Result<Vec<String>, (Option<Range<usize>>, String)> {
    let value = item.as_value().ok_or_else(|| (None, format!("{} and no table", wanted(arg))))?;
    let given: Vec<&Value> = match value.as_array() {
        Some(array) if is_list(arg) => array.iter().collect(),
        None if !is_list(arg) => vec![value],
        Some(_) | None => return Err((None, wanted(arg))),
    };
    let one = |value: &Value| {
        let text = text(arg, value).and_then(|text| parsed(command, arg, &text).map(|()| text));
        text.map_err(|why| (value.span(), why))
    };
    given.into_iter().map(one).collect()
}

/// What to write for `arg`.
fn wanted(arg: &Arg) -> String {
    match (is_list(arg), Shape::of(arg)) {
        (true, _) => r#"write a list, as ["…"]"#.to_owned(),
        (false, Shape::Flag) => "write true or false".to_owned(),
        (false, Shape::Number) => "write one number, or text in quotes where it has a unit".to_owned(),
        (false, Shape::Text) => "write one text in quotes".to_owned(),
    }
}

fn text(arg: &Arg, value: &Value) -> Result<String, String> {
    let text = match (Shape::of(arg), value) {
        (Shape::Flag, Value::Boolean(is)) => Some(is.value().to_string()),
        (Shape::Number, Value::Integer(number)) => Some(number.value().to_string()),
        (Shape::Number | Shape::Text, Value::String(text)) => Some(text.value().clone()),
        _ => None,
    };
    text.ok_or_else(|| if is_list(arg) { "write each entry in quotes".to_owned() } else { wanted(arg) })
}

/// Whether the argument's own parser takes a value.
fn parsed(command: &Command, arg: &Arg, text: &str) -> Result<(), String> {
    if text.starts_with('-') && Shape::of(arg) == Shape::Number {
        return Err("write a number from 0 on".to_owned());
    }
    let whole = command.clone().mut_arg(arg.get_id(), |arg| arg.value_delimiter(None));
    let option = format!("--{}={text}", arg.get_long().unwrap_or_default());
    whole.try_get_matches_from(["presently", &option]).map(drop).map_err(|error| one_line(&why(&error)))
}

/// Why a parser refuses a value, without the option and the value.
fn why(error: &clap::Error) -> String {
    if let Some(source) = error.source() {
        return source.to_string();
    }
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(valid)) => format!("write one of {}", valid.join(", ")),
        _ => error.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned(),
    }
}
