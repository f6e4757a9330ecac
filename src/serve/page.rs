//! The page: a form and its answer as HTML, whole without JavaScript; the script shows the same while it is made.
//!
//! Everything that is not markup of this file or of `page.html` goes through [`escape`]. The policy allows neither inline styles nor inline
//! scripts, so text that got through could not run either.
use super::NOTICE;
use super::app::{App, typed};
use super::diagnose::{Diagnosis, Finding, Measured};
use super::diagnoses::{Question, diagnosed};
use super::error::ApiError;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use serde_json::{Value, json};
use std::sync::Arc;

/// Of every answer of the server.
pub const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const TEMPLATE: &str = include_str!("page.html");

pub async fn style() -> Response<Body> {
    typed("text/css; charset=utf-8", include_str!("page.css"))
}

pub async fn script() -> Response<Body> {
    typed("text/javascript; charset=utf-8", include_str!("page.js"))
}

/// The empty form, or the form with the example of a task in it (`/?example`, `/?example=findings`).
pub async fn show(State(app): State<Arc<App>>, request: Request) -> Response<Body> {
    let mut form = Form::default();
    let query = request.uri().query().unwrap_or_default().as_bytes();
    if let Some((_, task)) = url::form_urlencoded::parse(query).find(|(name, _)| name == "example") {
        let named = app.diagnosers.iter().find(|d| d.task() == task).or(app.diagnosers.first());
        form.text = named.map(|d| d.example().text).unwrap_or_default();
        form.task = named.map(|d| d.task().to_string()).unwrap_or_default();
    }
    typed(HTML, page(&app, &form, ""))
}

/// The form was sent: the same page with the answer.
pub async fn submit(State(app): State<Arc<App>>, request: Request) -> Response<Body> {
    let host = request.headers().get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or("127.0.0.1").to_string();
    let (mut form, mut status) = (Form::default(), StatusCode::OK);
    let result = match answered(&app, request, &mut form).await {
        Ok((diagnosis, body)) => result(&form, &diagnosis, &curl(&host, &body, app.keys.wanted())),
        Err(error) => {
            status = error.status;
            format!("<p class=\"error\" role=\"alert\">{}</p>", escape(&error.message))
        }
    };
    let mut response = typed(HTML, page(&app, &form, &result));
    *response.status_mut() = status;
    response
}

/// What was typed.
#[derive(Clone, Debug, Default, PartialEq)]
struct Form {
    task: String,
    model: String,
    text: String,
    key: String,
}

impl Form {
    fn read(body: &[u8]) -> Self {
        let mut form = Self::default();
        for (name, value) in url::form_urlencoded::parse(body) {
            match &*name {
                "task" => form.task = value.into(),
                "model" => form.model = value.into(),
                // a form sends line ends as two characters
                "text" => form.text = value.replace("\r\n", "\n"),
                "key" => form.key = value.into(),
                _ => {}
            }
        }
        form
    }
}

/// Forms of other sites are not answered.
fn from_here(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").and_then(|site| site.to_str().ok());
    site.is_none_or(|site| matches!(site, "same-origin" | "none"))
}

async fn answered(app: &App, request: Request, form: &mut Form) -> Result<(Diagnosis, Value), ApiError> {
    if !from_here(request.headers()) {
        return Err(ApiError::new(StatusCode::FORBIDDEN, "this form came from another site"));
    }
    // the key stands in the form, so the body is read before the key is known
    let body = app.form_body(request).await?;
    *form = Form::read(&body);
    let bearer = (!form.key.is_empty()).then(|| format!("Bearer {}", form.key));
    let account = app.keys.account(bearer.as_deref())?;
    let admitted = app.place(account)?;
    let named = |text: &String| (!text.is_empty()).then(|| text.clone());
    let diagnoser = app.diagnoser(named(&form.task).as_deref())?;
    let model = app.model_for_diagnoses(named(&form.model).as_deref())?;
    let body = json!({"task": diagnoser.task(), "model": app.served.entries[model].name, "text": form.text});
    let finding = Finding { text: form.text.clone(), model, top: 10, ..Finding::default() };
    let diagnosis = diagnosed(app, admitted, Question { diagnoser, finding, stream: false }).await?;
    Ok((diagnosis, body))
}

/// The exact request, for a shell.
fn curl(host: &str, body: &Value, key: bool) -> String {
    let quoted = body.to_string().replace('\'', "'\\''");
    let key = if key { " -H \"Authorization: Bearer $KEY\"" } else { "" };
    format!("curl http://{host}/v1/diagnose -H 'Content-Type: application/json'{key} -d '{quoted}'")
}

/// Text as HTML, in elements and in quoted attributes.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            // no browser takes a NUL
            '\0' => out.push(char::REPLACEMENT_CHARACTER),
            _ => out.push(c),
        }
    }
    out
}

/// Fills each `{{place}}` once; what is filled in is not looked at again.
fn fill(template: &str, values: &[(&str, String)]) -> String {
    let (mut out, mut rest) = (String::new(), template);
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").unwrap_or((after, ""));
        out += before;
        out += values.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value);
        rest = after;
    }
    out + rest
}

fn page(app: &App, form: &Form, result: &str) -> String {
    let option = |value: &str, shown: &str, chosen: bool| {
        let chosen = if chosen { " selected" } else { "" };
        format!("<option value=\"{}\"{chosen}>{}</option>", escape(value), escape(shown))
    };
    let chosen = app.diagnosers.iter().find(|d| d.task() == form.task).or(app.diagnosers.first());
    let tasks = app.diagnosers.iter().map(|d| {
        let selected = if chosen.is_some_and(|one| one.task() == d.task()) { " selected" } else { "" };
        let (label, hint) = d.input();
        format!(
            "<option value=\"{}\" data-label=\"{}\" data-hint=\"{}\" data-example=\"{}\" data-terms=\"{}\"{selected}>{}</option>",
            escape(d.task()),
            escape(label),
            escape(hint),
            escape(&d.example().text),
            !d.terms("a").is_empty(),
            escape(d.title())
        )
    });
    let (label, hint) = chosen.map_or(("Text", ""), |d| d.input());
    let examples: Vec<String> = app
        .diagnosers
        .iter()
        .map(|d| format!("<a class=\"example\" href=\"/?example={0}\" data-task=\"{0}\">{0}</a>", escape(d.task())))
        .collect();
    let usual = app.model_for_diagnoses(None).unwrap_or_default();
    let models = app.served.entries.iter().enumerate().map(|(i, entry)| {
        let chosen = if form.model.is_empty() { i == usual } else { entry.name == form.model };
        let what = entry.adapter.as_ref().map_or("base model, not trained for this", |_| "fine-tuned");
        option(&entry.name, &format!("{} ({what})", entry.name), chosen)
    });
    let key = match app.keys.wanted() {
        true => {
            "<label for=\"key\">API key</label><input id=\"key\" name=\"key\" type=\"password\" autocomplete=\"off\" required>"
        }
        false => "",
    };
    fill(
        TEMPLATE,
        &[
            ("notice", escape(NOTICE)),
            ("tasks", tasks.collect()),
            ("models", models.collect()),
            ("text", escape(&form.text)),
            ("label", escape(label)),
            ("hint", escape(hint)),
            ("examples", examples.join(" · ")),
            ("key", key.into()),
            ("result", result.into()),
        ],
    )
}

fn percent(p: f64) -> String {
    format!("{}\u{a0}%", (100.0 * p).round()) // halves up, as the script does
}

fn measured_words(measured: Option<&Measured>) -> String {
    match measured {
        Some(Measured { metric, estimate, corpus, synthetic, run }) => {
            let synthetic =
                if *synthetic { " These cases are synthetic: the number says nothing about patients." } else { "" };
            let metric = match metric.as_str() {
                "micro_f1" => "micro-F1",
                "hit_1" => "share whose first disease is right",
                other => other,
            };
            format!(
                "Measured on {} cases of {corpus}, of one answer to each: {metric} {:.3}, 95 % interval {:.3} to {:.3} (run {run}).{synthetic}",
                estimate.n, estimate.value, estimate.low, estimate.high
            )
        }
        None => "How often this model is right was not measured, or not given to this server.".into(),
    }
}

/// The answer as HTML.
fn result(form: &Form, d: &Diagnosis, curl: &str) -> String {
    let confidence = d.confidence.map(percent).unwrap_or_default();
    let mut out = String::from("<h2>Answer</h2>");
    if d.abstained {
        let threshold = d.threshold.map(percent).unwrap_or_default();
        out += &format!(
            "<p class=\"abstained\"><strong>The model abstains.</strong> Its confidence is {confidence}, below {threshold}. What follows is not an answer; it shows what was considered.</p>"
        );
    }
    out += &d.warnings.iter().map(|w| format!("<p class=\"warning\">Note: {}.</p>", escape(w))).collect::<String>();
    out += if d.labels.is_empty() { "<p>No label was named.</p>" } else { "<ol class=\"labels\">" };
    for (i, named) in d.labels.iter().enumerate() {
        let (label, p) = (escape(&named.label), named.probability);
        let evidence = evidence(i, named.evidence.as_ref());
        out += &format!(
            "<li><span class=\"label\">{label}</span> <meter min=\"0\" max=\"1\" value=\"{p:.4}\" aria-label=\"{label}: {}\"></meter> <span class=\"number\">{}</span>{evidence}</li>",
            percent(p),
            percent(p)
        );
    }
    out += if d.labels.is_empty() { "" } else { "</ol>" };
    out += &format!(
        "<p class=\"small\">Percentages: {}. Confidence {confidence}: {}.</p>",
        escape(&d.probabilities),
        escape(&d.confidence_is)
    );
    out += &format!("<p class=\"measured\">{}</p>", escape(&measured_words(d.measured.as_ref())));
    if d.labels.iter().flat_map(|named| &named.evidence).any(|found| found["start"].is_u64()) {
        out += &format!("<h3>The text, with the evidence marked</h3><p class=\"marked\">{}</p>", marked(&form.text, d));
    }
    if let Some(raw) = &d.raw {
        out += &format!("<h3>The model's own words</h3><p class=\"raw\">{}</p>", escape(raw));
    }
    out + &details(d, curl)
}

/// The sentence that a label hangs on.
fn evidence(i: usize, found: Option<&Value>) -> String {
    let Some(found) = found else { return "<p class=\"evidence\">No sentence of the text speaks of it.</p>".into() };
    if let Some(signs) = found["signs"].as_array() {
        let one = |sign: &Value| {
            let not = if sign["excluded"] == true { "not " } else { "" };
            let text = |name: &str| escape(sign[name].as_str().unwrap_or_default());
            let value = sign["value"].as_f64().unwrap_or_default();
            format!("<li>{not}{}: {value:+.2}, {}</li>", text("name"), text("reason"))
        };
        return format!("<ul class=\"evidence\">{}</ul>", signs.iter().map(one).collect::<String>());
    }
    let what = if found["mentions"] == true { "Evidence" } else { "No sentence names it. The nearest" };
    let denied = if found["denied"] == true { " <strong>The sentence denies it.</strong>" } else { "" };
    let text = escape(found["text"].as_str().unwrap_or_default());
    format!("<p class=\"evidence\">{what}: <a href=\"#e{i}\">{text}</a>{denied}</p>")
}

/// What the answer came from, and how to ask again.
fn details(d: &Diagnosis, curl: &str) -> String {
    let row = |name: &str, value: &str| format!("<dt>{name}</dt><dd><code>{}</code></dd>", escape(value));
    let rows = [
        row("Model", &d.model),
        row("Adapter", d.adapter.as_deref().unwrap_or("none")),
        row("Prompt", &d.prompt),
        row("Task", &d.task),
        row("Corpus", &d.corpus),
    ];
    format!(
        "<details><summary>Where this answer comes from, and the same request for a shell</summary><dl>{}</dl><pre class=\"curl\" tabindex=\"0\"><code>{}</code></pre></details>",
        rows.concat(),
        escape(curl)
    )
}

/// The text with its evidence sentences in `<mark>`; the first label of a sentence gives it its place.
fn marked(text: &str, d: &Diagnosis) -> String {
    let place = |e: &Value, name: &str| e[name].as_u64().map(|n| n as usize);
    let spans = d.labels.iter().enumerate().filter_map(|(i, named)| {
        let e = named.evidence.as_ref()?;
        Some((place(e, "start")?, place(e, "end")?, i))
    });
    let mut spans: Vec<(usize, usize, usize)> = spans.collect();
    spans.sort();
    let (chars, mut at, mut out) = (text.chars().collect::<Vec<_>>(), 0, String::new());
    let piece =
        |from: usize, to: usize| escape(&chars[from.min(chars.len())..to.min(chars.len())].iter().collect::<String>());
    for (i, (start, end, label)) in spans.iter().enumerate() {
        let place = format!("<span id=\"e{label}\"></span>");
        if i > 0 && (spans[i - 1].0, spans[i - 1].1) == (*start, *end) {
            out += &place; // another label of the same sentence
        } else if *start >= at {
            out += &format!("{}{place}<mark>{}</mark>", piece(at, *start), piece(*start, *end));
            at = *end;
        }
    }
    out + &piece(at, chars.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::Named;

    #[test]
    fn all_text_is_escaped_and_filled_once() {
        assert_eq!(
            escape("<script>alert(\"a\" & 'b')</script>\0"),
            "&lt;script&gt;alert(&quot;a&quot; &amp; &#39;b&#39;)&lt;/script&gt;\u{FFFD}"
        );
        let filled = fill("a {{x}} b {{y}} {{none}}", &[("x", "{{y}}".into()), ("y", "2".into())]);
        assert_eq!(filled, "a {{y}} b 2 ");
        assert!(curl("h", &json!({"text": "it's"}), true).ends_with(r#"-d '{"text":"it'\''s"}'"#));
        let form = Form::read(b"text=a%3Cb%0D%0Ac&model=m&other=1&key=k");
        assert_eq!(form, Form { text: "a<b\nc".into(), model: "m".into(), key: "k".into(), task: String::new() });
    }

    #[test]
    fn evidence_is_marked_in_code_points_and_every_label_has_its_place() {
        let named = |start: u64, end: u64| Named {
            label: "x".into(),
            probability: 0.5,
            evidence: Some(json!({"start": start, "end": end, "text": "", "denied": false})),
        };
        let labels = vec![named(5, 9), named(0, 4), named(5, 9), Named { evidence: None, ..named(0, 0) }, named(7, 99)];
        let d = Diagnosis { labels, ..empty() };
        assert_eq!(
            marked("Gäl. <ab>.", &d),
            "<span id=\"e1\"></span><mark>Gäl.</mark> <span id=\"e0\"></span><mark>&lt;ab&gt;</mark><span id=\"e2\"></span>."
        );
    }

    fn empty() -> Diagnosis {
        Diagnosis {
            task: String::new(),
            model: String::new(),
            adapter: None,
            prompt: String::new(),
            corpus: String::new(),
            labels: vec![],
            probabilities: String::new(),
            raw: None,
            confidence: None,
            confidence_is: String::new(),
            threshold: None,
            abstained: false,
            measured: None,
            warnings: vec![],
            prompt_tokens: 0,
            new_tokens: 0,
        }
    }
}
