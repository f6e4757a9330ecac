//! A grammar as a constraint: a JSON schema, a grammar in llguidance's dialect of Lark, or a regular expression.
//! llguidance finds the allowed tokens by walking the bytes of the vocabulary; this file tells it what our tokens
//! spell.
//!
//! Any row of tokens that spells a text of the grammar is allowed, except where only one text is possible: that one
//! comes as the tokenizer writes it. Control tokens spell nothing.
use super::constraint::Constraint;
use super::text::Pieces;
use crate::error::{Error, Result};
use crate::label::parse::{MAX_CHARS, MAX_LABELS};
use crate::model::Tokenizer;
use llguidance::api::{GrammarWithLexer, TopLevelGrammar};
use llguidance::toktrie::{TokEnv, TokRxInfo, TokTrie, TokenizerEnv};
use llguidance::{JsonCompileOptions, Matcher, ParserFactory};
use serde_json::{Value, json};
use std::sync::Arc;

/// The state of one answer under a grammar.
#[derive(Clone)]
pub struct Grammar {
    matcher: Matcher,
    /// What the grammar takes for its end.
    end: u32,
}

impl Grammar {
    /// JSON that a schema allows, on one line with `, ` and `: ` unless the schema says otherwise under `x-guidance`.
    /// Fails for text that is no schema, and for parts of JSON Schema that llguidance does not know.
    pub fn json_schema(schema: &str, tokenizer: Arc<Tokenizer>) -> Result<Self> {
        let wrong = |e: &dyn std::fmt::Display| Error::input(format!("json schema: {e}"));
        let schema: Value = serde_json::from_str(schema).map_err(|e| wrong(&e))?;
        match schema {
            Value::Object(_) | Value::Bool(_) => Self::schema(schema, tokenizer),
            _ => Err(wrong(&"expected an object")),
        }
    }

    /// One or more names in a JSON list, of as many characters as a label may have.
    pub fn names(tokenizer: Arc<Tokenizer>) -> Result<Self> {
        let name = json!({"type": "string", "minLength": 1, "maxLength": MAX_CHARS});
        Self::schema(json!({"type": "array", "items": name, "minItems": 1, "maxItems": MAX_LABELS}), tokenizer)
    }

    fn schema(mut schema: Value, tokenizer: Arc<Tokenizer>) -> Result<Self> {
        if schema.is_object() && schema.get("x-guidance").is_none() {
            let line = JsonCompileOptions {
                item_separator: ", ".into(),
                key_separator: ": ".into(),
                whitespace_flexible: false,
                ..Default::default()
            };
            line.apply_to(&mut schema);
        }
        let bytes = schema.to_string().len();
        Self::new("json schema", bytes, GrammarWithLexer::from_json_schema(schema), tokenizer)
    }

    /// Text of a context-free grammar whose first rule is `start`.
    pub fn lark(grammar: &str, tokenizer: Arc<Tokenizer>) -> Result<Self> {
        Self::new("grammar", grammar.len(), GrammarWithLexer::from_lark(grammar.into()), tokenizer)
    }

    /// Text that a regular expression (the `regex` crate's, without look-around and anchors) matches from beginning to
    /// end.
    pub fn regex(expression: &str, tokenizer: Arc<Tokenizer>) -> Result<Self> {
        Self::new("regular expression", expression.len(), GrammarWithLexer::from_regex(expression), tokenizer)
    }

    fn new(what: &str, bytes: usize, grammar: GrammarWithLexer, tokenizer: Arc<Tokenizer>) -> Result<Self> {
        if bytes > MAX_BYTES {
            return Err(Error::input(format!("{what}: {bytes} bytes: expected at most {MAX_BYTES}")));
        }
        let end = tokenizer.control().turn_end;
        let env: TokEnv = Arc::new(Vocabulary::new(tokenizer)?);
        let mut factory = ParserFactory::new_simple(&env).map_err(|e| Error::failed(format!("{what}: {e:#}")))?;
        factory.quiet().limits_mut().verbose_errors = false;
        let compile = || Matcher::new(factory.create_parser(TopLevelGrammar::from_grammar(grammar)));
        let matcher = deep(compile).ok_or_else(|| Error::failed(format!("{what}: no thread to compile it on")))?;
        match matcher.get_error() {
            Some(error) => Err(Error::input(format!("{what}: {}", first_line(&error)))),
            None => Ok(Self { matcher, end }),
        }
    }
}

/// Longest grammar or schema, in bytes: references within it lie so deep at most.
const MAX_BYTES: usize = 1 << 17;
/// Bytes of stack for [`MAX_BYTES`] of references to references; memory is only taken as far as the stack grows.
const STACK: usize = 1 << 30;

/// `work` on a thread with a deep stack: llguidance follows references by recursion, and a stack that overflows ends the process. None where
/// there is no such thread, or it panicked.
fn deep<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("grammar".into()).stack_size(STACK).spawn_scoped(scope, work);
        thread.ok()?.join().ok()
    })
}

/// llguidance's message without the state that follows it.
fn first_line(error: &str) -> &str {
    error.split("\n<").next().unwrap_or(error).trim()
}

impl Constraint for Grammar {
    fn allowed(&mut self, _left: usize) -> Result<Vec<u32>> {
        if self.matcher.is_stopped() && !self.matcher.is_error() {
            return Ok(vec![]); // complete: nothing may follow
        }
        match self.matcher.compute_mask() {
            Ok(mask) => Ok(mask.iter().filter(|&id| id != self.end).collect()),
            Err(e) if e.to_string().contains("NoExtension") => Ok(vec![]), // a dead end
            Err(e) => Err(Error::input(format!("grammar: {}", first_line(&e.to_string())))),
        }
    }

    fn accept(&mut self, token: u32) -> Result<()> {
        let wrong = |e: &dyn std::fmt::Display| {
            Error::failed(format!("grammar: token {token}: {}", first_line(&e.to_string())))
        };
        self.matcher.consume_token(token).map_err(|e| wrong(&e))
    }

    fn may_end(&mut self) -> Result<bool> {
        Ok(self.matcher.is_accepting().unwrap_or(false)) // an error has been told by `allowed`
    }

    fn fork(&self) -> Box<dyn Constraint> {
        Box::new(self.clone())
    }
}

/// Our vocabulary as llguidance wants it.
struct Vocabulary {
    trie: TokTrie,
    tokenizer: Arc<Tokenizer>,
}

impl Vocabulary {
    fn new(tokenizer: Arc<Tokenizer>) -> Result<Self> {
        let pieces = Pieces::of(&tokenizer)?;
        let word = |id: u32| match pieces.is_added(id) {
            true => vec![],
            false => pieces.bytes(id).to_vec(),
        };
        let words: Vec<Vec<u8>> = (0..pieces.len() as u32).map(word).collect();
        let info = TokRxInfo::new(words.len() as u32, tokenizer.control().turn_end);
        Ok(Self { trie: TokTrie::from(&info, &words), tokenizer })
    }
}

impl TokenizerEnv for Vocabulary {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<u32> {
        // A byte-level BPE encodes every text.
        self.trie.tokenize_with_greedy_fallback(bytes, |text| self.tokenizer.encode(text, false).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::super::constraint::next_ids;
    use super::super::text::tests::tokenizer;
    use super::*;
    use rand::seq::IndexedRandom;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn shared() -> Arc<Tokenizer> {
        Arc::new(tokenizer())
    }

    /// An answer that goes a random way and ends with probability `end` where it may.
    fn wander(start: &Grammar, end: f64, generator: &mut ChaCha8Rng) -> String {
        let (t, mut state, mut tokens) = (tokenizer(), start.fork(), vec![]);
        loop {
            let ids = next_ids(&mut *state, 4000, &[start.end]).unwrap();
            if ids == [start.end] || ids.contains(&start.end) && generator.random_bool(end) {
                return t.decode(&tokens, false).unwrap();
            }
            let token = loop {
                let token = *ids.choose(generator).unwrap();
                if token != start.end {
                    break token;
                }
            };
            state.accept(token).unwrap();
            tokens.push(token);
            assert!(tokens.len() < 4000, "{}", t.decode(&tokens, false).unwrap());
        }
    }

    #[test]
    fn every_answer_is_valid_under_its_schema() {
        let schema = r##"{"type": "object", "required": ["organ", "sizes"], "additionalProperties": false,
            "properties": {"organ": {"enum": ["liver", "kidney"]},
                           "sizes": {"type": "array", "items": {"$ref": "#/$defs/mm"}, "maxItems": 3}},
            "$defs": {"mm": {"type": "integer", "minimum": 1, "maximum": 300}}}"##;
        let (grammar, mut generator) = (Grammar::json_schema(schema, shared()).unwrap(), ChaCha8Rng::seed_from_u64(4));
        let mut organs = std::collections::BTreeSet::new();
        for _ in 0..30 {
            let text = wander(&grammar, 0.5, &mut generator);
            let value: Value = serde_json::from_str(&text).unwrap();
            let sizes = value["sizes"].as_array().unwrap();
            assert!(sizes.len() <= 3 && sizes.iter().all(|s| (1..=300).contains(&s.as_u64().unwrap())), "{text}");
            assert_eq!(value.as_object().unwrap().len(), 2);
            assert!(text.starts_with("{\"organ\": \"") && !text.contains('\n'), "one line: {text}");
            organs.insert(value["organ"].as_str().unwrap().to_string());
        }
        assert_eq!(organs, ["kidney", "liver"].map(String::from).into());
    }

    #[test]
    fn names_are_a_json_list_that_is_read_back_as_labels() {
        let (grammar, mut generator) = (Grammar::names(shared()).unwrap(), ChaCha8Rng::seed_from_u64(5));
        for _ in 0..5 {
            let text = wander(&grammar, 1.0, &mut generator);
            let names: Vec<String> = serde_json::from_str(&text).unwrap();
            assert!(!names.is_empty() && names.iter().all(|n| (1..=MAX_CHARS).contains(&n.chars().count())), "{text}");
        }
    }

    #[test]
    fn grammars_and_expressions_say_what_may_be_written() {
        let mut generator = ChaCha8Rng::seed_from_u64(6);
        let lark =
            "start: finding (\", \" finding)*\nfinding: SIZE \" mm \" (\"cyst\" | \"stone\")\nSIZE: /[1-9][0-9]?/\n";
        let grammar = Grammar::lark(lark, shared()).unwrap();
        for _ in 0..20 {
            for finding in wander(&grammar, 0.4, &mut generator).split(", ") {
                let (size, what) = finding.split_once(" mm ").unwrap();
                assert!(
                    (1..100).contains(&size.parse::<u32>().unwrap()) && ["cyst", "stone"].contains(&what),
                    "{finding}"
                );
            }
        }
        let dates = Grammar::regex(r"20[0-9]{2}-(0[1-9]|1[0-2])", shared()).unwrap();
        for _ in 0..10 {
            let date = wander(&dates, 0.5, &mut generator);
            let (year, month) = date.split_once('-').unwrap();
            assert!(year.len() == 4 && (1..=12).contains(&month.parse::<u32>().unwrap()), "{date}");
        }
        let letters = Grammar::regex("肝|🙂+", shared()).unwrap();
        let seen: Vec<String> = (0..20).map(|_| wander(&letters, 0.5, &mut generator)).collect();
        assert!(seen.iter().all(|s| s == "肝" || s.chars().all(|c| c == '🙂')), "bytes of one character: {seen:?}");
    }

    #[test]
    fn forks_go_their_own_ways_and_refuse_what_is_not_allowed() {
        let (t, start) = (tokenizer(), Grammar::regex("cyst(s|ic)?", shared()).unwrap());
        let write = |state: &mut dyn Constraint, text: &str| -> Result<()> {
            t.encode(text, false)?.into_iter().try_for_each(|id| state.accept(id))
        };
        let mut one = start.fork();
        write(&mut *one, "cyst").unwrap();
        assert!(one.may_end().unwrap());
        let mut two = one.fork();
        write(&mut *one, "s").unwrap();
        assert!(one.may_end().unwrap() && one.allowed(9).unwrap().is_empty());
        write(&mut *two, "i").unwrap();
        assert!(!two.may_end().unwrap());
        assert!(write(&mut *two, "x").is_err());
        assert!(!start.fork().may_end().unwrap());
    }

    #[test]
    fn what_is_no_grammar_is_refused() {
        let message = |made: Result<Grammar>| {
            let error = made.err().unwrap();
            assert_eq!(error.exit_code(), 2);
            assert!(!error.to_string().contains("<"), "{error}");
            error.to_string()
        };
        assert!(message(Grammar::json_schema("{", shared())).starts_with("json schema: EOF"));
        assert!(message(Grammar::json_schema("[]", shared())).contains("expected an object"));
        let bad = |schema: &str| message(Grammar::json_schema(schema, shared()));
        assert!(bad(r#"{"type": "strin"}"#).contains("strin"));
        assert!(bad(r#"{"type": "integer", "minimum": 3, "maximum": 2}"#).contains("Unsatisfiable"));
        assert!(
            bad(r#"{"type": "array", "uniqueItems": true}"#).contains("uniqueItems"),
            "what is not known is not passed over"
        );
        assert!(message(Grammar::lark("start: nothing", shared())).contains("unknown name: \"nothing\""));
        assert!(message(Grammar::lark("", shared())).contains("no start rule"));
        assert!(message(Grammar::regex("(", shared())).contains("unclosed group"));
    }

    #[test]
    fn a_dead_end_is_told() {
        let start = Grammar::lark("start: \"a\" B\nB: /b/ & /c/\n", shared()).unwrap();
        let mut state = start.fork();
        let ids = next_ids(&mut *state, 9, &[start.end]).unwrap();
        assert_eq!(ids, tokenizer().encode("a", false).unwrap(), "nobody has seen yet that nothing can follow");
        state.accept(ids[0]).unwrap();
        let error = next_ids(&mut *state, 8, &[start.end]).unwrap_err();
        assert_eq!((error.exit_code(), error.to_string().contains("no token here and no end")), (2, true), "{error}");
    }
}
