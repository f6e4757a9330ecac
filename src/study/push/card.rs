//! The model card: YAML that the hub reads, then text. Every number is of the run or of [`super::scores`]; what is not known is said to
//! be missing.
use super::scores::about;
use super::{Data, Subject};
use crate::error::Result;
use crate::metric::Reading;
use std::fmt::Write;

const LIMITS: &str = "\
## Limits

**For research only. Not a medical device: not for patient care, not for urgent decisions, not for patient data.** It names \
labels that it learned from its training cases, in their language and style, and names them wrongly as the scores say. \
Nothing here was checked by a clinician. A model can repeat pieces of the texts that it was trained on.
";

/// The text of README.md.
pub fn card(subject: &Subject) -> Result<String> {
    let mut text = front(subject);
    let _ = writeln!(text, "# {}\n", subject.push.to); // writing to a String cannot fail
    text += &what(subject)?;
    text += &data(subject);
    text += &scores(subject);
    text += &loading(subject);
    text += LIMITS;
    text += &origin(subject);
    Ok(text)
}

/// A JSON string is a YAML string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn front(subject: &Subject) -> String {
    let mut lines = vec!["---".to_string()];
    if let Some(base) = &subject.base {
        lines.push(format!("base_model: {}", quoted(base)));
        let relation = if subject.push.merged || subject.whole { "finetune" } else { "adapter" };
        lines.push(format!("base_model_relation: {relation}"));
    }
    lines.push("license:".into());
    lines.extend(subject.licences.iter().map(|licence| format!("- {}", quoted(licence))));
    lines.push(format!("library_name: {}", if subject.whole { "transformers" } else { "peft" }));
    lines.push("pipeline_tag: text-generation".into());
    lines.push("language:\n- en".into());
    lines.push("tags:\n- dxlab\n- medical\n- research-only".into());
    if !subject.whole {
        lines.push("- lora".into());
    }
    if subject.data == Data::Synthetic {
        lines.push("- synthetic-data".into());
    }
    lines.push("---\n\n".into());
    lines.join("\n")
}

fn what(subject: &Subject) -> Result<String> {
    let config = subject.config;
    let (method, r, alpha) = (config.adapter.method.name(), config.adapter.r, config.adapter.alpha);
    let model = &config.model;
    let about = about(model)?.map_or(String::new(), |about| format!(" ({about})"));
    let kind = match (subject.push.merged, subject.whole) {
        (true, _) => format!("The model `{model}`{about} with a {method} adapter (rank {r}, alpha {alpha}) folded in"),
        (_, true) => format!("The model `{model}`{about}, all of its weights fine-tuned"),
        _ => format!("A {method} adapter (PEFT format, rank {r}, alpha {alpha}) for `{model}`{about}"),
    };
    let mut text = format!("{kind}, trained by dxlab with the prompt `{}`.\n\n", config.prompt);
    match &subject.base {
        Some(base) if model == "smollm2" => {
            let _ = writeln!(
                text,
                "It was trained on the base model in 4-bit blocks. `{base}` on the hub has other numbers in its weights, so answers and scores differ somewhat from those below, which were made with dxlab.\n"
            );
        }
        None if !subject.whole => {
            text += "The base model is not on the hub: it is carried by dxlab, or lies on its maker's machine. PEFT needs it as a local folder.\n\n";
        }
        _ => {}
    }
    Ok(text)
}

fn data(subject: &Subject) -> String {
    let corpus = &subject.config.corpus;
    let told = match &subject.data {
        Data::Synthetic => format!(
            "Corpus `{corpus}`: **synthetic**. No patient, report or institution stands behind its texts, and scores on it say nothing about patients."
        ),
        Data::Open { title, licence } => {
            format!("Corpus `{corpus}`: {title}, an open corpus ({licence}). Not synthetic.")
        }
        Data::Permitted => format!(
            "Corpus `{corpus}`: **not synthetic**, and not an open corpus that dxlab knows. Who uploaded this declared that they may pass on what was trained on it."
        ),
    };
    format!("## Data\n\n{told}\n\n")
}

fn scores(subject: &Subject) -> String {
    let mut text = String::from("## Scores\n\n");
    if subject.scores.is_empty() {
        text += "Missing: the run store held no predictions of this model on all test cases with its own prompt.\n\n";
        return text;
    }
    text += "| test cases | metric | value | 95 % interval | cases | predictions |\n|---|---|---|---|---|---|\n";
    for score in &subject.scores {
        let (e, reading) = (
            &score.estimate,
            match score.reading {
                Reading::Raw => "as written",
                Reading::Normalised => "labels normalised",
            },
        );
        let synthetic = if score.synthetic && !score.corpus.contains("synthetic") { " (synthetic)" } else { "" };
        let _ = writeln!(
            text,
            "| {}{synthetic} | {}, {reading} | {:.3} | {:.3} to {:.3} | {} | `{}` |",
            score.corpus, score.metric, e.value, e.low, e.high, e.n, score.run
        );
    }
    text +=
        "\nComputed from the stored answers when this card was written; bootstrap intervals over groups of cases.\n\n";
    if subject.push.merged {
        text += "The answers are those of base and adapter; the merged model was only compared with them (`merge.json`).\n\n";
    }
    text
}

fn loading(subject: &Subject) -> String {
    let to = &subject.push.to;
    let base = subject.base.as_deref().unwrap_or("FOLDER-OF-THE-BASE-MODEL");
    let python = match subject.whole {
        true => format!(
            "from transformers import AutoModelForCausalLM, AutoTokenizer\ntokenizer = AutoTokenizer.from_pretrained(\"{to}\")\nmodel = AutoModelForCausalLM.from_pretrained(\"{to}\")"
        ),
        false => format!(
            "from peft import PeftModel\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\ntokenizer = AutoTokenizer.from_pretrained(\"{base}\")\nbase = AutoModelForCausalLM.from_pretrained(\"{base}\")\nmodel = PeftModel.from_pretrained(base, \"{to}\")"
        ),
    };
    let model = &subject.config.model;
    let (dxlab, gguf) = match subject.whole {
        true => (
            format!("dxlab predict --model {to} --prompt {} --out answers.jsonl", subject.config.prompt),
            format!("dxlab export --model {to} --format gguf --out model.gguf"),
        ),
        false => (
            format!(
                "hf download {to} --local-dir adapter\ndxlab predict --model {model} --adapter adapter --prompt {} --out answers.jsonl",
                subject.config.prompt
            ),
            format!("dxlab export --model {model} --adapter adapter --format gguf --out model.gguf"),
        ),
    };
    let title = if subject.whole { "transformers" } else { "transformers and PEFT" };
    format!(
        "## How to load it\n\n{title}:\n\n```python\n{python}\n```\n\ndxlab:\n\n```sh\n{dxlab}\n```\n\nllama.cpp, by a file that dxlab writes:\n\n```sh\n{gguf}\nllama-cli -m model.gguf\n```\n\n"
    )
}

fn origin(subject: &Subject) -> String {
    let spec = &subject.run.spec;
    let of = |key: &str| spec.spec[key].as_str().unwrap_or("missing").to_string();
    format!(
        "\n## Where it comes from\n\n| | |\n|---|---|\n| run | `{}`, SHA-256 `{}` |\n| base model | `{}` |\n| corpus | SHA-256 `{}` |\n| prompt | `{}` |\n| made with | dxlab {}, numerics {} |\n",
        subject.run.folder(),
        spec.digest,
        of("base"),
        of("corpus"),
        of("prompt"),
        env!("CARGO_PKG_VERSION"),
        spec.numerics
    )
}
