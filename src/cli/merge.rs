//! `dxlab merge`: an adapter folded into its base, if it then still says the same.
use super::export::{Float, shard_size};
use crate::error::Result;
use crate::report::kit::Table;
use crate::run::size;
use crate::study::{Gate, MergeConfig, merge};
use clap::Args;
use std::path::PathBuf;

/// Fold an adapter into its base; refused (exit code 1, nothing written) if held-out prompts come out differently
#[derive(Args)]
pub struct Merge {
    /// Model folder, .gguf file, hub id or `embedded`
    #[arg(long)]
    model: String,
    /// Run folder of a training run, or a PEFT adapter folder
    #[arg(long)]
    adapter: PathBuf,
    /// Folder for the merged model; must not be there yet
    #[arg(long)]
    out: PathBuf,
    /// Type of the weights; as the base has them where not given
    #[arg(long, value_enum)]
    dtype: Option<Float>,
    /// Maximum size of one file, such as 500MB: more goes to shards with an index
    #[arg(long, value_parser = shard_size, default_value = "5GB", value_name = "SIZE")]
    shard_size: u64,
    /// Pairs file to compare on; by default 32 test findings with the plain prompt
    #[arg(long)]
    prompts: Option<PathBuf>,
    /// Largest |Δlogit| allowed, over the largest |logit| [default: 1e-5 for f32, 2e-3 for f16, 2e-2 for bf16]
    #[arg(long)]
    max_delta: Option<f64>,
    /// Largest KL(adapter‖merged) allowed at any position, in nats [default: 1e-8 for f32, 1e-4 for f16, 1e-2 for bf16]
    #[arg(long)]
    max_kl: Option<f64>,
}

impl Merge {
    pub fn run(self) -> Result<()> {
        let config = MergeConfig {
            model: self.model,
            adapter: self.adapter,
            out: self.out,
            dtype: self.dtype.map(Float::dtype),
            shard: self.shard_size,
            prompts: self.prompts,
            max_delta: self.max_delta,
            max_kl: self.max_kl,
        };
        let gate = merge(&config, &mut |gate| print!("{}", table(gate)))?;
        let megabytes = size(&config.out)? as f64 / 1e6;
        println!("{}: {} layers merged in {}, {megabytes:.1} MB", config.out.display(), gate.layers, gate.dtype);
        Ok(())
    }
}

fn table(gate: &Gate) -> Table {
    let a = &gate.agreement;
    let row = |what: &str, value: String, bound: String| vec![what.to_string(), value, bound];
    let of = |n: usize| format!("{n} of {}", a.prompts);
    let mut rows = vec![
        row("max |Δlogit|", format!("{:.2e}", a.max_delta), String::new()),
        row("  over max |logit|", format!("{:.2e}", a.relative()), format!("{:.0e}", gate.bounds.delta)),
        row("rms Δlogit over rms logit", format!("{:.2e}", a.rms_delta), String::new()),
        row("KL(adapter‖merged), mean", format!("{:.2e}", a.mean_kl), String::new()),
        row("KL(adapter‖merged), max", format!("{:.2e}", a.max_kl), format!("{:.0e}", gate.bounds.kl)),
        row("same greedy answer", of(a.same_answers), String::new()),
    ];
    rows.extend(gate.same_text.map(|n| row("same text", of(n), String::new())));
    let caption = format!("{} + {}: {} prompts, {} positions", gate.model, gate.adapter, a.prompts, a.positions);
    Table::from_rows(&["adapter against merged", "measured", "bound"], &rows).caption(caption)
}
