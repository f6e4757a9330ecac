//! The command line: one file a command group, each a thin layer over the rooms.
use crate::error::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "dxlab", version, about = "How well does a small language model turn clinical findings into diagnoses?")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {}

impl Cli {
    pub fn run(self) -> Result<()> {
        match self.command {}
    }
}
