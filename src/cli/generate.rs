//! `dxlab generate`: answers to a pairs file's prompts, greedy or sampled, free or constrained; a JSON object a line.
use super::pairs::{Source, write_lines};
use crate::error::{Error, Result};
use crate::generate::{
    Constraint, Constraints, Count, Decoding, Generated, Grammar, Labels, Limits, Pieces, Sampling, StopStrings,
    decode, read_labels, stop_tokens,
};
use crate::model::Tokenizer;
use clap::Args;
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::sync::Arc;

/// Answers to prompts: one object {"tokens":[…]} per line. With any of the flags on sampling, stops and constraints a line also has
/// `text` and `finish` (stop_token, stop_string or length)
#[derive(Args)]
pub struct Generate {
    #[command(flatten)]
    source: Source,
    /// Maximum number of new tokens per prompt
    #[arg(long, default_value_t = 64)]
    new: usize,
    /// Decode until `--new` tokens are made, past those that end an answer: `eos_token_id` of the model's files, and `<|im_end|>`
    /// where it has a tokenizer
    #[arg(long)]
    ignore_eos: bool,
    /// Sequences decoded at the same time
    #[arg(long, default_value_t = 8)]
    batch: usize,
    #[command(flatten)]
    sampled: Sampled,
    /// Text that ends an answer and is not part of it; repeat for more
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Also the log-probability of every token and of the whole answer with its end, under the model itself (before
    /// temperature, filters and constraint); under a constraint also renormalised over what it allowed
    #[arg(long)]
    logprobs: bool,
    #[command(flatten)]
    constraint: ConstraintFlags,
    /// Where the lines go
    #[arg(long)]
    out: PathBuf,
}

/// How tokens are drawn.
#[derive(Args)]
struct Sampled {
    /// 0 takes the likeliest token, more than 0 draws
    #[arg(long, allow_negative_numbers = true)]
    temperature: Option<f64>,
    /// Draw from the k likeliest tokens
    #[arg(long, value_name = "K", requires = "temperature")]
    top_k: Option<usize>,
    /// Draw from the likeliest tokens that hold this share of the probability
    #[arg(long, value_name = "P", requires = "temperature", allow_negative_numbers = true)]
    top_p: Option<f64>,
    /// Draw from tokens at least this share as likely as the likeliest
    #[arg(long, value_name = "P", requires = "temperature", allow_negative_numbers = true)]
    min_p: Option<f64>,
    /// Seed of the draws; prompt, sample and position make the rest
    #[arg(long, requires = "temperature")]
    seed: Option<u64>,
    /// Samples per prompt, as `samples` of its line
    #[arg(long)]
    n: Option<usize>,
}

/// How answers are constrained.
#[derive(Args)]
#[group(multiple = true)]
struct ConstraintFlags {
    /// One label per line: answers are labels of this list, joined by `, `, none twice
    #[arg(long, value_name = "FILE", group = "constraint")]
    labels: Option<PathBuf>,
    /// Only one label per answer
    #[arg(long, requires = "labels")]
    one_label: bool,
    /// Answers are JSON that this schema allows
    #[arg(long, value_name = "FILE", group = "constraint")]
    json_schema: Option<PathBuf>,
    /// Answers are text of this grammar (llguidance's dialect of Lark)
    #[arg(long, value_name = "FILE", group = "constraint")]
    grammar: Option<PathBuf>,
    /// Answers match this regular expression from beginning to end
    #[arg(long, value_name = "EXPRESSION", group = "constraint")]
    regex: Option<String>,
}

impl Sampled {
    fn sampling(&self) -> Sampling {
        let plain = Sampling::default();
        Sampling {
            temperature: self.temperature.unwrap_or(plain.temperature),
            top_k: self.top_k.unwrap_or(plain.top_k),
            top_p: self.top_p.unwrap_or(plain.top_p),
            min_p: self.min_p.unwrap_or(plain.min_p),
            seed: self.seed.unwrap_or(plain.seed),
        }
    }
}

impl ConstraintFlags {
    fn constraint(&self, tokenizer: Option<&Arc<Tokenizer>>) -> Result<Option<Box<dyn Constraint>>> {
        let text = |path: &PathBuf| crate::io::read_text(path);
        let named = |path: &PathBuf, e: Error| match e {
            Error::Input(what) => Error::Input(format!("{}: {what}", path.display())),
            other => other,
        };
        let tokens = || tokenizer.cloned().ok_or_else(|| no_tokenizer("a constraint"));
        let count = if self.one_label { Count::One } else { Count::Many };
        Ok(match self {
            ConstraintFlags { labels: Some(path), .. } => {
                let labels = Labels::new(&read_labels(path)?, count, &*tokens()?).map_err(|e| named(path, e))?;
                Some(Box::new(labels))
            }
            ConstraintFlags { json_schema: Some(path), .. } => {
                Some(Box::new(Grammar::json_schema(&text(path)?, tokens()?).map_err(|e| named(path, e))?))
            }
            ConstraintFlags { grammar: Some(path), .. } => {
                Some(Box::new(Grammar::lark(&text(path)?, tokens()?).map_err(|e| named(path, e))?))
            }
            ConstraintFlags { regex: Some(expression), .. } => Some(Box::new(Grammar::regex(expression, tokens()?)?)),
            _ => None,
        })
    }
}

impl Generate {
    pub fn run(self) -> Result<()> {
        let sampling = self.sampled.sampling();
        sampling.check()?; // before a large model is read
        let opened = self.source.open()?;
        opened.check(|pair| pair.prompt_ids.len())?;
        let tokenizer = opened.tokenizer.clone();
        let stop = if self.ignore_eos { vec![] } else { stop_tokens(&opened.config, tokenizer.as_deref()) };
        let until = match &tokenizer {
            _ if self.stop.is_empty() => None,
            Some(t) => Some(StopStrings::new(&self.stop, Arc::new(Pieces::of(t)?))?),
            None => return Err(no_tokenizer("a stop string")),
        };
        let constraint = self.constraint.constraint(tokenizer.as_ref())?;
        let called = |at: usize| opened.called(at);
        let how = Decoding {
            limits: Limits { max_new: self.new, batch: self.batch, stop },
            sampling,
            samples: self.sampled.n.unwrap_or(1),
            until,
            constraints: constraint.as_deref().map_or(Constraints::None, Constraints::Shared),
            shared: Vec::new(),
            called: Some(&called),
        };
        how.check()?;
        let plain = how.sampling.is_greedy() && how.until.is_none() && how.constraints.is_none() && !self.logprobs;
        let prompts: Vec<Vec<u32>> = opened.pairs.iter().map(|p| p.prompt_ids.clone()).collect();
        let answers = decode(&opened.model()?, &prompts, &how, &mut |_| {})?;
        let line = |g: &Generated| match plain {
            true => Ok(json!({"tokens": g.tokens})),
            false => self.line(g, tokenizer.as_deref()),
        };
        let lines = answers.iter().map(|samples| match samples.as_slice() {
            [one] => line(one),
            many => Ok(json!({"samples": many.iter().map(line).collect::<Result<Vec<Value>>>()?})),
        });
        write_lines(&self.out, lines.collect::<Result<Vec<Value>>>()?.into_iter())
    }

    fn line(&self, g: &Generated, tokenizer: Option<&Tokenizer>) -> Result<Value> {
        let mut line = Map::new();
        line.insert("tokens".into(), json!(g.tokens));
        if let Some(text) = g.text.clone().map(Ok).or_else(|| Some(tokenizer?.decode(&g.tokens, true))) {
            line.insert("text".into(), text?.into());
        }
        line.insert("finish".into(), crate::io::to_value(&g.finish)?);
        if self.logprobs {
            line.insert("logprobs".into(), json!(g.logprobs[..g.tokens.len()]));
            line.insert("logprob".into(), g.logprob().into());
            if let Some(constrained) = g.constrained_logprob() {
                line.insert("constrained_logprob".into(), constrained.into());
            }
        }
        Ok(line.into())
    }
}

fn no_tokenizer(what: &str) -> Error {
    Error::input(format!("{what} needs a tokenizer: expected tokenizer.json in the model folder"))
}
