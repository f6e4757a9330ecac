//! Ids and chat format are those of Qwen3 (golden values by tests/reference/tokenizer.py). Tests that need Qwen3's vocabulary want DXLAB_DATA.
use dxlab::model::Tokenizer;
use dxlab::prompt::{Message, Role, Thinking, Tokens, chat};
use serde::Deserialize;
use std::path::{Path, PathBuf};

fn golden<T: for<'a> Deserialize<'a>>(name: &str) -> Vec<T> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn qwen() -> Option<Tokenizer> {
    let Some(data) = std::env::var_os("DXLAB_DATA") else {
        println!("skipped: DXLAB_DATA is not set, so Qwen3's vocabulary is not there");
        return None;
    };
    let dir = PathBuf::from(data).join("qwen3-tokenizer");
    Some(Tokenizer::from_qwen_files(&dir.join("vocab.json"), &dir.join("merges.txt")).unwrap())
}

#[derive(Deserialize)]
struct Sentence {
    text: String,
    ids: Vec<u32>,
    decoded: String,
}

#[derive(Deserialize)]
struct Chat {
    messages: Vec<Message>,
    add_generation_prompt: bool,
    enable_thinking: bool,
    text: String,
    ids: Vec<u32>,
}

impl Chat {
    /// What we make of the conversation; one that ends with the assistant is a training example.
    fn pieces(&self) -> Vec<chat::Piece> {
        let thinking = if self.enable_thinking { Thinking::On } else { Thinking::Off };
        match self.messages.split_last() {
            Some((last, before)) if last.role == Role::Assistant && !self.add_generation_prompt => {
                let mut pieces = chat::prompt(before, thinking);
                pieces.extend(chat::answer(&last.content, thinking));
                pieces
            }
            _ => chat::prompt(&self.messages, thinking),
        }
    }

    /// Reasoning in an answer that is no longer the last one: the template drops it, our prompts never have it.
    fn drops_reasoning(&self) -> bool {
        let earlier = self.messages.split_last().map_or(&[][..], |(_, before)| before);
        earlier.iter().any(|m| m.role == Role::Assistant && m.content.contains("</think>"))
    }
}

#[test]
fn conversations_are_rendered_as_by_qwen3s_own_template() {
    let mut seen = 0;
    for row in golden::<Chat>("chat.json").iter().filter(|row| !row.drops_reasoning()) {
        let wanted = if row.add_generation_prompt { row.text.as_str() } else { row.text.strip_suffix('\n').unwrap() };
        assert_eq!(
            chat::render(&row.pieces()),
            wanted,
            "training stops at <|im_end|>; the template's last newline is not learnt"
        );
        seen += 1;
    }
    assert!(seen >= 12);
}

#[test]
fn sentences_have_the_ids_that_transformers_gives() {
    let Some(tokenizer) = qwen() else { return };
    assert_eq!(tokenizer.encode("Hello world", false).unwrap(), [9707, 1879]);
    let c = tokenizer.control();
    assert_eq!([c.text_end, c.turn_end], [151643, 151645]);
    assert_eq!([c.im_start, c.think, c.end_think], [151644, 151667, 151668].map(Some));
    assert_eq!(tokenizer.vocab_size(), 151669);
    let rows: Vec<Sentence> = golden("tokenizer.json");
    assert_eq!(rows.len(), 200);
    for row in rows {
        let ids = tokenizer.encode(&row.text, true).unwrap();
        assert_eq!(ids, row.ids, "{:?}", row.text);
        assert_eq!(tokenizer.decode(&ids, false).unwrap(), row.decoded);
    }
}

#[test]
fn conversations_have_the_ids_that_transformers_gives() {
    let Some(tokenizer) = qwen() else { return };
    for row in golden::<Chat>("chat.json").iter().filter(|row| !row.drops_reasoning()) {
        let mut ids = Vec::new();
        for piece in row.pieces() {
            match piece {
                chat::Piece::Control(name) => ids.push(Tokens::control(&tokenizer, name).unwrap()),
                chat::Piece::Text(text) => ids.extend(tokenizer.encode(&text, false).unwrap()),
            }
        }
        let wanted = if row.add_generation_prompt { &row.ids[..] } else { &row.ids[..row.ids.len() - 1] };
        assert_eq!(ids, wanted, "{}", row.text);
    }
}

#[test]
fn qwen3s_tokenizer_survives_saving() {
    let Some(tokenizer) = qwen() else { return };
    let dir = tempfile::tempdir().unwrap();
    tokenizer.save(dir.path()).unwrap();
    let again = Tokenizer::open(dir.path()).unwrap();
    assert_eq!(again.digest().unwrap(), tokenizer.digest().unwrap());
    assert_eq!(again.merges().unwrap().len(), 151_387);
}
