//! A note with its decisions marked: colour, and a letter in brackets at both ends of every span, so that nothing depends on colour.
use super::display::{escape, plain_markdown};
use crate::corpus::decisions::{Category, Span};
use std::cmp::Reverse;

/// A letter and a pale ground of each category.
fn look(category: Category) -> (&'static str, &'static str) {
    match category {
        Category::ContactRelated => ("C", "#d9d9d9"),
        Category::GatherInfo => ("I", "#c6dbef"),
        Category::DefineProblem => ("P", "#fdd0a2"),
        Category::TreatmentGoal => ("G", "#e7d4e8"),
        Category::DrugDecision => ("D", "#c7e9c0"),
        Category::TherapeuticProcedure => ("T", "#fde0ef"),
        Category::EvaluateResult => ("R", "#fff2ae"),
        Category::DeferDecision => ("W", "#f2f0f7"),
        Category::AdviceAndPrecaution => ("A", "#ccebe5"),
    }
}

/// A text with spans; see the file's header.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaggedNote {
    pub title: String,
    text: Vec<char>,
    spans: Vec<Span>,
}

/// A run of characters between two places where a span begins or ends.
struct Piece {
    closes: Vec<String>,
    opens: Vec<String>,
    text: String,
    ground: Option<&'static str>,
}

impl TaggedNote {
    /// Spans that do not lie in the text are left out; offsets are code points.
    pub fn new(title: impl Into<String>, text: &str, spans: &[Span]) -> Self {
        let text: Vec<char> = text.chars().collect();
        let mut spans: Vec<Span> = spans.iter().filter(|span| span.fits(text.len())).copied().collect();
        spans.sort_by_key(|span| (span.start, Reverse(span.end), span.category));
        Self { title: title.into(), text, spans }
    }

    /// The letter of each span, with a number where it overlaps an earlier one of its category: D, D2.
    fn letters(&self) -> Vec<String> {
        let mut numbers: Vec<usize> = Vec::with_capacity(self.spans.len());
        for (i, span) in self.spans.iter().enumerate() {
            let used = |n: &usize| {
                let earlier = self.spans[..i].iter().zip(&numbers);
                earlier.clone().any(|(other, m)| m == n && other.category == span.category && other.overlap(span) > 0)
            };
            numbers.push((1..).find(|n| !used(n)).unwrap_or(1)); // finitely many are used
        }
        let name = |(span, n): (&Span, usize)| match n {
            1 => look(span.category).0.to_string(),
            n => format!("{}{n}", look(span.category).0),
        };
        self.spans.iter().zip(numbers).map(name).collect()
    }

    /// The ground is that of the shortest span there.
    fn pieces(&self) -> Vec<Piece> {
        let letters = self.letters();
        let ends = self.spans.iter().flat_map(|span| [span.start, span.end]);
        let mut places: Vec<usize> = ends.chain([0, self.text.len()]).collect();
        places.sort_unstable();
        places.dedup();
        let piece = |(i, &at): (usize, &usize)| {
            let with = |holds: &dyn Fn(&Span) -> bool| -> Vec<String> {
                self.spans.iter().zip(&letters).filter(|(span, _)| holds(span)).map(|(_, name)| name.clone()).collect()
            };
            let mut closes = with(&|span| span.end == at);
            closes.reverse();
            let over = self.spans.iter().filter(|span| span.start <= at && at < span.end);
            Piece {
                closes,
                opens: with(&|span| span.start == at),
                text: self.text[at..places.get(i + 1).copied().unwrap_or(at)].iter().collect(),
                ground: over.min_by_key(|span| span.chars()).map(|span| look(span.category).1),
            }
        };
        places.iter().enumerate().map(piece).collect()
    }

    /// `D drug_decision`, of the categories that are there.
    fn legend(&self) -> String {
        let there = Category::ALL.into_iter().filter(|one| self.spans.iter().any(|span| span.category == *one));
        there.map(|one| format!("{} {}", look(one).0, one.tag())).collect::<Vec<_>>().join(" · ")
    }

    pub fn to_html(&self) -> String {
        let mark = |text: String| format!("<b style=\"font-size:80%\">{text}</b>");
        let piece = |piece: Piece| {
            let closes: String = piece.closes.iter().map(|name| mark(format!("{name}]"))).collect();
            let opens: String = piece.opens.iter().map(|name| mark(format!("[{name}"))).collect();
            let text = escape(&piece.text);
            match piece.ground {
                Some(ground) if !text.is_empty() => {
                    format!("{closes}{opens}<span style=\"background:{ground};color:#000\">{text}</span>")
                }
                _ => format!("{closes}{opens}{text}"),
            }
        };
        let text: String = self.pieces().into_iter().map(piece).collect();
        format!(
            "<p><b>{}</b><br><small>{}</small></p><pre style=\"white-space:pre-wrap\">{text}</pre>",
            escape(&self.title),
            escape(&self.legend())
        )
    }

    pub fn to_markdown(&self) -> String {
        let text = self.marked();
        let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
        let fence = "`".repeat(longest.max(2) + 1);
        // a letter and its category stay on one line
        let legend = self.legend().split(" · ").map(|one| one.replace(' ', "\u{a0}")).collect::<Vec<_>>().join(" · ");
        let (title, legend) = (plain_markdown(&self.title), plain_markdown(&legend));
        format!("**{title}**\n\n{legend}\n\n{fence}text\n{text}\n{fence}\n")
    }

    pub fn to_text(&self) -> String {
        format!("{}\n{}\n\n{}\n", self.title, self.legend(), self.marked())
    }

    /// The text with brackets.
    fn marked(&self) -> String {
        let piece = |piece: Piece| {
            let closes: String = piece.closes.iter().map(|name| format!(" {name}]")).collect();
            let opens: String = piece.opens.iter().map(|name| format!("[{name} ")).collect();
            format!("{closes}{opens}{}", piece.text)
        };
        self.pieces().into_iter().map(piece).collect()
    }

    /// Called by the evcxr kernel for the last value of a cell.
    pub fn evcxr_display(&self) {
        evcxr_runtime::mime_type("text/html").text(self.to_html());
        evcxr_runtime::mime_type("text/markdown").text(self.to_markdown());
        evcxr_runtime::mime_type("text/plain").text(self.to_text());
    }
}

impl std::fmt::Display for TaggedNote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.to_text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crossing_spans_have_brackets_of_their_own_and_text_stays_text() {
        let text = "K < 3, stop <b>é & go";
        let spans = [
            Span::new(0, 5, Category::EvaluateResult),
            Span::new(7, 16, Category::DrugDecision),
            Span::new(12, 21, Category::DrugDecision),
            Span::new(30, 40, Category::DrugDecision),
        ];
        let note = TaggedNote::new("case <1>", text, &spans);
        assert!(note.to_text().contains("[R K < 3 R], [D stop [D2 <b>é D] & go D2]\n"), "{}", note.to_text());
        assert!(note.to_text().contains("D drug_decision · R evaluate_result"));
        let html = note.to_html();
        assert!(
            html.contains("case &lt;1&gt;") && html.contains("&lt;b&gt;é</span><b style=\"font-size:80%\">D]</b>"),
            "{html}"
        );
        assert!(html.contains(
            "<b style=\"font-size:80%\">[R</b><span style=\"background:#fff2ae;color:#000\">K &lt; 3</span>"
        ));
        assert!(note.to_markdown().contains("\n```text\n[R K < 3 R]"), "{}", note.to_markdown());
        assert!(TaggedNote::new("", "a ``` b", &[]).to_markdown().contains("\n````text\n"));
    }
}
