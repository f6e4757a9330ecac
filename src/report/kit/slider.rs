//! Something that a reader moves: values at every step of one setting, computed before, as a range input on the screen and a table in print.
use super::display::{Table, number};
use crate::error::{Error, Result};

/// Names of the values, and a row of them at every step.
#[derive(Clone, Debug, PartialEq)]
pub struct Slider {
    setting: String,
    values: Vec<String>,
    steps: Vec<(String, Vec<f64>)>,
}

/// What the input does when it is moved. It reads the steps from its own element, so no script and no server is needed.
const MOVE: &str = "const [name, values] = JSON.parse(this.dataset.steps)[this.value]; const box = this.closest('.slider'); \
    box.querySelector('output').innerHTML = name; \
    box.querySelectorAll('meter').forEach((bar, i) => { bar.value = values[i]; }); \
    box.querySelectorAll('td.value').forEach((cell, i) => { cell.textContent = values[i].toFixed(3); });";

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

/// HTML of a name, in which what stands between backticks is code.
fn inline(text: &str) -> String {
    let parts: Vec<&str> = text.split('`').collect();
    let paired = parts.len() % 2 == 1;
    let part = |(i, part): (usize, &&str)| match i % 2 == 1 && paired {
        true => format!("<code>{}</code>", escape(part)),
        false => escape(part),
    };
    parts.iter().enumerate().map(part).collect::<Vec<_>>().join(if paired { "" } else { "`" })
}

impl Slider {
    /// `setting` is what is moved, `values` name what is read off, each from 0 to 1. Fails without steps, or where a step has another number
    /// of values.
    pub fn new(setting: &str, values: &[&str], steps: Vec<(String, Vec<f64>)>) -> Result<Self> {
        if steps.is_empty()
            || steps.iter().any(|(_, row)| row.len() != values.len() || row.iter().any(|x| !x.is_finite()))
        {
            return Err(Error::input(format!(
                "slider `{setting}`: expected {} finite values at every step",
                values.len()
            )));
        }
        Ok(Self { setting: setting.into(), values: values.iter().map(|name| name.to_string()).collect(), steps })
    }

    /// All steps, one row each.
    pub fn table(&self) -> Table {
        let names: Vec<&str> = std::iter::once(&self.setting).chain(&self.values).map(String::as_str).collect();
        let row = |(name, values): &(String, Vec<f64>)| {
            std::iter::once(name.clone()).chain(values.iter().map(|value| number(*value))).collect()
        };
        Table::from_rows(&names, &self.steps.iter().map(row).collect::<Vec<_>>())
    }

    /// The range input with bars, at its middle step.
    pub fn to_html(&self) -> String {
        let (last, start) = (self.steps.len() - 1, self.steps.len() / 2);
        let (name, values) = &self.steps[start];
        let row = |(title, value): (&String, &f64)| {
            format!(
                "<tr><td>{}</td><td><meter min=\"0\" max=\"1\" value=\"{value}\"></meter></td><td class=\"value\">{value:.3}</td></tr>",
                inline(title)
            )
        };
        let rows: String = self.values.iter().zip(values).map(row).collect();
        let steps: Vec<(String, &Vec<f64>)> = self.steps.iter().map(|(name, values)| (inline(name), values)).collect();
        let steps = escape(&serde_json::json!(steps).to_string());
        format!(
            "<div class=\"slider\"><p><label>{}: <output>{}</output> <input type=\"range\" min=\"0\" max=\"{last}\" step=\"1\" value=\"{start}\" \
             data-steps=\"{steps}\" oninput=\"{}\"></label></p><table>{rows}</table></div>",
            inline(&self.setting),
            inline(name),
            escape(MOVE)
        )
    }

    /// Called by the evcxr kernel for the last value of a cell.
    pub fn evcxr_display(&self) {
        evcxr_runtime::mime_type("text/html").text(self.to_html());
        evcxr_runtime::mime_type("text/markdown").text(self.to_markdown());
        evcxr_runtime::mime_type("text/plain").text(self.table().to_text());
    }

    /// The table, in whose names backticks mark code, as they do in HTML; a table of raw answers shows them as they are.
    fn to_markdown(&self) -> String {
        self.table().to_markdown().replace("\\`", "`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_in_names_is_code() {
        let slider = Slider::new("by `x<y`", &["one"], vec![("`make ask` asks".into(), vec![0.5])]).unwrap();
        let html = slider.to_html();
        assert!(html.contains("by <code>x&lt;y</code>: <output><code>make ask</code> asks</output>"), "{html}");
        assert!(html.contains("&lt;code>make ask&lt;/code> asks"), "also when it is moved: {html}");
        assert!(slider.to_markdown().contains("| `make ask` asks |"), "{}", slider.to_markdown());
        assert_eq!(inline("a ` b"), "a ` b");
    }

    #[test]
    fn it_starts_in_the_middle_and_carries_every_step() {
        let steps = |values: Vec<f64>| {
            vec![("1 of 3".to_string(), values.clone()), ("2 <of> 3".into(), values), ("3".into(), vec![0.25, 1.0])]
        };
        let slider = Slider::new("threshold", &["precision", "recall"], steps(vec![0.5, 0.125])).unwrap();
        let html = slider.to_html();
        assert!(
            html.contains("<output>2 &lt;of> 3</output>") && html.contains("max=\"2\"") && html.contains("value=\"1\"")
        );
        assert!(html.contains("[&quot;3&quot;,[0.25,1.0]]") && !html.contains("\n\n"), "{html}");
        let text = slider.table().to_text();
        assert!(text.lines().count() == 4 && text.contains("0.125"), "{text}");
        assert!(Slider::new("t", &["one"], steps(vec![0.5, 0.1])).is_err() && Slider::new("t", &[], vec![]).is_err());
    }
}
