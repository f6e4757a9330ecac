//! `dxlab rare-disease`: the rankers on published patients, and the learned ranker's weights.
use crate::error::Result;
use crate::metric::Bootstrap;
use crate::study::rare_disease::{Bench, Benchmark, BenchmarkConfig, Protocol, Stratum, hit_row, train_all};
use clap::Subcommand;
use std::path::PathBuf;

#[derive(Subcommand)]
pub enum RareDisease {
    /// Rank every published patient by every ranker, its publication left out; opened from the run store where it was done before
    Benchmark {
        /// Only every n-th patient: a quick look, stored as a run of its own
        #[arg(long, default_value_t = 1, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
        every: usize,
    },
    /// Train the learned ranker on all published patients and write its weights
    Train {
        #[arg(long, default_value_t = 7)]
        seed: u64,
        #[arg(long, default_value = "data/rare-disease/learned.json")]
        out: PathBuf,
    },
}

impl RareDisease {
    pub fn run(self) -> Result<()> {
        match self {
            Self::Benchmark { every } => benchmark(every),
            Self::Train { seed, out } => {
                let bench = Bench::installed()?;
                println!("{}", bench.said());
                let weights = train_all(&bench, seed)?;
                crate::io::write_json(&out, &weights)?;
                println!(
                    "learned from {} patients of {} publications: {}",
                    weights.patients,
                    weights.publications,
                    out.display()
                );
                Ok(())
            }
        }
    }
}

fn benchmark(every: usize) -> Result<()> {
    let benchmark = Benchmark::open_or_rank(&BenchmarkConfig { every, ..BenchmarkConfig::default() })?;
    let bootstrap = Bootstrap::default();
    println!("{:<18} {:<18} {:>6}  Hit@1/3/10, all   | clean", "ranker", "protocol", "cases");
    for column in &benchmark.columns {
        let whole = benchmark.cases(column, None).len() == benchmark.patients.len();
        let rates = |stratum: Option<Stratum>| {
            let row = hit_row(&benchmark.cases(column, stratum), &bootstrap);
            let hits = row.hits.map(|hit| hit.map_or("  –  ".into(), |hit| format!("{:.3}", hit.value)));
            (row.cases, hits.join(" "))
        };
        let ((n, all), (_, clean)) = (rates(None), rates(Some(Stratum::Clean).filter(|_| whole)));
        println!("{:<18} {:<18} {n:>6}  {all} | {clean}", column.ranker, column.protocol.title());
    }
    if let Some(leak) = benchmark.leak("resnik", Protocol::FileAsPublished, 1, &bootstrap)? {
        println!("leak of Resnik's Hit@1 within {} diseases: {:?}", leak.diseases, leak.difference);
    }
    Ok(())
}
