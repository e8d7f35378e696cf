//! The client and its elements: one file each for their users, joined from a source for each class.
//!
//! Joining is dropping lines. That is enough for sources that keep three rules, which a test checks: they import by name and
//! only from sources before them, no two declare the same name, and only the last one exports what users call.

use std::borrow::Cow;

/// The files that are joined, each with the list of its sources, in the order in which they are joined.
pub const JOINED: [(&str, &str); 2] = [(CLIENT, "files.json"), ("presently-room.js", "elements.json")];

/// The client. What is not joined into the elements is their import of this file.
pub const CLIENT: &str = "presently.js";

/// The sources of a `list` as one module. `source` finds a file of `web/client/`.
pub fn joined(list: &str, source: impl Fn(&str) -> Option<Cow<'static, [u8]>>) -> String {
    let text = |file: &str| source(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let files: Vec<String> = serde_json::from_str(&text(list)).unwrap_or_default();
    let last = files.len().saturating_sub(1);
    let parts = files.iter().enumerate().map(|(i, file)| part(&text(file), i == last));
    parts.collect::<Vec<_>>().join("\n\n") + "\n"
}

/// A source without its imports of other sources and, unless its exports are those of the whole, without the word `export`.
fn part(source: &str, exports: bool) -> String {
    let from_client = format!(" from './{CLIENT}';");
    let lines = source.lines().filter(|line| !line.starts_with("import ") || line.ends_with(&from_client));
    let lines = lines.map(|line| if exports { line } else { line.strip_prefix("export ").unwrap_or(line) });
    lines.collect::<Vec<_>>().join("\n").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_joined_in_the_listed_order_and_only_the_last_one_exports() {
        let source = |file: &str| {
            let text = match file {
                "list.json" => r#"["b.js", "a.js"]"#,
                "b.js" => "import { Room } from './presently.js';\n\n/** One. */\nexport const one = 1;\n",
                "a.js" => "import { one } from './b.js';\n\nexport class Two {\n  two = one + 1;\n}\n",
                _ => return None,
            };
            Some(Cow::Borrowed(text.as_bytes()))
        };
        let expected = "import { Room } from './presently.js';\n\n/** One. */\nconst one = 1;\n\nexport class Two {\n  two = one + 1;\n}\n";
        assert_eq!(joined("list.json", source), expected);
    }
}
