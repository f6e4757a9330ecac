//! `dxlab`: parse, run, turn an error into one line and an exit code (2 for bad input, 1 for the rest).
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    dxlab::process::prepare();
    dxlab::process::end_with_the_pipe();
    match dxlab::cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dxlab: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
