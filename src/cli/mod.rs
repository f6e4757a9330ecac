//! The command line: one file a command group, each a thin layer over the rooms.
mod bench;
mod data;

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
    /// Speed beside the peers' scripts: one JSON line
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Corpora: what is known, download, validate, generate
    #[command(subcommand)]
    Data(data::Data),
}

impl Cli {
    pub fn run(self) -> Result<()> {
        match self.command {
            Command::Bench(bench) => bench.run(),
            Command::Data(data) => data.run(),
        }
    }
}
