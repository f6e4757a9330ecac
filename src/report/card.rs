//! Model cards and the table of base models, written from the files of a run: no number is typed.
use crate::error::{Error, Result};
use crate::io::read_json;
use crate::model::resolve;
use crate::report::kit::display::{NONE, Table};
use crate::train::read_log;
use serde_json::Value;
use std::fmt::Write as _;
use std::path::Path;

/// The card of a pretrained base model in `dir` (config.json, pretrain.json, environment.json, log.jsonl).
pub fn base_card(dir: &Path) -> Result<String> {
    let measured: Value = read_json(&dir.join("pretrain.json"))?;
    let environment: Value = read_json(&dir.join("environment.json"))?;
    let log = read_log(&dir.join("log.jsonl"))?;
    let evals: Vec<(usize, f64)> = log.iter().filter_map(|l| Some((l.step, l.eval_loss?))).collect();
    let open = measured["open_text"] == true;
    let millions = measured["parameters"].as_f64().unwrap_or_default() / 1e6;
    let mut card = format!(
        "# Embedded base model of {millions:.1} M parameters\n\nQwen3 architecture, trained from nothing by `dxlab pretrain` (settings: pretrain.toml). It is a stand-in that lets every notebook run offline on two cores; it is **not** Qwen3 and nothing here says how Qwen3 does.\n\n",
    );
    let _ = writeln!(card, "| what | value |\n|---|---|");
    let _ = writeln!(card, "| parameters | {} (stored in f16) |", measured["parameters"]);
    let _ =
        writeln!(card, "| vocabulary | {} (own byte-level BPE with Qwen3's control tokens) |", measured["vocabulary"]);
    let _ = writeln!(card, "| training tokens, one epoch | {} |", measured["training_tokens"]);
    let _ = writeln!(
        card,
        "| updates | {}, the best at {} |",
        measured["progress"]["step"], measured["progress"]["best_step"]
    );
    if let (Some(first), Some(last)) = (evals.first(), evals.last()) {
        let _ = writeln!(
            card,
            "| held-out loss (nats a token) | {:.3} at step {}, {:.3} at step {} |",
            first.1, first.0, last.1, last.0
        );
    }
    let _ = writeln!(
        card,
        "| wall time | {:.0} minutes, {} |",
        environment["wall_seconds"].as_f64().unwrap_or_default() / 60.0,
        environment["cpu"].as_str().unwrap_or("cpu unknown")
    );
    let _ = write!(
        card,
        "\n## Bits per byte on held-out text\n\nBeside a {}-gram model of bytes (interpolated Witten–Bell) that read the same text. Of exercises only the answers count.\n\n| source | this model | {}-gram |\n|---|---|---|\n",
        measured["ngram_order"], measured["ngram_order"]
    );
    for (source, bits) in measured["bits_per_byte"].as_object().into_iter().flatten() {
        let ngram = measured["ngram_bits_per_byte"][source].as_f64().unwrap_or_default();
        let _ = writeln!(card, "| {source} | {:.3} | {ngram:.3} |", bits.as_f64().unwrap_or_default());
    }
    card += "\n## Data and licences\n\nThe findings of the **training** split of the synthetic abdominal CT reports made by dxlab: their text, and exercises whose answers stand in it (quoting, listing organs and sizes, choosing words). No label, no test report.";
    if open {
        card += " Open text, not redistributed here: MedQuAD (CC BY 4.0, Ben Abacha & Demner-Fushman 2019), ACI-Bench (CC BY 4.0, Yim et al. 2023), names of the Disease Ontology (CC0), training and development abstracts of BC5CDR with their chemicals (public domain mark, Li et al. 2016) and of NCBI disease with their diseases (public domain notice, Doğan et al. 2014). So results on NCBI disease are not zero-shot.";
    }
    card += "\n\n## Limits\n\nToo small and too briefly trained to know medicine. Not for clinical use.\n";
    Ok(card)
}

/// Bits per byte on held-out text of every source, of base models that dxlab carries, beside the n-gram model of bytes that read the
/// same as the last of them. Models whose record names no source have a dash.
pub fn bits_per_byte(models: &[&str]) -> Result<Table> {
    let read = |model: &&str| read_json::<Value>(&resolve(model)?.join("pretrain.json"));
    let measured = models.iter().map(read).collect::<Result<Vec<_>>>()?;
    let last = measured.last().ok_or_else(|| Error::input("bits per byte of no model: name at least one"))?;
    let cell = |of: &Value, source: &str| of[source].as_f64().map_or(NONE.to_string(), |bits| format!("{bits:.3}"));
    let row = |source: &String| {
        let ours = measured.iter().map(|m| cell(&m["bits_per_byte"], source));
        [source.clone()].into_iter().chain(ours).chain([cell(&last["ngram_bits_per_byte"], source)]).collect()
    };
    let sources = last["bits_per_byte"].as_object().into_iter().flat_map(|o| o.keys());
    let rows: Vec<Vec<String>> = sources.map(row).collect();
    let parameters = |(name, m): (&&str, &Value)| {
        format!("{name}, {:.1} M parameters", m["parameters"].as_f64().unwrap_or_default() / 1e6)
    };
    let ngram = format!("{}-gram of bytes", last["ngram_order"]);
    let names: Vec<String> = models.iter().zip(&measured).map(parameters).collect();
    let names: Vec<&str> =
        ["held-out text"].into_iter().chain(names.iter().map(String::as_str)).chain([&*ngram]).collect();
    Ok(Table::from_rows(&names, &rows))
}
