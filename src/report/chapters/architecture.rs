//! What the base models are made of, from their `config.json`, and whether they learnt to copy, from their
//! `pretrain.json`.
use crate::error::Result;
use crate::io::read_json;
use crate::model::{Checkpoint, Config, resolve};
use crate::report::kit::display::{NONE, Table, number};
use serde_json::Value;

/// One column a model: layers, widths, heads, vocabulary and parameters. A model that two names stand for has one
/// column.
pub fn table(models: &[&str]) -> Result<Table> {
    let mut shown: Vec<(&str, std::path::PathBuf, Config)> = Vec::new();
    for model in models {
        let place = resolve(model)?;
        if shown.iter().all(|(_, other, _)| *other != place) {
            let config = Checkpoint::open(&place)?.config().clone();
            shown.push((model, place, config));
        }
    }
    let row = |what: &str, of: &dyn Fn(&Config) -> usize| {
        let cells = shown.iter().map(|(_, _, config)| of(config).to_string());
        [what.to_string()].into_iter().chain(cells).collect::<Vec<_>>()
    };
    let embedding = |c: &Config| c.vocab_size * c.hidden_size;
    let rows = [
        row("layers", &|c| c.num_hidden_layers),
        row("width of the residual stream", &|c| c.hidden_size),
        row("width of a feed-forward block (SwiGLU)", &|c| c.intermediate_size),
        row("query heads a layer", &|c| c.num_attention_heads),
        row("key and value heads a layer", &|c| c.num_key_value_heads),
        row("width of a head", &|c| c.head_dim),
        row("vocabulary", &|c| c.vocab_size),
        row("positions, at most", &|c| c.max_position_embeddings),
        row("parameters", &|c| c.parameters()),
        row("… of the embedding", &embedding),
        row("… of an output layer of its own", &|c| if c.tie_word_embeddings { 0 } else { embedding(c) }),
    ];
    let names: Vec<&str> = ["part"].into_iter().chain(shown.iter().map(|(name, ..)| *name)).collect();
    Ok(Table::from_rows(&names, &rows))
}

/// One row a carried base model: bits per byte of answers that stand in a text, beside an n-gram model of bytes. A model that
/// copies pays little for them.
pub fn copying(models: &[&str]) -> Result<Table> {
    let row = |model: &&str| -> Result<Vec<String>> {
        let measured: Value = read_json(&resolve(model)?.join("pretrain.json"))?;
        let bits = |of: &str, source: &str| measured[of][source].as_f64().map_or(NONE.into(), number);
        let sources = ["exercises on abstracts", "exercises on synthetic reports"];
        let cells = ["bits_per_byte", "ngram_bits_per_byte"].map(|of| sources.map(|source| bits(of, source))).concat();
        let size = measured["parameters"].as_f64().map_or(NONE.into(), |n| format!("{:.1} M", n / 1e6));
        Ok([vec![model.to_string(), size], cells].concat())
    };
    let rows = models.iter().map(row).collect::<Result<Vec<_>>>()?;
    let names = ["model", "parameters", "in abstracts", "in synthetic reports", "n-gram, abstracts", "n-gram, reports"];
    Ok(Table::from_rows(&names, &rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_config_json_and_one_model_has_one_column() {
        let text = table(&["embedded", "embedded-small", "embedded-large"]).unwrap().to_text();
        let config = |model: &str| Config::read(&resolve(model).unwrap()).unwrap();
        let (small, large) = (config("embedded-small"), config("embedded-large"));
        let cells = |start: &str| -> Vec<usize> {
            let line = text.lines().find(|line| line.starts_with(start)).unwrap();
            line.split_whitespace().filter_map(|cell| cell.parse().ok()).collect()
        };
        assert_eq!(cells("layers"), [small.num_hidden_layers, large.num_hidden_layers]);
        assert_eq!(cells("parameters"), [small.parameters(), large.parameters()]);
        assert_eq!(cells("… of an output layer"), [0, 0], "{text}");
        let names: Vec<&str> = text.lines().next().unwrap().split_whitespace().collect();
        assert_eq!(names, ["part", "embedded", "embedded-large"]);
    }

    #[test]
    fn copying_is_read_from_the_record_of_pretraining() {
        let text = copying(&["embedded-small", "embedded-large"]).unwrap().to_text();
        let measured: Value = read_json(&resolve("embedded-small").unwrap().join("pretrain.json")).unwrap();
        let bits = measured["bits_per_byte"]["exercises on abstracts"].as_f64().unwrap();
        assert!(text.lines().nth(1).unwrap().contains(&format!("  {bits:.3}  ")), "{text}");
        assert!(text.lines().count() == 3 && !text.contains('–'), "{text}");
    }
}
