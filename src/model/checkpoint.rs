//! A checkpoint folder in Hugging Face layout: `config.json` and `model.safetensors`, or shards with `model.safetensors.index.json`.
//!
//! Strict both ways: a tensor that is missing, misshapen or never asked for is an error that names the tensor and the file. Headers are checked
//! against the length of the file before anything is read, so a cut or hostile file ends in an error, never in a panic or a wild
//! allocation. Tensors come as f32 on the CPU, one at a time: peak memory is the model plus one tensor as stored.
use super::config::Config;
use crate::error::{Error, Result};
use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const HEAD: &str = "lm_head.weight";
/// A header lists names and shapes only; safetensors itself refuses longer ones.
const LONGEST_HEADER: u64 = 100_000_000;

/// One opened checkpoint. See the file's header.
#[derive(Debug)]
pub struct Checkpoint {
    dir: PathBuf,
    config: Config,
    entries: BTreeMap<String, Entry>,
    asked: Mutex<BTreeSet<String>>,
}

#[derive(Clone, Debug)]
struct Entry {
    file: PathBuf,
    /// Of the first byte, from the start of the file.
    offset: u64,
    info: TensorInfo,
}

impl Checkpoint {
    /// Reads `config.json` and every header; no tensor yet.
    pub fn open(dir: &Path) -> Result<Self> {
        let config = Config::read(dir)?;
        let single = dir.join(SINGLE);
        let entries = if single.is_file() {
            header(&single)?
        } else if dir.join(INDEX).is_file() {
            shards(dir)?
        } else {
            return Err(Error::input(format!("{}: neither {SINGLE} nor {INDEX} is there", dir.display())));
        };
        Ok(Self { dir: dir.to_path_buf(), config, entries, asked: Mutex::default() })
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Every tensor of the files, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The tensor called `name`, which must have `shape`, as f32 on the CPU.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let entry = self.entries.get(name).ok_or_else(|| {
            Error::input(format!("{}: tensor `{name}` {shape:?} is missing; does config.json fit?", self.dir.display()))
        })?;
        if entry.info.shape != shape {
            return Err(Error::input(format!(
                "{}: tensor `{name}` has shape {:?}, expected {shape:?} by config.json",
                entry.file.display(),
                entry.info.shape
            )));
        }
        let values = entry.values(name)?;
        // A poisoned lock only means that another thread panicked between two inserts: the set is still whole.
        self.asked.lock().unwrap_or_else(|e| e.into_inner()).insert(name.to_string());
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
    }

    /// Fails if a tensor of the files was never asked for. A tied checkpoint may still carry its head, if it equals the embedding.
    pub fn finish(&self) -> Result<()> {
        let asked = self.asked.lock().unwrap_or_else(|e| e.into_inner());
        for (name, entry) in self.entries.iter().filter(|(name, _)| !asked.contains(*name)) {
            let file = entry.file.display();
            if name != HEAD || !self.config.tie_word_embeddings {
                return Err(Error::input(format!(
                    "{file}: tensor `{name}` is not part of a Qwen3 with this config.json"
                )));
            }
            let tied = self.entries.get("model.embed_tokens.weight");
            let equal = match tied {
                Some(embedding) => embedding.values("model.embed_tokens.weight")? == entry.values(name)?,
                None => false,
            };
            if !equal {
                return Err(Error::input(format!(
                    "{file}: `{HEAD}` differs from `model.embed_tokens.weight`, but config.json has tie_word_embeddings: set it to false"
                )));
            }
        }
        Ok(())
    }

    /// SHA-256 over `config.json` and every weight file (name and bytes, in order of name), in hex.
    pub fn digest(&self) -> Result<String> {
        let files: BTreeSet<PathBuf> = self.entries.values().map(|e| e.file.clone()).collect();
        let mut hash = Sha256::new();
        for path in [self.dir.join("config.json")].iter().chain(&files) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let mut file = File::open(path).map_err(Error::io(path))?;
            let bytes = file.metadata().map_err(Error::io(path))?.len();
            hash.update(format!("{name}\0{bytes}\0"));
            let mut piece = vec![0; 1 << 20];
            loop {
                match file.read(&mut piece).map_err(Error::io(path))? {
                    0 => break,
                    n => hash.update(&piece[..n]),
                }
            }
        }
        Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
    }

    /// Writes `dir/model.safetensors` in `dtype` (F32, F16 or BF16): beside, then renamed. `Config::write` writes the rest.
    pub fn save(dir: &Path, tensors: &BTreeMap<String, Tensor>, dtype: DType) -> Result<()> {
        std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
        let cast = tensors.iter().map(|(name, t)| Ok((name.as_str(), t.detach().to_dtype(dtype)?.contiguous()?)));
        let cast = cast.collect::<Result<Vec<_>>>()?;
        let pytorch = HashMap::from([("format".to_string(), "pt".to_string())]); // transformers asks for it
        write_beside(&dir.join(SINGLE), |path| {
            safetensors::serialize_to_file(cast, Some(pytorch), path)
                .map_err(|e| Error::failed(format!("{}: {e}", path.display())))
        })
    }
}

impl Entry {
    fn values(&self, name: &str) -> Result<Vec<f32>> {
        let path = &self.file;
        let (start, end) = self.info.data_offsets;
        let mut bytes = vec![0; end - start]; // within the file, by `header`
        let mut file = File::open(path).map_err(Error::io(path))?;
        file.seek(SeekFrom::Start(self.offset)).map_err(Error::io(path))?;
        file.read_exact(&mut bytes).map_err(Error::io(path))?;
        let pairs = || bytes.chunks_exact(2).map(|b| [b[0], b[1]]);
        Ok(match self.info.dtype {
            Dtype::F32 => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
            Dtype::F16 => pairs().map(|b| f16::from_le_bytes(b).to_f32()).collect(),
            Dtype::BF16 => pairs().map(|b| bf16::from_le_bytes(b).to_f32()).collect(),
            other => {
                return Err(Error::input(format!(
                    "{}: tensor `{name}` is stored as {other:?}, expected F32, F16 or BF16: give the unquantised checkpoint",
                    path.display()
                )));
            }
        })
    }
}

/// The tensors of one safetensors file, once its header is known to fit the file's length.
fn header(path: &Path) -> Result<BTreeMap<String, Entry>> {
    let bad = |what: String| Error::input(format!("{}: {what}; is the file cut or not safetensors?", path.display()));
    let mut file = File::open(path).map_err(Error::io(path))?;
    let size = file.metadata().map_err(Error::io(path))?.len();
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(|_| bad(format!("{size} bytes are too few for a header")))?;
    let length = u64::from_le_bytes(length);
    if length > LONGEST_HEADER || length > size - 8 {
        return Err(bad(format!("the header claims {length} bytes of {size}")));
    }
    let mut json = vec![0; length as usize];
    file.read_exact(&mut json).map_err(Error::io(path))?;
    let metadata: Metadata = serde_json::from_slice(&json).map_err(|e| bad(format!("the header is not valid: {e}")))?;
    let wanted = 8 + length + metadata.data_len() as u64;
    if wanted != size {
        return Err(bad(format!("the header describes {wanted} bytes, the file has {size}")));
    }
    let tensors = metadata.tensors().into_iter();
    Ok(tensors
        .map(|(name, info)| {
            let offset = 8 + length + info.data_offsets.0 as u64;
            (name, Entry { file: path.to_path_buf(), offset, info: info.clone() })
        })
        .collect())
}

/// The tensors of a sharded checkpoint: exactly those of the index, each in the shard that the index names.
fn shards(dir: &Path) -> Result<BTreeMap<String, Entry>> {
    let index = dir.join(INDEX);
    let map = weight_map(&index)?;
    let mut entries = BTreeMap::new();
    for shard in map.values().collect::<BTreeSet<_>>() {
        let path = dir.join(shard);
        for (name, entry) in header(&path)? {
            if map.get(&name) != Some(shard) {
                return Err(Error::input(format!("{}: tensor `{name}` is not listed in {INDEX}", path.display())));
            }
            entries.insert(name, entry);
        }
    }
    match map.iter().find(|(name, _)| !entries.contains_key(*name)) {
        Some((name, shard)) => {
            Err(Error::input(format!("{}: tensor `{name}` is not in {shard}, where the index has it", index.display())))
        }
        None => Ok(entries),
    }
}

/// Tensor → shard, as an index file says. Shards are plain names: an index cannot reach out of its folder.
pub(super) fn weight_map(index: &Path) -> Result<BTreeMap<String, String>> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let bytes = std::fs::read(index).map_err(Error::io(index))?;
    let Index { weight_map } =
        serde_json::from_slice(&bytes).map_err(|e| Error::input(format!("{}: not valid: {e}", index.display())))?;
    match weight_map.values().find(|shard| !shard.ends_with(".safetensors") || shard.contains(['/', '\\', ':'])) {
        Some(shard) => Err(Error::input(format!("{}: `{shard}` is not the name of a shard", index.display()))),
        None => Ok(weight_map),
    }
}

/// Lets `write` write a file beside `path` and renames it: `path` appears whole or not at all, and nothing else is left.
pub(super) fn write_beside(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let done = write(&beside).and_then(|()| std::fs::rename(&beside, path).map_err(Error::io(path)));
    if done.is_err() {
        let _ = std::fs::remove_file(&beside); // the first error is the one to report
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
    }

    fn copy(name: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(golden(name)).unwrap().map(|e| e.unwrap()) {
            std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
        }
        dir
    }

    fn read_all(checkpoint: &Checkpoint) -> Result<BTreeMap<String, Tensor>> {
        let wanted = checkpoint.config().tensors().into_iter();
        let all = wanted.map(|(name, shape)| Ok((name.clone(), checkpoint.tensor(&name, &shape)?))).collect();
        checkpoint.finish()?;
        all
    }

    fn values(t: &Tensor) -> Vec<f32> {
        t.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn single_and_sharded_checkpoints_are_read_as_candle_reads_them() {
        for (folder, files) in [
            ("tied", vec![SINGLE]),
            ("untied", vec!["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]),
        ] {
            let ours = read_all(&Checkpoint::open(&golden(folder)).unwrap()).unwrap();
            let mut theirs = BTreeMap::new();
            for file in files {
                theirs.extend(candle_core::safetensors::load(golden(folder).join(file), &Device::Cpu).unwrap());
            }
            assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
            for (name, t) in &ours {
                assert_eq!(t.dtype(), DType::F32);
                assert_eq!(values(t), values(&theirs[name].to_dtype(DType::F32).unwrap()), "{name}");
            }
        }
    }

    #[test]
    fn what_is_saved_is_read_back() {
        let tensors = read_all(&Checkpoint::open(&golden("tied")).unwrap()).unwrap();
        for dtype in [DType::F32, DType::BF16] {
            let dir = tempfile::tempdir().unwrap();
            Config::read(&golden("tied")).unwrap().write(dir.path()).unwrap();
            Checkpoint::save(dir.path(), &tensors, dtype).unwrap();
            let again = read_all(&Checkpoint::open(dir.path()).unwrap()).unwrap();
            tensors.iter().for_each(|(name, t)| assert_eq!(values(t), values(&again[name]), "{name}"));
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "config.json and model.safetensors only");
        }
    }

    #[test]
    fn missing_misshapen_and_unexpected_tensors_are_named() {
        let checkpoint = Checkpoint::open(&golden("tied")).unwrap();
        let text = checkpoint.tensor("model.norm.bias", &[64]).unwrap_err().to_string();
        assert!(text.contains("model.norm.bias") && text.contains("missing"), "{text}");
        let text = checkpoint.tensor("model.norm.weight", &[65]).unwrap_err().to_string();
        assert!(text.contains("[64]") && text.contains("[65]") && text.contains(SINGLE), "{text}");
        checkpoint.tensor("model.norm.weight", &[64]).unwrap();
        let text = checkpoint.finish().unwrap_err().to_string();
        assert!(text.contains("model.embed_tokens.weight"), "the first tensor never asked for: {text}");
    }

    #[test]
    fn a_tied_checkpoint_may_carry_its_head_only_if_equal() {
        let mut tensors = read_all(&Checkpoint::open(&golden("tied")).unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        Config::read(&golden("tied")).unwrap().write(dir.path()).unwrap();
        let embedding = tensors["model.embed_tokens.weight"].clone();
        tensors.insert(HEAD.into(), embedding.clone());
        Checkpoint::save(dir.path(), &tensors, DType::F32).unwrap();
        read_all(&Checkpoint::open(dir.path()).unwrap()).unwrap();
        tensors.insert(HEAD.into(), (embedding * 2.0).unwrap());
        Checkpoint::save(dir.path(), &tensors, DType::F32).unwrap();
        let text = read_all(&Checkpoint::open(dir.path()).unwrap()).unwrap_err().to_string();
        assert!(text.contains("tie_word_embeddings"), "{text}");
    }

    #[test]
    fn a_cut_file_is_never_opened() {
        let dir = copy("tied");
        let path = dir.path().join(SINGLE);
        let whole = std::fs::read(&path).unwrap();
        for keep in [0, 4, 8, 100, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&path, &whole[..keep]).unwrap();
            let error = Checkpoint::open(dir.path()).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(SINGLE), "{keep}: {error}");
        }
        std::fs::write(&path, [&whole[..], b"x"].concat()).unwrap();
        assert!(Checkpoint::open(dir.path()).is_err(), "bytes too many");
    }

    #[test]
    fn hostile_headers_are_errors() {
        let dir = copy("tied");
        let write = |length: u64, json: &str, data: usize| {
            let bytes = [&length.to_le_bytes()[..], json.as_bytes(), &vec![0; data]].concat();
            std::fs::write(dir.path().join(SINGLE), bytes).unwrap();
            let error = Checkpoint::open(dir.path()).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{json}");
        };
        write(u64::MAX, "{}", 0);
        write(1 << 40, "{}", 0);
        for json in [
            "not json",
            r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,8]}}"#,
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}"#,
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,18446744073709551615]}}"#,
            r#"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}}"#,
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
        ] {
            write(json.len() as u64, json, 8);
        }
    }

    #[test]
    fn an_index_that_does_not_fit_its_shards_is_refused() {
        let dir = copy("untied");
        let path = dir.path().join(INDEX);
        let text = std::fs::read_to_string(&path).unwrap();
        let refused = |index: String, wanted: &str| {
            std::fs::write(&path, index).unwrap();
            let error = Checkpoint::open(dir.path()).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        };
        refused(text.replace("model.norm.weight", "model.norm.other"), "model.norm.weight");
        refused(text.replacen("\"model-00001-of-00002.safetensors\"", "\"../up.safetensors\"", 1), "../up.safetensors");
        refused(text.replace("{", "["), INDEX);
        std::fs::write(&path, &text).unwrap();
        std::fs::remove_file(dir.path().join("model-00002-of-00002.safetensors")).unwrap();
        assert!(Checkpoint::open(dir.path()).unwrap_err().to_string().contains("model-00002-of-00002"));
    }

    #[test]
    fn the_digest_follows_weights_and_config() {
        let dir = copy("tied");
        let digest = || Checkpoint::open(dir.path()).unwrap().digest().unwrap();
        let first = digest();
        assert_eq!((first.len(), &first), (64, &Checkpoint::open(&golden("tied")).unwrap().digest().unwrap()));
        let path = dir.path().join(SINGLE);
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let second = digest();
        let config = std::fs::read_to_string(dir.path().join("config.json")).unwrap();
        std::fs::write(dir.path().join("config.json"), config.replace("512", "513")).unwrap();
        assert!(first != second && second != digest());
    }
}
