//! `dxlab rare-disease`: the rankers on published patients, and the learned ranker's weights.
use super::weights::Weights;
use crate::error::{Error, Result};
use crate::metric::{Bootstrap, RankedCase};
use crate::phenotype::RankerKind;
use crate::phenotype::rank::{BayesSettings, LearnedSettings, Smoothing};
use crate::run::{Store, write_predictions};
use crate::study::PredictConfig;
use crate::study::rare_disease::{
    Bench, Benchmark, BenchmarkConfig, Folds, KeptRanks, Mix, Protocol, RerankConfig, Reranked, Stratum, bayes_hits,
    hit_row, learned_hits, train_all,
};
use crate::task::RareDisease as Patients;
use crate::task::Task;
use crate::task::rare_disease::Form;
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};

/// Weights of the learned ranker that come with dxlab.
const WEIGHTS: &str = "data/rare-disease/learned.json";
/// Kept results of the published patients, which the chapter *Rare disease* reads.
const RESULTS: &str = "data/results/rare-disease";

#[derive(Subcommand)]
pub enum RareDisease {
    /// Rank every published patient by every ranker, its publication left out; opened from the run store where it was done before
    Benchmark {
        /// Only every n-th patient: a quick look, stored as a run of its own
        #[arg(long, default_value_t = 1, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
        every: usize,
    },
    /// Hit rates of naive Bayes and of the learned ranker with other settings, on the patients of one fold of publications: how its settings were chosen
    Settings {
        /// Only of the learned ranker
        #[arg(long)]
        learned: bool,
    },
    /// Train the learned ranker on all published patients and write its weights
    Train {
        #[arg(long, default_value_t = 7)]
        seed: u64,
        #[arg(long, default_value = WEIGHTS)]
        out: PathBuf,
    },
    Rerank(Rerank),
    /// Keep what every run made of the test patients: ranks, names that are no disease's, choices on validation patients; methods that the
    /// folder has and the run store lacks stay
    Results {
        #[arg(long, default_value = RESULTS)]
        out: PathBuf,
    },
}

/// Ask a language model how likely it finds each of a ranker's best candidates, and rank the test patients' candidates by both
///
/// How much the language model counts is chosen on validation patients; 0 is among the choices.
#[derive(Args)]
pub struct Rerank {
    /// Whose candidates are re-ranked; it knows the training patients alone
    #[arg(long, default_value = "learned")]
    ranker: RankerKind,
    /// Candidates for each patient
    #[arg(long, default_value_t = 50)]
    top: usize,
    /// Base model: a name that `dxlab models` lists, a model folder, a .gguf file or a hub id
    #[arg(long, default_value = "smollm2")]
    model: String,
    /// Run folder of a training run, or a PEFT adapter folder
    #[arg(long)]
    adapter: Option<PathBuf>,
    /// Prompt of the library, or a .toml file
    #[arg(long, default_value = "rare-disease")]
    prompt: String,
    #[command(flatten)]
    weights: Weights,
    /// Name of the run in the store
    #[arg(long, default_value = "cli")]
    name: String,
    /// Where preds.jsonl goes, besides the run store
    #[arg(long)]
    out: PathBuf,
}

impl RareDisease {
    pub fn run(self) -> Result<()> {
        match self {
            Self::Benchmark { every } => benchmark(every),
            Self::Settings { learned } => settings(learned),
            Self::Rerank(rerank) => rerank.run(),
            Self::Results { out } => results(&out),
            Self::Train { seed, out } => {
                let bench = Bench::installed()?;
                if bench.synthetic && out == Path::new(WEIGHTS) {
                    return Err(Error::input(format!(
                        "no published patients: set DXLAB_DATA to the folder of your open corpora, or give --out so that weights learned \
                         from synthetic patients do not take the place of {WEIGHTS}"
                    )));
                }
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
    println!("{:<40} {:<18} {:>6}  Hit@1/3/10, all   | clean", "ranker", "protocol", "cases");
    for column in &benchmark.columns {
        let whole = benchmark.cases(column, None).len() == benchmark.patients.len();
        let rates = |stratum: Option<Stratum>| {
            let row = hit_row(&benchmark.cases(column, stratum), &bootstrap);
            let hits = row.hits.map(|hit| hit.map_or("  –  ".into(), |hit| format!("{:.3}", hit.value)));
            (row.cases, hits.join(" "))
        };
        let ((n, all), (_, clean)) = (rates(None), rates(Some(Stratum::Clean).filter(|_| whole)));
        let clean = if whole { clean } else { "  –     –     –  ".into() };
        println!("{:<40} {:<18} {n:>6}  {all} | {clean}", column.ranker, column.protocol.title());
    }
    if let Some(leak) = benchmark.leak("resnik", Protocol::FileAsPublished, 1, &bootstrap)? {
        let size = crate::report::kit::interval(leak.difference.as_ref());
        println!("leak of Resnik's Hit@1 within {} diseases: {size}", leak.diseases);
    }
    Ok(())
}

fn settings(learned: bool) -> Result<()> {
    let bench = Bench::installed()?;
    println!("{}", bench.said());
    if !learned {
        bayes_settings(&bench);
    }
    let usual = LearnedSettings::default();
    let all = [
        usual,
        LearnedSettings { networks: 1, ..usual },
        LearnedSettings { networks: 6, ..usual },
        LearnedSettings { hidden: 16, ..usual },
        LearnedSettings { hidden: 64, ..usual },
        LearnedSettings { epochs: 4, ..usual },
        LearnedSettings { epochs: 16, ..usual },
        LearnedSettings { rate: 1e-3, ..usual },
        LearnedSettings { rate: 1e-2, ..usual },
    ];
    let (found, listed) = learned_hits(&bench, &all, Folds::default())?;
    println!(
        "learned: the right disease is listed for a share of {listed:.3}\nnetworks  hidden  epochs    rate  Hit@1  Hit@10"
    );
    for (LearnedSettings { hidden, epochs, rate, networks }, first, ten) in found {
        println!("{networks:>8}  {hidden:>6}  {epochs:>6}  {rate:>6}  {first:.3}   {ten:.3}");
    }
    Ok(())
}

fn bayes_settings(bench: &Bench) {
    println!("smoothing  alpha  cap  uncounted   cases  Hit@1  Hit@10");
    let usual = BayesSettings::default();
    let mut all = vec![];
    for smoothing in [Smoothing::Mean, Smoothing::Parents] {
        all.extend([3.0, 10.0, 30.0, 100.0].map(|alpha| BayesSettings { smoothing, alpha, ..usual }));
        all.extend([0.5, 1.0, 4.0, 8.0].map(|cap| BayesSettings { smoothing, cap, ..usual }));
        all.extend([1.0, 4.0].map(|uncounted| BayesSettings { smoothing, uncounted, ..usual }));
    }
    for one in all {
        let (cases, first, ten) = bayes_hits(bench, one, Folds::default());
        let BayesSettings { smoothing, alpha, cap, uncounted, .. } = one;
        println!(
            "{:<9} {alpha:>6} {cap:>4} {uncounted:>10} {cases:>7}  {first:.3}   {ten:.3}",
            format!("{smoothing:?}")
        );
    }
}

impl Rerank {
    fn run(self) -> Result<()> {
        let asked = PredictConfig {
            name: self.name,
            model: self.model,
            adapter: self.adapter,
            corpus: "rare-disease".into(),
            weights: self.weights.precision(),
            ..PredictConfig::zero_shot(&self.prompt)
        };
        let config = RerankConfig { ranker: self.ranker, top: self.top, asked };
        let task = Patients::open("rare-disease")?;
        let reranked = Reranked::open_or_rerank(&Store::open(None), &config, &task)?;
        let bootstrap = Bootstrap::default();
        println!("{:<44} Hit@1 / 3 / 10 of test patients, 95 % intervals over publications", "order");
        let chosen = reranked.chosen.mix;
        for mix in [Mix::RANKER, Mix::alone(false, false), Mix::alone(false, true), chosen] {
            let cases = reranked.cases(&task, &mix, false)?;
            let row = hit_row(&cases.iter().collect::<Vec<&RankedCase>>(), &bootstrap);
            let shown = row.hits.map(|hit| {
                hit.map_or("–".into(), |hit| format!("{:.3} [{:.3}, {:.3}]", hit.value, hit.low, hit.high))
            });
            println!("{:<44} {}", mix.title(), shown.join("  "));
        }
        write_predictions(&self.out, &reranked.run.answers(&task)?)?;
        println!("{} (from {})", self.out.display(), reranked.run.dir.display());
        Ok(())
    }
}

fn results(out: &Path) -> Result<()> {
    let forms = [Form::Signs, Form::Narrative].map(|form| Patients::open(form.name()));
    let tasks = forms.into_iter().collect::<Result<Vec<_>>>()?;
    if tasks.iter().any(|task| task.corpus().synthetic) && out == Path::new(RESULTS) {
        return Err(Error::input(format!(
            "no published patients: set DXLAB_DATA to the folder of your open corpora, or give --out so that results on synthetic patients \
             do not take the place of {RESULTS}"
        )));
    }
    let kept = KeptRanks::of(&Store::open(None), tasks)?.beside(KeptRanks::read(out)?)?;
    let bootstrap = Bootstrap::default();
    println!("{:<52} Hit@1 / 10 of test patients, 95 % intervals over publications", "method");
    for method in &kept.methods {
        let row = hit_row(&method.cases.iter().collect::<Vec<&RankedCase>>(), &bootstrap);
        let shown = [&row.hits[0], &row.hits[2]].map(|hit| match hit {
            Some(hit) => format!("{:.3} [{:.3}, {:.3}]", hit.value, hit.low, hit.high),
            None => "–".into(),
        });
        println!("{:<52} {}", method.name, shown.join("  "));
    }
    kept.write(out)?;
    println!("written: {}", out.display());
    Ok(())
}
