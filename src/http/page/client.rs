//! The client for browsers: one file for its users, joined from a source for each class.
//!
//! Joining is dropping lines. That is enough for sources that keep three rules, which a test checks: they import by name and
//! only from sources before them, no two declare the same name, and only the last one exports what users call.

use std::borrow::Cow;

/// The list of the sources, in the order in which they are joined.
const LIST: &str = "files.json";

/// The client as one module. `source` finds a file of `web/client/`.
pub fn joined(source: impl Fn(&str) -> Option<Cow<'static, [u8]>>) -> String {
    let text = |file: &str| source(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let files: Vec<String> = serde_json::from_str(&text(LIST)).unwrap_or_default();
    let last = files.len().saturating_sub(1);
    let parts = files.iter().enumerate().map(|(i, file)| part(&text(file), i == last));
    parts.collect::<Vec<_>>().join("\n\n") + "\n"
}

/// A source without its imports and, unless its exports are those of the whole, without the word `export`.
fn part(source: &str, exports: bool) -> String {
    let lines = source.lines().filter(|line| !line.starts_with("import "));
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
                LIST => r#"["b.js", "a.js"]"#,
                "b.js" => "/** One. */\nexport const one = 1;\n",
                "a.js" => "import { one } from './b.js';\n\nexport class Two {\n  two = one + 1;\n}\n",
                _ => return None,
            };
            Some(Cow::Borrowed(text.as_bytes()))
        };
        let expected = "/** One. */\nconst one = 1;\n\nexport class Two {\n  two = one + 1;\n}\n";
        assert_eq!(joined(source), expected);
    }
}
