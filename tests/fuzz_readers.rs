//! Damaged and hostile files: whatever the bytes, a reader returns a value or an error for the user (exit code 2). It never panics, and
//! never holds more memory than a small multiple of what lies on the disk.
//!
//! Mutations are drawn from seeds, so a failure names what repeats it.
use dxlab::adapter::Adapter;
use dxlab::error::Result;
use dxlab::model::{Checkpoint, Config, Precision, Tokenizer, tensors};
use dxlab::prompt::{ChatTemplate, Encoder, Message, Prompt, PromptContext, Role, Thinking};
use dxlab::study::{GridConfig, SearchConfig, TrainConfig};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::alloc::{GlobalAlloc, Layout, System};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The system's allocator, counting what is held.
struct Counted;

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Relaxed) + layout.size();
        MOST.fetch_max(held, Relaxed);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTED: Counted = Counted;

/// One test measures at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Memory that a reader may hold: so many times the bytes of the folder, and what is needed for any file (regular expressions).
const TIMES: usize = 24;
const ALWAYS: usize = 24 << 20;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// A copy of some files, one of which is damaged over and over.
struct Patient {
    dir: tempfile::TempDir,
    file: PathBuf,
    whole: Vec<u8>,
    /// Where lengths and names are; half of the damage is done there.
    head: usize,
    bytes: usize,
}

impl Patient {
    fn new(files: &[PathBuf], damaged: &str, head: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            std::fs::copy(file, dir.path().join(file.file_name().unwrap())).unwrap();
        }
        let file = dir.path().join(damaged);
        let whole = std::fs::read(&file).unwrap();
        let bytes = files.iter().map(|f| std::fs::metadata(f).unwrap().len() as usize).sum();
        Self { dir, file, head: head.min(whole.len()), whole, bytes }
    }

    fn of_folder(name: &str, damaged: &str, head: usize) -> Self {
        let files: Vec<_> = std::fs::read_dir(golden(name)).unwrap().map(|f| f.unwrap().path()).collect();
        Self::new(&files, damaged, head)
    }

    /// Damages and reads `times` times. `read` must work on the whole file, and fail on some of the damaged ones.
    fn suffer(&self, times: u64, read: impl Fn(&Path) -> Result<()>) {
        let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
        let path = self.dir.path();
        read(path).unwrap();
        let mut refused = 0;
        for seed in 0..times {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let damaged = damage(&self.whole, self.head, &mut rng);
            std::fs::write(&self.file, &damaged).unwrap();
            let before = HELD.load(Relaxed);
            MOST.store(before, Relaxed);
            let outcome = quietly(|| read(path));
            let held = MOST.load(Relaxed).saturating_sub(before);
            let at = format!("{}, seed {seed}", self.file.file_name().unwrap().to_string_lossy());
            let outcome = outcome.unwrap_or_else(|what| panic!("{at}: the reader panicked: {what}"));
            assert!(held <= TIMES * self.bytes.max(damaged.len()) + ALWAYS, "{at}: {held} bytes held");
            if let Err(error) = outcome {
                assert_eq!(error.exit_code(), 2, "{at}: {error}");
                refused += 1;
            }
        }
        assert!(
            refused > times / 10,
            "only {refused} of {times} damaged files were refused: is the damage seen at all?"
        );
    }
}

/// What `f` returns, or what it said when it panicked.
fn quietly<T>(f: impl FnOnce() -> T) -> std::result::Result<T, String> {
    static SAID: Mutex<String> = Mutex::new(String::new());
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(|what| *SAID.lock().unwrap_or_else(|e| e.into_inner()) = what.to_string()));
    let done = catch_unwind(AssertUnwindSafe(f));
    std::panic::set_hook(usual);
    done.map_err(|_| SAID.lock().unwrap_or_else(|e| e.into_inner()).clone())
}

const LENGTHS: [u64; 12] =
    [0, 1, 7, 255, 1 << 16, 1 << 31, (1 << 32) - 1, 1 << 40, 1 << 60, 1 << 62, 1 << 63, u64::MAX];

/// One to three injuries.
fn damage(whole: &[u8], head: usize, rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    for _ in 0..rng.random_range(1..=3) {
        let within = if rng.random_bool(0.5) { head.min(bytes.len()) } else { bytes.len() };
        if within < 16 {
            return bytes;
        }
        let at = rng.random_range(0..within);
        let end = bytes.len();
        match rng.random_range(0..9) {
            0 | 1 => bytes[at] ^= 1 << rng.random_range(0..8),
            2 => bytes[at] = [0, 0xff, 0x7f, 0x80, b'9', b'"', b'{', b'-'][rng.random_range(0..8)],
            3 => bytes.truncate(at),
            4 => {
                let value = LENGTHS[rng.random_range(0..LENGTHS.len())].to_le_bytes();
                let size = if rng.random_bool(0.5) { 8 } else { 4 };
                let at = at.min(end - size);
                bytes[at..at + size].copy_from_slice(&value[..size]);
            }
            5 => drop(bytes.drain(at..(at + rng.random_range(1..40)).min(end))),
            6 => {
                let piece = bytes[at..(at + rng.random_range(1..200)).min(end)].to_vec();
                let to = rng.random_range(0..=end);
                bytes.splice(to..to, piece);
            }
            7 => number(&mut bytes, at, rng),
            _ => {
                let deep = [&b"["[..], b"{\"a\":", b"(", b"-"][rng.random_range(0..4)];
                bytes.splice(at..at, deep.repeat(rng.random_range(1..5000)));
            }
        }
    }
    bytes
}

/// Writes another number over the next one that stands in the text.
fn number(bytes: &mut Vec<u8>, from: usize, rng: &mut ChaCha8Rng) {
    let Some(start) = (from..bytes.len()).find(|&i| bytes[i].is_ascii_digit()) else { return };
    let end = (start..bytes.len()).find(|&i| !bytes[i].is_ascii_digit()).unwrap_or(bytes.len());
    let other = match rng.random_range(0..4) {
        0 => LENGTHS[rng.random_range(0..LENGTHS.len())].to_string(),
        1 => "1e308".into(),
        2 => "-1".into(),
        _ => rng.random_range(0..100_000u32).to_string(),
    };
    bytes.splice(start..end, other.into_bytes());
}

fn read_all(path: &Path) -> Result<()> {
    let checkpoint = Checkpoint::open(path)?;
    for (name, shape) in checkpoint.config().tensors() {
        checkpoint.tensor(&name, &shape)?;
    }
    checkpoint.finish()
}

fn talk(tokenizer: &Tokenizer) -> Result<()> {
    for allow in [true, false] {
        let ids = tokenizer.encode("A cyst, 14 mm.<|im_end|>\n ü", allow)?;
        tokenizer.decode(&ids, allow)?;
    }
    tokenizer.fits(1 << 20)?;
    tokenizer.digest().map(drop)
}

#[test]
fn a_damaged_checkpoint_is_an_error_or_a_model() {
    Patient::of_folder("tied", "model.safetensors", 4400).suffer(1500, read_all);
}

#[test]
fn a_damaged_index_is_an_error_or_a_model() {
    Patient::of_folder("untied", "model.safetensors.index.json", usize::MAX).suffer(600, read_all);
}

#[test]
fn a_damaged_config_is_an_error_or_a_model() {
    Patient::of_folder("tied", "config.json", usize::MAX).suffer(2000, read_all);
}

#[test]
fn a_damaged_generation_config_is_an_error_or_read() {
    let patient = Patient::of_folder("tied", "generation_config.json", usize::MAX);
    patient.suffer(1000, |dir| Config::read(dir).map(drop));
}

#[test]
fn a_damaged_tensor_file_is_an_error_or_read() {
    let patient = Patient::of_folder("adapter", "adapter_model.safetensors", 4400);
    patient.suffer(1500, |dir| tensors::read(&dir.join("adapter_model.safetensors")).map(drop));
}

#[test]
fn a_damaged_adapter_is_an_error_or_an_adapter() {
    let config = Config::read(&golden("tied")).unwrap();
    for (damaged, times) in [("adapter_model.safetensors", 1000), ("adapter_config.json", 1500)] {
        let patient = Patient::of_folder("adapter", damaged, 4400);
        patient.suffer(times, |dir| Adapter::load_for(dir, &config).map(drop));
    }
}

#[test]
fn a_damaged_gguf_file_is_an_error_or_a_model() {
    Patient::new(&[golden("gguf/tiny.gguf")], "tiny.gguf", 7400).suffer(3000, |dir| {
        let file = dir.join("tiny.gguf");
        read_all(&file)?;
        let checkpoint = Checkpoint::open(&file)?;
        for keep in [Precision::F32, Precision::Stored] {
            checkpoint.weight("model.layers.0.mlp.up_proj.weight", &[64, 256], keep)?;
        }
        Tokenizer::find(&file)?.map_or(Ok(()), |t| talk(&t))
    });
}

#[test]
fn a_damaged_tokenizer_is_an_error_or_a_tokenizer() {
    let made = tempfile::tempdir().unwrap();
    Tokenizer::train(["The liver is normal. The spleen is normal."; 3].iter(), 300).unwrap().save(made.path()).unwrap();
    let file = made.path().join("tokenizer.json");
    Patient::new(&[file], "tokenizer.json", usize::MAX).suffer(1500, |dir| talk(&Tokenizer::open(dir)?));
}

#[test]
fn a_damaged_toml_is_an_error_or_a_config() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let named = |name: &str| Patient::new(&[home.join(name)], name.rsplit('/').next().unwrap(), usize::MAX);
    named("configs/smollm2-lora.toml").suffer(1500, |dir| TrainConfig::read(&dir.join("smollm2-lora.toml")).map(drop));
    named("configs/grid.toml").suffer(300, |dir| GridConfig::read(&dir.join("grid.toml"))?.arms().map(drop));
    named("configs/search-lora.toml").suffer(800, |dir| SearchConfig::read(&dir.join("search-lora.toml")).map(drop));
    let context = PromptContext::default();
    named("data/prompts/instruct.toml")
        .suffer(800, |dir| Prompt::named(dir.join("instruct.toml").to_str().unwrap(), &context).map(drop));
}

#[test]
fn a_damaged_chat_template_is_an_error_or_a_template() {
    for name in ["qwen3", "llama3", "mistral3", "json"] {
        let made = tempfile::tempdir().unwrap();
        std::fs::copy(golden(&format!("chat/{name}.jinja")), made.path().join("chat_template.jinja")).unwrap();
        let file = made.path().join("chat_template.jinja");
        let config = made.path().join("tokenizer_config.json");
        std::fs::write(&config, r#"{"bos_token": "<s>", "eos_token": "</s>"}"#).unwrap();
        let talk = [(Role::System, "Be brief."), (Role::User, "A cyst <s>."), (Role::Assistant, "Renal cyst")];
        let talk: Vec<Message> = talk.iter().map(|(role, text)| Message::new(*role, *text)).collect();
        Patient::new(&[file, config], "chat_template.jinja", usize::MAX).suffer(400, |dir| {
            let template = ChatTemplate::of_folder(dir)?.expect("the file is there");
            template.render(&talk, false, Thinking::Off)?;
            template.render(&talk[..2], true, Thinking::On).map(drop)
        });
    }
}

#[test]
fn a_damaged_tokenizer_config_is_an_error_or_a_chat_format() {
    let made = tempfile::tempdir().unwrap();
    for file in ["byte-smollm.tokenizer.json", "smollm2.jinja"] {
        std::fs::copy(golden(&format!("chat/{file}")), made.path().join(file)).unwrap();
    }
    let source = std::fs::read_to_string(made.path().join("smollm2.jinja")).unwrap();
    let config = serde_json::json!({"chat_template": source, "bos_token": "<|im_start|>", "eos_token": {"content": "<|im_end|>"}});
    std::fs::rename(made.path().join("byte-smollm.tokenizer.json"), made.path().join("tokenizer.json")).unwrap();
    std::fs::write(made.path().join("tokenizer_config.json"), config.to_string()).unwrap();
    let files = ["tokenizer.json", "tokenizer_config.json"].map(|file| made.path().join(file));
    Patient::new(&files, "tokenizer_config.json", usize::MAX).suffer(600, |dir| {
        let encoder = Encoder::new(std::sync::Arc::new(Tokenizer::open(dir)?));
        let user = [Message::new(Role::User, "A cyst <|im_end|>.")];
        encoder.prompt_ids(&user, Thinking::Off)?;
        encoder.answer_ids(&user, "Renal cyst", Thinking::Off).map(drop)
    });
}

/// A GGUF file without tensors: the metadata of a SentencePiece tokenizer.
fn pieces() -> Vec<u8> {
    let text = |t: &str| [&(t.len() as u64).to_le_bytes()[..], t.as_bytes()].concat();
    let entry = |key: &str, kind: u32, value: &[u8]| [&text(key)[..], &kind.to_le_bytes(), value].concat();
    let list = |kind: u32, items: &[Vec<u8>]| {
        [&kind.to_le_bytes()[..], &(items.len() as u64).to_le_bytes(), &items.concat()].concat()
    };
    let words = ["<unk>", "<s>", "</s>", "<0x0A>", "▁", "a", "b", "ab", "▁a", "▁ab", "abab"];
    let types = [2i32, 3, 3, 6, 1, 1, 1, 1, 1, 1, 1];
    let scores = (0..11).map(|i| (-(i as f32)).to_le_bytes().to_vec()).collect::<Vec<_>>();
    let entries = [
        entry("tokenizer.ggml.model", 8, &text("llama")),
        entry("tokenizer.ggml.tokens", 9, &list(8, &words.map(text))),
        entry("tokenizer.ggml.scores", 9, &list(6, &scores)),
        entry("tokenizer.ggml.token_type", 9, &list(5, &types.map(|t| t.to_le_bytes().to_vec()))),
        entry("tokenizer.ggml.bos_token_id", 4, &1u32.to_le_bytes()),
        entry("tokenizer.ggml.eos_token_id", 4, &2u32.to_le_bytes()),
        entry("tokenizer.chat_template", 8, &text("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}")),
    ];
    let head = [&b"GGUF"[..], &3u32.to_le_bytes(), &0u64.to_le_bytes(), &(entries.len() as u64).to_le_bytes()].concat();
    [head, entries.concat()].concat()
}

#[test]
fn damaged_metadata_of_a_tokenizer_is_an_error_or_a_tokenizer() {
    let made = tempfile::tempdir().unwrap();
    let file = made.path().join("pieces.gguf");
    std::fs::write(&file, pieces()).unwrap();
    Patient::new(&[file], "pieces.gguf", usize::MAX)
        .suffer(1500, |dir| Tokenizer::find(&dir.join("pieces.gguf"))?.map_or(Ok(()), |t| talk(&t)));
}
