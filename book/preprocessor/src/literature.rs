//! Numbered references: `{{#cite key}}` becomes [n], numbered in order of first citation, and `{{#references}}` the list.
use crate::directive;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::Path;

/// One entry of `references.toml`; `link` is a DOI or an address.
struct Entry {
    authors: String,
    title: String,
    venue: String,
    year: i64,
    link: Option<String>,
}

/// All entries, and the cited ones in order.
#[derive(Default)]
pub struct Literature {
    entries: BTreeMap<String, Entry>,
    cited: Vec<String>,
}

impl Literature {
    /// Reads `references.toml`; a book without one cites nothing.
    pub fn read(file: &Path) -> Result<Self> {
        match std::fs::read_to_string(file) {
            Ok(text) => Self::parse(&text).with_context(|| file.display().to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
        }
    }

    fn parse(text: &str) -> Result<Self> {
        let table: toml::Table = text.parse()?;
        let mut entries = BTreeMap::new();
        for (key, value) in table {
            let string = |field: &str| value.get(field).and_then(|v| v.as_str()).map(str::to_owned);
            let need = |field: &str| string(field).with_context(|| format!("[{key}] has no `{field}`"));
            let year =
                value.get("year").and_then(|v| v.as_integer()).with_context(|| format!("[{key}] has no `year`"))?;
            let (authors, title, venue) = (need("authors")?, need("title")?, need("venue")?);
            entries.insert(key.clone(), Entry { authors, title, venue, year, link: string("link") });
        }
        Ok(Self { entries, cited: Vec::new() })
    }

    /// Numbers what a chapter cites. Call it for the chapters in reading order.
    pub fn number(&mut self, text: &str) -> Result<()> {
        for found in directive::find(text, "cite")? {
            for key in keys(found.argument) {
                if !self.entries.contains_key(key) {
                    let known: Vec<_> = self.entries.keys().map(String::as_str).collect();
                    bail!("`{key}` is cited but not in references.toml; there are: {}", known.join(", "));
                }
                if !self.cited.iter().any(|cited| cited == key) {
                    self.cited.push(key.to_owned());
                }
            }
        }
        Ok(())
    }

    /// The chapter's text with numbers for citations and, where asked for, the list. `list` is the path to its page.
    pub fn fill(&self, text: &str, list: &str) -> Result<String> {
        let text = directive::replace(text, "cite", |argument| {
            let numbers = keys(argument).map(|key| format!("[{}]({list}#ref-{key})", self.position(key)));
            Ok(format!("\\[{}\\]", numbers.collect::<Vec<_>>().join(", ")))
        })?;
        directive::replace(&text, "references", |_| Ok(self.list()))
    }

    /// Whether anything is cited.
    pub fn cites(&self) -> bool {
        !self.cited.is_empty()
    }

    fn position(&self, key: &str) -> usize {
        self.cited.iter().position(|cited| cited == key).map_or(0, |at| at + 1)
    }

    fn list(&self) -> String {
        let lines = self.cited.iter().enumerate().filter_map(|(at, key)| {
            let entry = self.entries.get(key)?;
            let link = entry.link.as_ref().map(|link| format!(" [{}]({link})", link.trim_start_matches("https://")));
            let Entry { authors, title, venue, year, .. } = entry;
            let (link, authors) = (link.unwrap_or_default(), authors.trim_end_matches('.')); // "et al." ends with a dot
            Some(format!("<a id=\"ref-{key}\"></a>\\[{}\\] {authors}. {title}. *{venue}*, {year}.{link}\n\n", at + 1))
        });
        lines.collect()
    }
}

fn keys(argument: &str) -> impl Iterator<Item = &str> {
    argument.split([',', ' ']).filter(|key| !key.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str =
        "[b]\nauthors='B'\ntitle='Second'\nvenue='V'\nyear=2\n[a]\nauthors='A'\ntitle='First'\nvenue='V'\nyear=1\n";

    #[test]
    fn citations_are_numbered_as_they_come_and_only_cited_works_are_listed() {
        let mut literature = Literature::parse(TWO).unwrap();
        literature.number("see {{#cite b}} and {{#cite b, a}}").unwrap();
        let got = literature.fill("see {{#cite b, a}}\n{{#references}}", "refs.md").unwrap();
        assert!(got.starts_with("see \\[[1](refs.md#ref-b), [2](refs.md#ref-a)\\]\n"), "{got}");
        assert!(got.find("Second").unwrap() < got.find("First").unwrap());
    }

    #[test]
    fn an_unknown_key_is_named_with_the_known_ones() {
        let error = Literature::parse(TWO).unwrap().number("{{#cite c}}").unwrap_err().to_string();
        assert_eq!(error, "`c` is cited but not in references.toml; there are: a, b");
    }
}
