//! `$…$` and `$$…$$` outside code as MathML: no script, no font, no network. The PDF's renderer reads LaTeX itself.
use crate::directive;
use anyhow::{Result, bail};
use pulldown_latex::config::DisplayMode;
use pulldown_latex::mathml::push_mathml;
use pulldown_latex::{Parser, RenderConfig, Storage};

/// The text with every formula set. A formula that does not parse is an error: it would be printed as it stands.
pub fn set(text: &str) -> Result<String> {
    let code = directive::code(text);
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    while let Some(from) = text[at..].find('$').map(|offset| at + offset) {
        if let Some(range) = code.iter().find(|range| range.contains(&from)) {
            out += &text[at..range.end];
            at = range.end;
            continue;
        }
        out += &text[at..from];
        let mark = if text[from..].starts_with("$$") { "$$" } else { "$" };
        let inside = from + mark.len();
        let escaped = text[..from].ends_with('\\');
        match text[inside..].find(mark).map(|length| &text[inside..inside + length]) {
            Some(tex) if !escaped && is_formula(tex, mark) => {
                out += &mathml(tex, mark == "$$")?;
                at = inside + tex.len() + mark.len();
            }
            _ => {
                out += mark;
                at = inside;
            }
        }
    }
    Ok(out + &text[at..])
}

/// Two amounts of money on a line are no formula: an inline one begins and ends with ink and stays in its paragraph.
fn is_formula(tex: &str, mark: &str) -> bool {
    let ink = |c: Option<char>| c.is_some_and(|c| !c.is_whitespace());
    !tex.contains("\n\n") && (mark == "$$" || ink(tex.chars().next()) && ink(tex.chars().last()))
}

fn mathml(tex: &str, block: bool) -> Result<String> {
    let (storage, mut out) = (Storage::new(), String::new());
    let display_mode = if block { DisplayMode::Block } else { DisplayMode::Inline };
    let events: Vec<_> = Parser::new(tex, &storage).collect();
    if let Some(Err(error)) = events.iter().find(|event| event.is_err()) {
        bail!("cannot read the formula `{tex}`: {error}");
    }
    push_mathml(&mut out, events.into_iter(), RenderConfig { display_mode, ..Default::default() })?;
    // pulldown-latex 0.8 writes no space before the size of a delimiter, and a browser then shows the tag as text.
    Ok(out.replace('\n', " ").replace("\"minsize=", "\" minsize="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_become_mathml_and_code_and_money_stay() {
        let got = set("a $x^2$ b `$y$` costs 5 $ or 6 $ \\$z$\n```sh\necho $HOME $PATH\n```\n").unwrap();
        assert!(got.starts_with("a <math"), "{got}");
        assert!(got.contains("<msup>"), "{got}");
        assert!(got.contains("`$y$` costs 5 $ or 6 $ \\$z$\n```sh\necho $HOME $PATH\n```\n"), "{got}");
    }

    #[test]
    fn a_displayed_formula_is_a_block() {
        assert!(set("$$\\frac{a}{b}$$").unwrap().contains("display=\"block\""));
    }

    #[test]
    fn sized_delimiters_are_tags_and_not_text() {
        let got = set("$$\\bigl(a\\bigr)$$").unwrap();
        assert!(got.contains("minsize=") && !got.contains("\"minsize"), "{got}");
    }

    #[test]
    fn a_broken_formula_is_named() {
        assert!(set("$\\frac{a}$").unwrap_err().to_string().contains("\\frac{a}"));
    }
}
