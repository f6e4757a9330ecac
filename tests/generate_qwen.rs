//! Constraints over Qwen3's own vocabulary; wants DXLAB_DATA.
use dxlab::corpus::Corpus;
use dxlab::generate::{Constraint, Count, Grammar, Labels, Pieces};
use dxlab::model::Tokenizer;
use std::path::PathBuf;
use std::sync::Arc;

fn qwen() -> Option<Arc<Tokenizer>> {
    let Some(data) = std::env::var_os("DXLAB_DATA") else {
        println!("skipped: DXLAB_DATA is not set, so Qwen3's vocabulary is not there");
        return None;
    };
    let dir = PathBuf::from(data).join("qwen3-tokenizer");
    Some(Arc::new(Tokenizer::from_qwen_files(&dir.join("vocab.json"), &dir.join("merges.txt")).unwrap()))
}

/// Whether the constraint lets this text be written token by token, and end there.
fn writes(start: &dyn Constraint, tokenizer: &Tokenizer, text: &str) -> bool {
    let mut state = start.fork();
    let ids = tokenizer.encode(text, false).unwrap();
    let all = ids.iter().enumerate().all(|(i, id)| {
        let allowed = state.allowed(ids.len() - i).unwrap().contains(id);
        allowed && state.accept(*id).is_ok()
    });
    all && state.may_end().unwrap()
}

#[test]
fn training_answers_can_be_written_under_the_closed_list() {
    let Some(t) = qwen() else { return };
    let corpus = Corpus::embedded().unwrap();
    let names: Vec<String> = corpus.vocabulary().into_keys().collect();
    let labels = Labels::new(&names, Count::Many, &t).unwrap();
    for case in corpus.train.iter().take(200) {
        assert!(writes(&labels, &t, &case.gold.join(", ")), "{:?}", case.gold);
    }
    assert!(!writes(&labels, &t, "renal cyst, renal cyst") && !writes(&labels, &t, "renal cyst,"));
}

#[test]
fn grammars_know_what_the_tokens_spell() {
    let Some(t) = qwen() else { return };
    let pieces = Pieces::of(&t).unwrap();
    let added = (0..pieces.len() as u32).filter(|&id| pieces.is_added(id)).count();
    assert_eq!((pieces.len(), added), (151_669, 26), "every other token is a byte or a merge");
    let grammar = Grammar::json_schema(r#"{"type": "array", "items": {"type": "string"}}"#, t.clone()).unwrap();
    for text in [r#"["renal cyst", "肝嚢胞 🙂"]"#, "[]", r#"["\"quoted\" and \n"]"#] {
        assert!(writes(&grammar, &t, text), "{text}");
    }
    assert!(!writes(&grammar, &t, "[1]") && !writes(&grammar, &t, r#"["a""#));
}
