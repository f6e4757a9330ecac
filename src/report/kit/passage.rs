//! A text with stretches marked and the reason beside each: shading in the notebook, bold type and brackets in the book and PDF,
//! so that nothing depends on colour.
use super::display::{escape, plain_markdown};

/// A stretch of the text, and what is said of it if it is marked.
#[derive(Clone, Debug, PartialEq)]
pub struct Stretch {
    pub text: String,
    pub notes: Vec<String>,
}

/// A title, facts (name and value), and the text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Passage {
    pub title: String,
    pub facts: Vec<(String, String)>,
    pub stretches: Vec<Stretch>,
}

impl Passage {
    pub fn to_html(&self) -> String {
        let facts: String =
            self.facts.iter().map(|(name, value)| format!("<b>{}</b>: {}<br>", escape(name), escape(value))).collect();
        let stretch = |stretch: &Stretch| match stretch.notes.is_empty() {
            true => escape(&stretch.text),
            false => format!(
                "<mark style=\"background:#e6e6e6;color:#000;border-bottom:2px solid #000\">{}</mark> <small>[{}]</small>",
                escape(&stretch.text),
                escape(&stretch.notes.join("; "))
            ),
        };
        let text = self.stretches.iter().map(stretch).collect::<Vec<_>>().join(" ");
        format!("<p><b>{}</b><br>{facts}</p><p>{text}</p>", escape(&self.title))
    }

    pub fn to_markdown(&self) -> String {
        let facts: String = self
            .facts
            .iter()
            .map(|(name, value)| format!("- {}: {}\n", plain_markdown(name), plain_markdown(value)))
            .collect();
        let stretch = |stretch: &Stretch| match stretch.notes.is_empty() {
            true => plain_markdown(&stretch.text),
            false => {
                format!("**{}** \\[{}\\]", plain_markdown(&stretch.text), plain_markdown(&stretch.notes.join("; ")))
            }
        };
        let text = self.stretches.iter().map(stretch).collect::<Vec<_>>().join(" ");
        format!("**{}**\n\n{facts}\n{text}\n", plain_markdown(&self.title))
    }

    pub fn to_text(&self) -> String {
        let facts: String = self.facts.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        let stretch = |stretch: &Stretch| match stretch.notes.is_empty() {
            true => stretch.text.clone(),
            false => format!(">>{}<< [{}]", stretch.text, stretch.notes.join("; ")),
        };
        format!("{}\n{facts}\n{}\n", self.title, self.stretches.iter().map(stretch).collect::<Vec<_>>().join(" "))
    }

    /// Called by the evcxr kernel for the last value of a cell.
    pub fn evcxr_display(&self) {
        evcxr_runtime::mime_type("text/html").text(self.to_html());
        evcxr_runtime::mime_type("text/markdown").text(self.to_markdown());
        evcxr_runtime::mime_type("text/plain").text(self.to_text());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_survive_without_colour_and_text_stays_text() {
        let stretch = |text: &str, notes: &[&str]| Stretch {
            text: text.into(),
            notes: notes.iter().map(|note| note.to_string()).collect(),
        };
        let passage = Passage {
            title: "case <1>".into(),
            facts: vec![("gold".into(), "cyst".into())],
            stretches: vec![stretch("Liver < 15 cm.", &[]), stretch("No cyst*.", &["invented: cyst"])],
        };
        let markdown = passage.to_markdown();
        assert!(markdown.contains("Liver \\< 15 cm. **No cyst\\*.** \\[invented: cyst\\]"), "{markdown}");
        let html = passage.to_html();
        assert!(
            html.contains("case &lt;1&gt;") && html.contains(">No cyst*.</mark> <small>[invented: cyst]"),
            "{html}"
        );
        assert!(passage.to_text().contains(">>No cyst*.<< [invented: cyst]"));
    }
}
