//! Model cards, written from the files of a run: no number is typed.
use crate::error::Result;
use crate::study::file::read_json;
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
    let mut card = String::from(
        "# Embedded base model\n\nQwen3 architecture, trained from nothing by `dxlab pretrain` (settings: pretrain.toml). It is a stand-in that lets every notebook run offline on two cores; it is **not** Qwen3 and nothing here says how Qwen3 does.\n\n",
    );
    let _ = writeln!(card, "| | |\n|---|---|");
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
        "| wall time of the last part | {:.0} minutes, {} |",
        environment["wall_seconds"].as_f64().unwrap_or_default() / 60.0,
        environment["cpu"].as_str().unwrap_or("cpu unknown")
    );
    card += "\n## Bits per byte on held-out text\n\n| source | bits per byte |\n|---|---|\n";
    for (source, bits) in measured["bits_per_byte"].as_object().into_iter().flatten() {
        let _ = writeln!(card, "| {source} | {:.3} |", bits.as_f64().unwrap_or_default());
    }
    card += "\n## Data and licences\n\nSynthetic abdominal CT reports made by dxlab (text only, no labels; never a test report).";
    if open {
        card += " Open text, not redistributed here: MedQuAD (CC BY 4.0, Ben Abacha & Demner-Fushman 2019), ACI-Bench (CC BY 4.0, Yim et al. 2023), training and development abstracts of BC5CDR (public domain mark, Li et al. 2016) and NCBI disease (public domain notice, Doğan et al. 2014).";
    }
    card += "\n\n## Limits\n\nToo small and too briefly trained to know medicine. Not for clinical use.\n";
    Ok(card)
}
