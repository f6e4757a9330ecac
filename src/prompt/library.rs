//! Prompts: named, versioned, kept as TOML in `data/prompts` and filled with what the corpus gives.
//!
//! A recipe has places: `{finding}` (once, in `user`), `{vocabulary}` the training labels, `{document}` what kind of text it is,
//! `{target}` what is to be listed, `{none}` the answer for nothing. All but `{finding}` are filled when the prompt is made, so that
//! a prompt is a value with a digest: the same digest asks the same question. Examples that depend on the case (`neighbours`) are
//! retrieved when it is asked about, and so are the labels of a shortened list (`listed`); how many and from which cases is part of the
//! digest.
#[cfg(test)]
mod tests;

use super::chat::{Message, Role, Thinking};
use super::choose;
use super::retrieve::{Listed, Neighbours, OpenEmbedder, Retriever};
use crate::corpus::Case;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::Path;

const FINDING: &str = "{finding}";
const VOCABULARY: &str = "{vocabulary}";

/// The prompts that come with dxlab.
const LIBRARY: [&str; 21] = [
    include_str!("../../data/prompts/ask.toml"),
    include_str!("../../data/prompts/plain.toml"),
    include_str!("../../data/prompts/role.toml"),
    include_str!("../../data/prompts/form.toml"),
    include_str!("../../data/prompts/list.toml"),
    include_str!("../../data/prompts/organs.toml"),
    include_str!("../../data/prompts/thinking.toml"),
    include_str!("../../data/prompts/shots.toml"),
    include_str!("../../data/prompts/neighbours.toml"),
    include_str!("../../data/prompts/rules.toml"),
    include_str!("../../data/prompts/closed.toml"),
    include_str!("../../data/prompts/examples.toml"),
    include_str!("../../data/prompts/everything.toml"),
    include_str!("../../data/prompts/instruct.toml"),
    include_str!("../../data/prompts/instruct-role.toml"),
    include_str!("../../data/prompts/instruct-rules.toml"),
    include_str!("../../data/prompts/instruct-organs.toml"),
    include_str!("../../data/prompts/instruct-reasoning.toml"),
    include_str!("../../data/prompts/instruct-closed.toml"),
    include_str!("../../data/prompts/instruct-shots.toml"),
    include_str!("../../data/prompts/instruct-neighbours.toml"),
];

/// Prompts of tasks that are not asked for labels of a text; found by name, and no part of the study of prompts.
const OF_TASKS: [&str; 4] = [
    include_str!("../../data/prompts/decisions.toml"),
    include_str!("../../data/prompts/rare-disease.toml"),
    include_str!("../../data/prompts/rare-disease-neighbours.toml"),
    include_str!("../../data/prompts/rare-disease-retrieved.toml"),
];

/// A prompt's TOML file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    pub name: String,
    pub version: u32,
    /// What the prompt adds, in a few words.
    pub about: String,
    #[serde(default)]
    pub system: Option<String>,
    pub user: String,
    /// How many training cases stand before the question.
    #[serde(default)]
    pub examples: usize,
    /// How many of the training cases nearest to the case stand there, after those.
    #[serde(default)]
    pub neighbours: usize,
    /// By what they are the nearest.
    #[serde(default)]
    pub retriever: Retriever,
    /// In what order examples and neighbours stand.
    #[serde(default)]
    pub order: Order,
    /// Of an order that is shuffled.
    #[serde(default)]
    pub seed: u64,
    /// How many labels `{vocabulary}` lists: those of the nearest training cases. 0: all.
    #[serde(default)]
    pub listed: usize,
    #[serde(default)]
    pub thinking: Thinking,
}

/// The order of examples before a question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Fixed ones as they were chosen, then the retrieved ones, the nearest last.
    #[default]
    Given,
    /// The other way round: the nearest first.
    Reversed,
    /// By the digest of the recipe's seed and each example.
    Shuffled,
}

impl Order {
    fn is_given(&self) -> bool {
        *self == Self::Given
    }
}

/// What is filled in.
const PLACES: [&str; 5] = ["{finding}", "{document}", "{target}", "{none}", "{vocabulary}"];

/// A word in braces that is no place, `{findng}`; braces behind a command of TeX (`\boxed{answer}`) are none.
fn unknown_place(text: &str) -> Option<&str> {
    text.match_indices('{').find_map(|(at, _)| {
        let end = text[at..].find('}').map(|end| at + end + 1)?;
        let place = &text[at..end];
        let word = !place[1..place.len() - 1].is_empty()
            && place[1..place.len() - 1].bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        let command = text[..at].ends_with(|c: char| c.is_ascii_alphabetic());
        (word && !command && !PLACES.contains(&place)).then_some(place)
    })
}

/// A training case that may stand in a prompt as an example.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    pub case: Case,
    /// The answer as a model is to write it.
    pub answer: String,
    /// What it shows (its labels): examples are chosen so that together they show what is most frequent.
    pub shows: Vec<String>,
}

/// What a task lends to a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptContext {
    /// Answers that training knows, sorted (labels). Never those of the test cases.
    pub vocabulary: Vec<String>,
    /// Training cases to choose examples from.
    pub examples: Vec<Exemplar>,
    /// SHA-256 of these with their gold answers; enters the digest of prompts that retrieve from them.
    pub pool: String,
    /// What a text is called: "radiology report".
    pub document: String,
    /// What is to be listed: "diagnoses that it supports".
    pub target: String,
    /// What is answered when there is nothing to name.
    pub none: String,
    /// Instead of the recipe's own.
    pub thinking: Option<Thinking>,
    /// For prompts whose neighbours are found by embedding.
    pub embedder: OpenEmbedder,
}

/// What is answered in radiology reports where nothing was found.
pub const USUAL_NONE: &str = "no acute abnormality";

impl Default for PromptContext {
    fn default() -> Self {
        Self {
            vocabulary: Vec::new(),
            examples: Vec::new(),
            pool: String::new(),
            document: "radiology report".into(),
            target: "diagnoses that it supports".into(),
            none: USUAL_NONE.into(),
            thinking: None,
            embedder: OpenEmbedder::default(),
        }
    }
}

/// A worked example: a finding and the answer to it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shot {
    pub input: String,
    pub answer: String,
}

/// A filled prompt: everything but the finding, and neighbours of it, is fixed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prompt {
    pub name: String,
    pub version: u32,
    pub system: Option<String>,
    /// Holds `{finding}` exactly once.
    pub user: String,
    pub examples: Vec<Shot>,
    pub thinking: Thinking,
    /// Further examples, retrieved for each case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub neighbours: Option<Neighbours>,
    #[serde(skip_serializing_if = "Order::is_given")]
    pub order: Order,
    #[serde(skip_serializing_if = "is_zero")]
    pub seed: u64,
    /// Labels that are listed for each case in the place of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listed: Option<Listed>,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// The examples that stand before one question.
pub(super) struct Shots<'a> {
    fixed: Vec<&'a Shot>,
    /// The nearest last.
    pub(super) nearest: Vec<&'a Shot>,
    /// The labels that are listed for this question, where they are its own.
    listed: Option<String>,
}

impl Prompt {
    /// The prompts that come with dxlab, from the barest to the richest.
    pub fn library() -> Result<Vec<Recipe>> {
        LIBRARY.iter().map(|text| recipe(text, "data/prompts")).collect()
    }

    /// A prompt of the library by its name, or one's own by the path of its TOML file; behind either may stand keys of the recipe that are
    /// set otherwise: `instruct-neighbours[neighbours=3, order=reversed]`.
    pub fn named(name: &str, context: &PromptContext) -> Result<Self> {
        let (bare, changes) = match name.strip_suffix(']').and_then(|name| name.split_once('[')) {
            Some((bare, changes)) => (bare, Some(changes)),
            None => (name, None),
        };
        let found = Self::recipe(bare)?;
        match changes {
            Some(changes) => Self::fill(&changed(found, name, changes)?, context),
            None => Self::fill(&found, context),
        }
    }

    fn recipe(name: &str) -> Result<Recipe> {
        if name.ends_with(".toml") {
            return recipe(&crate::io::read_text(Path::new(name))?, name);
        }
        let mut library = Self::library()?;
        for text in OF_TASKS {
            library.push(recipe(text, "data/prompts")?);
        }
        match library.iter().find(|r| r.name == name) {
            Some(found) => Ok(found.clone()),
            None => {
                let names: Vec<_> = library.iter().map(|r| r.name.as_str()).collect();
                Err(Error::input(format!("no prompt `{name}`: there are {}, or give a .toml file", names.join(", "))))
            }
        }
    }

    fn fill(recipe: &Recipe, context: &PromptContext) -> Result<Self> {
        let wrong = |what: &str| Error::input(format!("prompt `{}`: {what}", recipe.name));
        let places = |t: &String| t.contains("{vocabulary}");
        if context.vocabulary.is_empty() && (places(&recipe.user) || recipe.system.as_ref().is_some_and(places)) {
            return Err(wrong(
                "it lists the training labels, and none are given: it needs a corpus with training cases",
            ));
        }
        let wanted = recipe.examples.max(recipe.neighbours);
        if context.examples.len() < wanted {
            let got = context.examples.len();
            return Err(wrong(&format!("it shows {wanted} training cases, and {got} are given")));
        }
        if recipe.listed > 0 && !(places(&recipe.user) || recipe.system.as_ref().is_some_and(places)) {
            return Err(wrong("`listed` says how many labels `{vocabulary}` lists, and it stands nowhere"));
        }
        if recipe.order != Order::Given && recipe.examples + recipe.neighbours < 2 {
            return Err(wrong("`order` orders examples and neighbours, and it shows fewer than two"));
        }
        let texts = [Some(&recipe.user), recipe.system.as_ref()];
        if let Some(unknown) = texts.into_iter().flatten().find_map(|text| unknown_place(text)) {
            return Err(wrong(&format!("`{unknown}` is none of the places that are filled: {}", PLACES.join(", "))));
        }
        // labels that depend on the case are filled in when it is asked about
        let vocabulary = if recipe.listed > 0 { VOCABULARY.into() } else { context.vocabulary.join(", ") };
        let values = [
            (VOCABULARY, vocabulary.as_str()),
            ("{document}", &context.document),
            ("{target}", &context.target),
            ("{none}", context.none.as_str()),
        ];
        let user = replace(&recipe.user, &values);
        if user.matches(FINDING).count() != 1 {
            return Err(wrong("`{finding}` must stand in `user` exactly once"));
        }
        let chosen = choose(&context.examples, recipe.examples).into_iter();
        Ok(Self {
            name: recipe.name.clone(),
            version: recipe.version,
            system: recipe.system.as_deref().map(|s| replace(s, &values)),
            user,
            examples: chosen.map(|one| Shot { input: one.case.input.clone(), answer: one.answer.clone() }).collect(),
            thinking: context.thinking.unwrap_or(recipe.thinking),
            neighbours: (recipe.neighbours > 0).then(|| Neighbours::new(recipe.neighbours, recipe.retriever, context)),
            order: recipe.order,
            seed: recipe.seed,
            listed: (recipe.listed > 0).then(|| Listed::new(recipe.listed, context)),
        })
    }

    /// Fails where neighbours are retrieved by a model that is not installed.
    pub(super) fn ready(&self) -> Result<()> {
        self.neighbours.as_ref().map_or(Ok(()), Neighbours::ready)
    }

    /// The same prompt with thinking on or off.
    pub fn with_thinking(mut self, thinking: Thinking) -> Self {
        self.thinking = thinking;
        self
    }

    /// The conversation that asks about `case`. An example of the same text is left out, and a neighbour also if it is of the
    /// same group: no case sees its own answer.
    pub fn messages(&self, case: &Case) -> Vec<Message> {
        self.ask(&self.shots(&case.input, Some(&case.group)), 0, &case.input)
    }

    /// Ids of the training cases that stand as neighbours before the question about `case`, the nearest last.
    pub fn retrieved(&self, case: &Case) -> Vec<&str> {
        let found = self.neighbours.iter().flat_map(|n| n.of(&case.input, Some(&case.group)));
        found.map(|(neighbour, _)| neighbour.case_id.as_str()).collect()
    }

    /// The examples for a question about `input`, of `group` where that is known.
    pub(super) fn shots(&self, input: &str, group: Option<&str>) -> Shots<'_> {
        let nearest = self.neighbours.iter().flat_map(|n| n.of(input, group)).map(|(_, shot)| shot);
        let listed = self.listed.as_ref().map(|listed| listed.of(input, group).join(", "));
        let fixed = self.examples.iter().filter(|shot| shot.input != input).collect();
        Shots { fixed, nearest: nearest.collect(), listed }
    }

    /// The conversation with `shown` in the place of the finding, without the `dropped` farthest neighbours.
    pub(super) fn ask(&self, shots: &Shots, dropped: usize, shown: &str) -> Vec<Message> {
        let labels = shots.listed.as_ref().map(|labels| (VOCABULARY, labels.as_str()));
        let fill = |text: &str, finding: Option<&str>| {
            let values: Vec<(&str, &str)> =
                finding.map(|finding| (FINDING, finding)).into_iter().chain(labels).collect();
            replace(text, &values)
        };
        let user = |finding: &str| Message::new(Role::User, fill(&self.user, Some(finding)));
        let mut out: Vec<Message> = self.system.iter().map(|s| Message::new(Role::System, fill(s, None))).collect();
        let mut all: Vec<&Shot> = shots.fixed.iter().chain(&shots.nearest[dropped..]).copied().collect();
        match self.order {
            Order::Given => {}
            Order::Reversed => all.reverse(),
            Order::Shuffled => {
                all.sort_by_key(|shot| Sha256::digest(format!("{}/{}", self.seed, shot.input)).to_vec());
            }
        }
        for shot in all {
            out.extend([user(&shot.input), Message::new(Role::Assistant, &shot.answer)]);
        }
        out.push(user(shown));
        out
    }

    /// SHA-256 in hex of everything that the prompt is made of.
    pub fn digest(&self) -> String {
        // A struct of strings and numbers always has a JSON form.
        let json = serde_json::to_string(self).unwrap_or_default();
        Sha256::digest(json).iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Name and the head of the digest, `closed@1f3a5b7c9d0e`: what a prediction records.
    pub fn id(&self) -> String {
        format!("{}@{}", self.name, &self.digest()[..12])
    }
}

/// The recipe with the keys that `changes` sets: `neighbours=3, order=reversed`. It is called `name`.
fn changed(recipe: Recipe, name: &str, changes: &str) -> Result<Recipe> {
    let wrong = |what: String| Error::input(format!("prompt `{name}`: {what}"));
    let mut table = toml::Table::try_from(recipe).map_err(|e| wrong(e.to_string()))?;
    for change in changes.split(',').map(str::trim).filter(|change| !change.is_empty()) {
        let (key, value) = change.split_once('=').ok_or_else(|| wrong(format!("`{change}`: expected KEY=VALUE")))?;
        let (key, value) = (key.trim(), value.trim());
        let value = value.parse::<i64>().map_or_else(|_| value.into(), toml::Value::Integer);
        table.insert(key.into(), value);
    }
    table.insert("name".into(), name.into());
    table.try_into().map_err(|e: toml::de::Error| wrong(e.message().to_string()))
}

fn recipe(text: &str, from: &str) -> Result<Recipe> {
    toml::from_str(text).map_err(|e| Error::input(format!("{from}: not a prompt: {e}")))
}

/// Fills each place once, left to right: what is filled in is not looked at again.
fn replace(text: &str, values: &[(&str, &str)]) -> String {
    let (mut out, mut rest) = (String::new(), text);
    let first = |rest: &str| values.iter().filter_map(|v| rest.find(v.0).map(|at| (at, *v))).min_by_key(|f| f.0);
    while let Some((at, (place, value))) = first(rest) {
        out += &rest[..at];
        out += value;
        rest = &rest[at + place.len()..];
    }
    out + rest
}
