//! A checkpoint's own chat template: Jinja source, rendered byte for byte as transformers renders it.
//!
//! ```text
//! messages ─ template ─ text ─┬─ no content spells an added token:  the whole text → ids, added tokens read as such
//!                             └─ one does:  rendered again with a private-use character for each such spelling, cut at the
//!                                template's own added tokens; between them plain text with the spellings put back → ids
//! ```
//!
//! The environment is that of transformers (`utils/chat_template_utils.py`, 5.24): `trim_blocks`, `lstrip_blocks`, one last newline of
//! the source dropped, no escaping, Python's string methods, `tojson` as `json.dumps`, `raise_exception`, `strftime_now`, loop controls,
//! `{% generation %}` read as nothing. `strftime_now` always says 26 July 2024, the date that Llama 3.1's template writes by default: a
//! prompt must not change overnight.
//!
//! A template is foreign code. It reaches no file and no other template; steps, the text it writes and the values it keeps are bounded,
//! and every failure is an error that names the file.
//!
//! A model whose template refuses a system message, or leaves it out, gets the system text in front of the first user message, with an
//! empty line between them.
use super::chat::{Message, Role, Thinking};
use super::encode::Tokens;
use super::jinja::{self, Refusal};
use crate::error::{Error, Result};
use minijinja::Environment;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// Longest source that is read; the longest published ones have 30 KB.
const LONGEST: usize = 1 << 20;
/// Stands for an answer or a system text when a template is tried out. No template treats it as white space.
const MARK: &str = "\u{F8FF}";

/// See the file's header.
#[derive(Clone)]
pub struct ChatTemplate(Arc<Inner>);

struct Inner {
    environment: Environment<'static>,
    source: String,
    /// The file it came from, for errors.
    from: String,
    /// `bos_token` and its like, by name.
    named: BTreeMap<String, String>,
    /// Whether a system text has to go into the user's message.
    folds: bool,
    /// What follows an assistant's answer at the end of a conversation; None if the template cannot show one.
    after_answer: Option<String>,
    /// What the source writes that looks like a control token.
    marks: Vec<String>,
}

impl ChatTemplate {
    /// `from` names the source in errors; `named` are the tokenizer's `bos_token`, `eos_token`, … A source that is not Jinja is an
    /// error, and so is one that takes more than its time; one that raises for every conversation is not, until it is used.
    pub fn new(source: &str, from: &str, named: BTreeMap<String, String>) -> Result<Self> {
        let bad = |what: String| Error::input(format!("{from}: the chat template {what}"));
        if source.len() > LONGEST {
            return Err(bad(format!("has {} bytes, expected at most {LONGEST}", source.len())));
        }
        let environment = jinja::environment(source).map_err(|what| bad(format!("cannot be read: {what}")))?;
        let (marks, source, from) = (jinja::marks(source), source.to_string(), from.to_string());
        let mut inner = Inner { environment, source, from, named, folds: false, after_answer: None, marks };
        let user = Message::new(Role::User, "question");
        let system = inner.written(&[Message::new(Role::System, MARK), user.clone()], true, Thinking::Off);
        if let Err(Refusal::Late(what)) = system {
            return Err(Error::input(format!("{}: the chat template cannot be rendered: {what}", inner.from)));
        }
        inner.folds = !system.is_ok_and(|text| text.contains(MARK))
            && inner.written(std::slice::from_ref(&user), true, Thinking::Off).is_ok();
        let whole = inner.written(&[user, Message::new(Role::Assistant, MARK)], false, Thinking::Off);
        inner.after_answer = whole.ok().and_then(|text| text.rsplit_once(MARK).map(|(_, after)| after.to_string()));
        Ok(Self(Arc::new(inner)))
    }

    /// The template of a folder in Hugging Face layout: `chat_template.jinja`, else `chat_template` of `tokenizer_config.json` (a text, or
    /// a list of named ones, of which `default` is taken). None where there is none.
    pub fn of_folder(dir: &Path) -> Result<Option<Self>> {
        let file = dir.join("chat_template.jinja");
        let (config, path) = tokenizer_config(dir)?;
        let (source, from) = match file.is_file() {
            true => (Some(crate::io::read_text(&file)?), file),
            false => (in_config(&config["chat_template"], &path)?.map(String::from), path),
        };
        source.map(|source| Self::new(&source, &from.display().to_string(), named_tokens(&config))).transpose()
    }

    /// The Jinja source.
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// The file that the template came from.
    pub fn from(&self) -> &str {
        &self.0.from
    }

    /// SHA-256 in hex of the source and of the named tokens that it can write: what a run records.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(&self.0.source);
        self.0.named.iter().for_each(|(name, token)| hash.update(format!("\0{name}\0{token}")));
        hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Whether the system text is put in front of the first user message, because the template takes no system message.
    pub fn folds_system(&self) -> bool {
        self.0.folds
    }

    /// The conversation as text. With `prompt` the template ends it with the beginning of the assistant's turn.
    pub fn render(&self, messages: &[Message], prompt: bool, thinking: Thinking) -> Result<String> {
        let folded = if self.0.folds { Some(fold(messages)) } else { None };
        let messages = folded.as_deref().unwrap_or(messages);
        self.0.written(messages, prompt, thinking).map_err(|refusal| match refusal {
            Refusal::Raised(words) => self.error(&format!("refuses the conversation: {words}")),
            Refusal::Broken(what) | Refusal::Late(what) => self.error(&format!("cannot be rendered: {what}")),
        })
    }

    /// What ends an assistant's turn, and what the template writes after that; None if no added token follows an answer.
    pub fn end_of_turn(&self, tokens: &dyn Tokens) -> Result<Option<(String, String)>> {
        let Some(after) = &self.0.after_answer else { return Ok(None) };
        let end = tokens.cut(after)?.into_iter().find(|stretch| stretch.added.is_some());
        Ok(end.map(|stretch| (after[..stretch.at.end].to_string(), after[stretch.at.end..].to_string())))
    }

    /// The id of the token that ends an assistant's turn.
    pub fn end(&self, tokens: &dyn Tokens) -> Result<Option<u32>> {
        let Some(after) = &self.0.after_answer else { return Ok(None) };
        Ok(tokens.cut(after)?.into_iter().find_map(|stretch| stretch.added))
    }

    /// The ids of all that stands before the assistant's answer.
    pub fn prompt_ids(&self, tokens: &dyn Tokens, messages: &[Message], thinking: Thinking) -> Result<Vec<u32>> {
        let spelt = Spelt::of(tokens, messages, self)?;
        let hidden = spelt.hide_all(messages);
        let text = self.render(&hidden, true, thinking)?;
        let asked = hidden.iter().filter(|message| message.role == Role::User);
        if let Some(lost) = asked.map(|message| message.content.trim()).find(|content| !text.contains(*content)) {
            let start: String = lost.chars().take(40).collect();
            return Err(self.error(&format!(
                "leaves out or changes what the user says (`{start}…`): the model would be asked something else; get the template anew"
            )));
        }
        spelt.ids(tokens, &text)
    }

    /// The ids that the model is trained to write after `prompt_ids` of the same messages: the answer as the template writes it, up to
    /// the token that ends the turn. An error if the template writes another beginning before an answer than it ends a prompt with.
    pub fn answer_ids(
        &self,
        tokens: &dyn Tokens,
        messages: &[Message],
        answer: &str,
        thinking: Thinking,
    ) -> Result<Vec<u32>> {
        let given = self.prompt_ids(tokens, messages, thinking)?;
        let answer = Message::new(Role::Assistant, answer.trim());
        let all: Vec<Message> = messages.iter().chain([&answer]).cloned().collect();
        let spelt = Spelt::of(tokens, &all, self)?;
        let (shown, answer) = (spelt.hide_all(messages), spelt.hide_answer(&answer, thinking));
        let prompt = self.render(&shown, true, thinking)?;
        let tail = match self.tail(&shown, &answer, &prompt, thinking)? {
            Some(tail) => tail,
            // Some templates write a system text into the last user message, and a conversation that ends with an answer has none. What
            // they write after a prompt does not depend on what stands before it.
            None => {
                let bare = [Message::new(Role::User, "question")];
                let prompt = self.render(&bare, true, thinking)?;
                self.tail(&bare, &answer, &prompt, thinking)?.ok_or_else(|| {
                    self.error(
                        "writes another beginning of an assistant's turn where an answer follows than where a prompt ends, so training \
                         would not be what serving is: such a model can be asked, not trained here",
                    )
                })?
            }
        };
        let ids = spelt.ids(tokens, &format!("{prompt}{}", self.up_to_end(tokens, &tail)?))?;
        match ids.strip_prefix(&given[..]) {
            Some(learnt) => Ok(learnt.to_vec()),
            None => Err(self.error(
                "runs prompt and answer together into other tokens than the prompt alone has, so training would not be what serving is",
            )),
        }
    }

    /// What the template writes after `prompt` for an answer to these messages, if it writes `prompt` first.
    fn tail(&self, messages: &[Message], answer: &Message, prompt: &str, thinking: Thinking) -> Result<Option<String>> {
        let all: Vec<Message> = messages.iter().chain([answer]).cloned().collect();
        let whole = self.render(&all, false, thinking)?;
        Ok(whole.strip_prefix(prompt).map(String::from))
    }

    /// The tail without what follows the token that ends the turn.
    fn up_to_end<'a>(&self, tokens: &dyn Tokens, tail: &'a str) -> Result<&'a str> {
        let (end, after) = self.end_of_turn(tokens)?.ok_or_else(|| {
            self.error("writes no control token after an assistant's answer, so a trained answer would never end")
        })?;
        let kept = tail.strip_suffix(after.as_str()).filter(|kept| kept.ends_with(&end));
        kept.ok_or_else(|| self.error(&format!("ends an assistant's turn now with `{end}{after}`, now otherwise")))
    }

    fn error(&self, what: &str) -> Error {
        Error::input(format!("{}: the chat template {what}", self.0.from))
    }
}

impl Inner {
    fn written(&self, messages: &[Message], prompt: bool, thinking: Thinking) -> Result<String, Refusal> {
        // In the order of the keys: a template may print a whole message.
        let rows: Vec<_> = messages.iter().map(row).collect();
        let mut context: BTreeMap<&str, minijinja::Value> = BTreeMap::from([
            ("messages", rows.into()),
            ("tools", ().into()),
            ("documents", ().into()),
            ("add_generation_prompt", prompt.into()),
            ("enable_thinking", (thinking == Thinking::On).into()),
        ]);
        context.extend(self.named.iter().map(|(name, token)| (name.as_str(), token.as_str().into())));
        jinja::render(&self.environment, &context)
    }
}

fn row(message: &Message) -> minijinja::Value {
    let role = minijinja::Value::from_serialize(message.role);
    minijinja::Value::from_iter([("role", role), ("content", message.content.as_str().into())])
}

/// The system text, an empty line, the first user message.
fn fold(messages: &[Message]) -> Vec<Message> {
    let mut out: Vec<Message> = messages.iter().filter(|m| m.role != Role::System).cloned().collect();
    let system: Vec<&str> = messages.iter().filter(|m| m.role == Role::System).map(|m| m.content.as_str()).collect();
    let system = system.join("\n\n");
    match out.iter_mut().find(|m| m.role == Role::User) {
        Some(user) if !system.is_empty() => user.content = format!("{system}\n\n{}", user.content),
        _ => {}
    }
    out
}

/// `tokenizer_config.json` (null if there is none) and its path; what is no object says nothing of a tokenizer, and is an error.
pub fn tokenizer_config(dir: &Path) -> Result<(serde_json::Value, std::path::PathBuf)> {
    let path = dir.join("tokenizer_config.json");
    if !path.is_file() {
        return Ok((serde_json::Value::Null, path));
    }
    let value: serde_json::Value = crate::io::read_json(&path)?;
    if !value.is_object() {
        let start: String = value.to_string().chars().take(40).collect();
        let path = path.display();
        return Err(Error::input(format!(
            "{path}: holds `{start}`, expected an object: get the file anew, or remove it"
        )));
    }
    Ok((value, path))
}

/// The template under `chat_template`: a text, or `default` of a list of named ones.
fn in_config<'a>(value: &'a serde_json::Value, path: &Path) -> Result<Option<&'a str>> {
    let wrong = |what: &str| Error::input(format!("{}: `chat_template` {what}", path.display()));
    match value {
        serde_json::Value::Null => Ok(None),
        serde_json::Value::String(one) => Ok(Some(one)),
        serde_json::Value::Array(all) if all.is_empty() => Ok(None),
        serde_json::Value::Array(all) => {
            let default = all.iter().find(|t| t["name"] == "default").and_then(|t| t["template"].as_str());
            let names: Vec<&str> = all.iter().filter_map(|t| t["name"].as_str()).collect();
            let wanted = "expected one of that name with a text under `template`";
            default.map(Some).ok_or_else(|| wrong(&format!("lists {} and no `default`: {wanted}", names.join(", "))))
        }
        _ => Err(wrong("is neither a text nor a list of named ones: get the file anew")),
    }
}

/// `bos_token`, `eos_token`, … of a `tokenizer_config.json`, where each is a text or an object with `content`.
fn named_tokens(config: &serde_json::Value) -> BTreeMap<String, String> {
    let text = |v: &serde_json::Value| v.as_str().or_else(|| v["content"].as_str()).map(String::from);
    let all = config.as_object().into_iter().flatten();
    all.filter(|(key, _)| key.ends_with("_token")).filter_map(|(key, v)| Some((key.clone(), text(v)?))).collect()
}

/// `bos_token`, `eos_token`, … of a folder's `tokenizer_config.json`; empty if there is none.
pub fn named_of_folder(dir: &Path) -> Result<BTreeMap<String, String>> {
    Ok(named_tokens(&tokenizer_config(dir)?.0))
}

/// A stretch of text between added tokens, or one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub at: Range<usize>,
    /// The id, if it is an added token.
    pub added: Option<u32>,
}

/// Spellings of added tokens in the contents of a conversation, each with the private-use character that stands for it.
struct Spelt(Vec<(char, String)>);

impl Spelt {
    fn of(tokens: &dyn Tokens, messages: &[Message], template: &ChatTemplate) -> Result<Self> {
        let mut texts: Vec<&str> = Vec::new();
        for message in messages {
            template.tells_apart(tokens, message)?;
            let spelt = tokens.cut(&message.content)?.into_iter().filter(|s| s.added.is_some());
            // Runs of white space may be added tokens; they are text wherever they stand.
            texts.extend(spelt.map(|s| &message.content[s.at]).filter(|text| !text.trim().is_empty()));
        }
        texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        texts.dedup();
        let mut seen = std::collections::BTreeSet::new();
        texts.retain(|text| seen.insert(*text));
        let used = |c: char| messages.iter().any(|m| m.content.contains(c));
        let free = ('\u{E000}'..'\u{F8FF}').chain('\u{F0000}'..'\u{FFFFD}').filter(|c| !used(*c));
        let marked: Vec<_> = free.zip(&texts).map(|(c, text)| (c, text.to_string())).collect();
        match marked.len() == texts.len() {
            true => Ok(Self(marked)),
            false => Err(Error::input(format!("a conversation that spells {} control tokens", texts.len()))),
        }
    }

    /// `text` with the character in the place of each spelling.
    fn hide(&self, text: &str) -> String {
        self.0.iter().fold(text.to_string(), |text, (c, spelling)| text.replace(spelling, c.encode_utf8(&mut [0; 4])))
    }

    fn hide_all(&self, messages: &[Message]) -> Vec<Message> {
        messages.iter().map(|m| Message::new(m.role, self.hide(&m.content))).collect()
    }

    /// As `hide_all`; with thinking on, the answer's own `<think>…</think>` stays, since the template is to read it.
    fn hide_answer(&self, answer: &Message, thinking: Thinking) -> Message {
        let own = answer.content.strip_prefix("<think>").and_then(|rest| rest.split_once("</think>"));
        let content = match own.filter(|_| thinking == Thinking::On) {
            Some((reasoning, rest)) => format!("<think>{}</think>{}", self.hide(reasoning), self.hide(rest)),
            None => self.hide(&answer.content),
        };
        Message::new(Role::Assistant, content)
    }

    /// The ids of a rendered conversation whose spellings are hidden.
    fn ids(&self, tokens: &dyn Tokens, text: &str) -> Result<Vec<u32>> {
        if self.0.is_empty() {
            return tokens.whole(text);
        }
        let mut ids = Vec::new();
        for Stretch { at, added } in tokens.cut(text)? {
            let first = at.start == 0;
            match added {
                Some(id) => ids.push(id),
                None => ids.extend(tokens.stretch(&self.show(&text[at]), first)?),
            }
        }
        Ok(ids)
    }

    fn show(&self, text: &str) -> String {
        self.0.iter().fold(text.to_string(), |text, (c, spelling)| text.replace(*c, spelling))
    }
}

impl ChatTemplate {
    /// Refuses a message that spells a mark of the template which this vocabulary reads as ordinary text, as Llama 2 reads `[/INST]`: the
    /// model could not tell it from the template's own.
    fn tells_apart(&self, tokens: &dyn Tokens, message: &Message) -> Result<()> {
        for mark in self.0.marks.iter().filter(|mark| message.content.contains(mark.as_str())) {
            // A control token is told apart: text never becomes one.
            if !matches!(tokens.cut(mark)?[..], [Stretch { added: Some(_), .. }]) {
                return Err(self.error(&format!(
                    "marks turns with `{mark}`, which is ordinary text in this vocabulary, and a text to be asked about spells it: the \
                     model could not tell them apart; rewrite that text"
                )));
            }
        }
        Ok(())
    }
}
