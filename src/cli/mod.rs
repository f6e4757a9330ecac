//! The command line: one file a command group, each a thin layer over the rooms.
mod baseline;
mod bench;
mod compare;
mod data;
mod decisions;
mod endpoint;
mod evaluate;
mod export;
mod failures;
mod generate;
mod grid;
mod merge;
mod models;
mod notebook;
mod pairs;
mod predict;
mod pretrain;
mod prompts;
mod push;
mod rank;
mod rank_diseases;
mod rare_disease;
mod results;
mod runs;
mod search;
mod serve;
mod train;
mod vote;
mod weights;
mod workbook;

use crate::error::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "dxlab",
    version,
    about = "How well does a small language model turn clinical findings into diagnoses?"
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Fine-tune an adapter, or an encoder: a run folder with adapter/ (PEFT) or model/, log and card
    Train(train::Train),
    Search(search::SearchFor),
    Grid(grid::GridOf),
    Prompts(prompts::Prompts),
    Reproduce(notebook::Reproduce),
    Vote(vote::VoteOver),
    /// Ask a model about every test case
    Predict(predict::Predict),
    Baseline(baseline::Fit),
    /// Pretrain a small base model from random weights; the same command resumes after a stop
    Pretrain(pretrain::Pretrain),
    /// Log-probability of every completion token: one object {"logprobs":[…]} per line
    Score(pairs::Score),
    Generate(generate::Generate),
    Rank(rank::Rank),
    RankDiseases(rank_diseases::RankDiseases),
    /// The study of rankers on published patients with a rare disease
    #[command(subcommand)]
    RareDisease(rare_disease::RareDisease),
    Merge(merge::Merge),
    Serve(serve::Serve),
    Models(models::Models),
    Export(export::Export),
    Push(push::Push),
    /// Measure the speed of training and decoding: one JSON line
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Corpora: what is known, download, validate, generate
    #[command(subcommand)]
    Data(data::Data),
    /// Clinical decisions in discharge summaries: predict by an encoder, tag, untag, score, consensus and its thresholds, pseudo-labels
    #[command(subcommand)]
    Decisions(decisions::DecisionsCommand),
    Evaluate(evaluate::Evaluate),
    Compare(compare::Compare),
    Failures(failures::Failures),
    Workbook(workbook::Workbook),
    Results(results::ResultsOf),
    Runs(runs::Runs),
    /// Execute notebooks headless in the Rust kernel
    #[command(subcommand)]
    Notebook(notebook::Notebook),
}

impl Cli {
    pub fn run(self) -> Result<()> {
        match self.command {
            Command::Train(train) => train.run(),
            Command::Search(search) => search.run(),
            Command::Grid(grid) => grid.run(),
            Command::Predict(predict) => predict.run(),
            Command::Prompts(prompts) => prompts.run(),
            Command::Reproduce(reproduce) => reproduce.run(),
            Command::Vote(vote) => vote.run(),
            Command::Baseline(command) => command.run(),
            Command::Pretrain(pretrain) => pretrain.run(),
            Command::Score(score) => score.run(),
            Command::Generate(generate) => generate.run(),
            Command::Rank(rank) => rank.run(),
            Command::RankDiseases(rank) => rank.run(),
            Command::RareDisease(command) => command.run(),
            Command::Merge(command) => command.run(),
            Command::Serve(serve) => serve.run(),
            Command::Models(models) => models.run(),
            Command::Export(command) => command.run(),
            Command::Push(command) => command.run(),
            Command::Bench(bench) => bench.run(),
            Command::Data(data) => data.run(),
            Command::Decisions(command) => command.run(),
            Command::Evaluate(command) => command.run(),
            Command::Compare(command) => command.run(),
            Command::Failures(command) => command.run(),
            Command::Workbook(command) => command.run(),
            Command::Results(command) => command.run(),
            Command::Runs(command) => command.run(),
            Command::Notebook(notebook) => notebook.run(),
        }
    }
}
