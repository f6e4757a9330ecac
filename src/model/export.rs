//! A model written for others: a folder in Hugging Face layout, or one GGUF file.
//!
//! Tensors go from the source to the file one at a time, so memory holds one. The tokenizer's files and the chat template are those of
//! the source, byte for byte where it is a folder. A folder or file appears whole under its name or not at all.
use super::gguf::{self, Contents, Gguf, Quality, Written};
use super::{Config, Tokenizer, tensors};
use crate::error::{Error, Result};
use crate::io::write_beside;
use candle_core::{DType, Tensor};
use std::path::Path;

/// Where the weights to write come from: a tensor of any float type by its checkpoint name and shape.
pub type Dense<'a> = dyn FnMut(&str, &[usize]) -> Result<Tensor> + 'a;

/// What is copied from a source folder as it is; `config.json` and weights are written anew.
const TOKENIZER: [&str; 6] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "generation_config.json",
];

/// Bytes of weights in one file of a folder, at most, where nothing else is said: as transformers 4.
pub const SHARD: u64 = 5_000_000_000;

/// Fills the folder `dir` with weights in `dtype` (F32, F16 or BF16) in files of at most `shard` bytes, config, and the tokenizer of
/// `source` (a folder or GGUF file). For a folder under its final name see [`beside`].
pub fn folder(dir: &Path, source: &Path, config: &Config, dtype: DType, shard: u64, weights: &mut Dense) -> Result<()> {
    std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
    tensors::write_shards(dir, &config.tensors(), dtype, shard, weights)?;
    config.write_as(dir, Some(dtype))?;
    tokenizer(dir, source)
}

/// Puts the tokenizer of `source` (a folder or GGUF file) with its chat template and generation config into the folder `dir`.
pub fn tokenizer(dir: &Path, source: &Path) -> Result<()> {
    if source.is_file() {
        return tokenizer_of_file(dir, source);
    }
    for name in TOKENIZER.into_iter().filter(|name| source.join(name).is_file()) {
        let from = source.join(name);
        std::fs::copy(&from, dir.join(name)).map_err(Error::io(&from))?;
    }
    Ok(())
}

fn tokenizer_of_file(dir: &Path, source: &Path) -> Result<()> {
    if let Some(tokenizer) = Tokenizer::find(source)? {
        tokenizer.save(dir)?;
    }
    if let Some(template) = Gguf::open(source)?.chat_template() {
        let path = dir.join("chat_template.jinja"); // goes before the one in tokenizer_config.json
        std::fs::write(&path, template).map_err(Error::io(&path))?;
    }
    Ok(())
}

/// Writes the GGUF file `path` with the tokenizer and chat template of `source`; says which types the tensors got.
pub fn gguf(
    path: &Path,
    source: &Path,
    name: &str,
    config: &Config,
    quality: Quality,
    weights: &mut Dense,
) -> Result<Vec<Written>> {
    let tokenizer = Tokenizer::find(source)?;
    let template = match &tokenizer {
        // Qwen3's format, where no template says otherwise, as prompts are written.
        Some(t) => {
            chat_template(source)?.or_else(|| t.control().im_start.map(|_| super::vocabulary::chat_template().into()))
        }
        None => None,
    };
    let contents =
        Contents { name, config, tokenizer: tokenizer.as_ref(), chat_template: template.as_deref(), quality };
    gguf::write(path, &contents, weights)
}

/// The source's own chat template: `chat_template.jinja`, else that of `tokenizer_config.json`.
fn chat_template(source: &Path) -> Result<Option<String>> {
    if source.is_file() {
        return Ok(Gguf::open(source)?.chat_template().map(String::from));
    }
    let file = source.join("chat_template.jinja");
    if file.is_file() {
        return crate::io::read_text(&file).map(Some);
    }
    let value = crate::prompt::template::tokenizer_config(source)?.0;
    let template = match &value["chat_template"] {
        // transformers 4 could keep several, by name
        serde_json::Value::Array(named) => named.iter().find(|t| t["name"] == "default").map(|t| &t["template"]),
        other => Some(other),
    };
    Ok(template.and_then(|t| t.as_str()).map(String::from))
}

/// Lets `fill` fill a folder beside `dir` and renames it: `dir` appears whole or not at all. It must not be there yet.
pub fn beside<T>(dir: &Path, fill: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    if std::fs::symlink_metadata(dir).is_ok() {
        return Err(Error::input(format!("{} is already there: give another name or remove it", dir.display())));
    }
    let parent = dir.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(Error::io(parent))?;
    let mut made = None;
    let done = write_beside(dir, |beside| {
        std::fs::create_dir(beside).map_err(Error::io(beside))?;
        made = Some(beside.to_path_buf());
        fill(beside)
    });
    if let (Err(_), Some(beside)) = (&done, &made) {
        let _ = std::fs::remove_dir_all(beside); // the first error is the one to report
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Checkpoint;

    #[test]
    fn a_folder_is_whole_or_not_there() {
        let at = tempfile::tempdir().unwrap();
        let dir = at.path().join("new/model");
        let fill = |beside: &Path| std::fs::write(beside.join("a"), "x").map_err(Error::io(beside));
        let failed = beside(&dir, |beside| fill(beside).and(Err::<(), _>(Error::failed("refused"))));
        assert!(failed.is_err() && std::fs::read_dir(dir.parent().unwrap()).unwrap().next().is_none());
        beside(&dir, fill).unwrap();
        assert_eq!(std::fs::read_dir(dir.parent().unwrap()).unwrap().count(), 1);
        assert_eq!(beside(&dir, fill).unwrap_err().exit_code(), 2, "never on top of another");
    }

    #[test]
    fn a_large_model_is_written_in_shards_that_read_as_one_file() {
        let (at, source) = (tempfile::tempdir().unwrap(), crate::model::golden::path("tied"));
        let (config, base) = (Config::read(&source).unwrap(), Checkpoint::open(&source).unwrap());
        let write = |name: &str, shard: u64| {
            let dir = at.path().join(name);
            folder(&dir, &source, &config, DType::F32, shard, &mut |name, shape| base.tensor(name, shape)).unwrap();
            dir
        };
        let count = |dir: &Path| {
            let files = std::fs::read_dir(dir).unwrap().map(|f| f.unwrap().file_name().to_string_lossy().into_owned());
            files.filter(|name| name.ends_with(".safetensors")).count()
        };
        assert_eq!(count(&write("one", SHARD)), 1);
        // the embedding is 65,536 bytes, a projection of the MLP 40,960
        for (name, shard, most) in [("some", 70_000, 70_000), ("each", 1, 65_536)] {
            let dir = write(name, shard);
            let index = std::fs::read_to_string(dir.join("model.safetensors.index.json")).unwrap();
            let index: serde_json::Value = serde_json::from_str(&index).unwrap();
            assert_eq!(index["metadata"]["total_size"], 4 * config.parameters());
            assert!(!dir.join("model.safetensors").exists() && count(&dir) > 4);
            assert!(dir.join(format!("model-00001-of-{:05}.safetensors", count(&dir))).is_file());
            let read = Checkpoint::open(&dir).unwrap();
            read.check().unwrap();
            let numbers = |t: Tensor| -> Vec<f32> { t.flatten_all().unwrap().to_vec1().unwrap() };
            for (name, shape) in config.tensors() {
                assert!(numbers(read.tensor(&name, &shape).unwrap()) == numbers(base.tensor(&name, &shape).unwrap()));
            }
            for file in std::fs::read_dir(&dir).unwrap().map(|f| f.unwrap().path()) {
                if file.extension().is_some_and(|e| e == "safetensors") {
                    let all = tensors::read(&file).unwrap();
                    assert!(all.values().map(|t| 4 * t.elem_count()).sum::<usize>() <= most, "{}", file.display());
                }
            }
        }
        assert_eq!(count(&at.path().join("each")), config.tensors().len());
    }

    #[test]
    fn a_template_is_found_wherever_a_folder_keeps_it() {
        let dir = tempfile::tempdir().unwrap();
        let (config, file) = (dir.path().join("tokenizer_config.json"), dir.path().join("chat_template.jinja"));
        let found = || chat_template(dir.path()).unwrap();
        assert_eq!(found(), None);
        std::fs::write(&config, r#"{"chat_template": "one"}"#).unwrap();
        assert_eq!(found().unwrap(), "one");
        std::fs::write(
            &config,
            r#"{"chat_template": [{"name": "tools", "template": "a"}, {"name": "default", "template": "b"}]}"#,
        )
        .unwrap();
        assert_eq!(found().unwrap(), "b");
        std::fs::write(&file, "file").unwrap();
        assert_eq!(found().unwrap(), "file");
    }
}
