//! Sentences that a cell computes, shown as text of the chapter: a paragraph or a list in the notebook, the book and
//! the PDF.
use super::display::{escape, plain_markdown};

/// Computed text; names and numbers in it are shown as they are, whatever they mean in Markdown or HTML.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prose {
    parts: Vec<String>,
    list: bool,
}

impl Prose {
    /// One paragraph of the sentences given.
    pub fn paragraph<S: AsRef<str>>(sentences: impl IntoIterator<Item = S>) -> Self {
        let sentences: Vec<String> = sentences.into_iter().map(|s| s.as_ref().trim().to_string()).collect();
        let text = sentences.iter().filter(|s| !s.is_empty()).cloned().collect::<Vec<_>>().join(" ");
        Self { parts: vec![text], list: false }
    }

    /// One item a sentence.
    pub fn list<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> Self {
        Self { parts: items.into_iter().map(|item| item.as_ref().to_string()).collect(), list: true }
    }

    pub fn to_html(&self) -> String {
        let (open, close) = if self.list { ("<li>", "</li>") } else { ("<p>", "</p>") };
        let parts: String = self.parts.iter().map(|part| format!("{open}{}{close}\n", escape(part))).collect();
        if self.list { format!("<ul>\n{parts}</ul>\n") } else { parts }
    }

    pub fn to_markdown(&self) -> String {
        let mark = if self.list { "- " } else { "" };
        self.parts.iter().map(|part| format!("{mark}{}\n", plain_markdown(part))).collect()
    }

    pub fn to_text(&self) -> String {
        self.parts.iter().map(|part| format!("{part}\n")).collect()
    }

    /// Called by the evcxr kernel for the last value of a cell.
    pub fn evcxr_display(&self) {
        evcxr_runtime::mime_type("text/html").text(self.to_html());
        evcxr_runtime::mime_type("text/markdown").text(self.to_markdown());
        evcxr_runtime::mime_type("text/plain").text(self.to_text());
    }
}

impl std::fmt::Display for Prose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.to_text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_become_a_paragraph_and_intervals_no_links() {
        let prose = Prose::paragraph(["It scores 0.5 [0.4, 0.6].", "", "a < b."]);
        assert_eq!(prose.to_text(), "It scores 0.5 [0.4, 0.6]. a < b.\n");
        assert_eq!(prose.to_markdown(), "It scores 0.5 \\[0.4, 0.6]. a \\< b.\n");
        assert_eq!(prose.to_html(), "<p>It scores 0.5 [0.4, 0.6]. a &lt; b.</p>\n");
    }

    #[test]
    fn a_list_has_an_item_a_sentence() {
        let prose = Prose::list(["one".to_string(), "two".to_string()]);
        assert_eq!(prose.to_markdown(), "- one\n- two\n");
        assert_eq!(prose.to_html(), "<ul>\n<li>one</li>\n<li>two</li>\n</ul>\n");
        assert_eq!(prose.to_string(), "one\ntwo\n");
    }
}
