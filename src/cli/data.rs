//! `dxlab data`: corpora: what is known, download, validate with row numbers, generate.
use crate::corpus::decisions::{Category, Decisions, check};
use crate::corpus::leak::{Allowed, LIMIT};
use crate::corpus::phenopacket::{self, Packets, is_packet, several_persons};
use crate::corpus::synthetic::notes::{self, Layout, Size};
use crate::corpus::{fetch, manifest, manifest::State, synthetic};
use crate::error::{Error, Result};
use crate::io;
use crate::phenotype::synthetic::{Generator, PatientSettings, phenopacket};
use crate::phenotype::{Knowledge, Library};
use crate::study::TrainConfig;
use crate::study::leak::{self, Source, training_leaks};
use clap::{Args, Subcommand, ValueEnum};
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub enum Data {
    /// Known open corpora, and which of them lie under DXLAB_DATA with the right checksums
    List,
    /// Download an open corpus; every checksum is verified
    Fetch {
        /// A name that `dxlab data list` shows
        name: String,
        /// Folder to put it in (the layout of DXLAB_DATA); default DXLAB_DATA
        #[arg(long)]
        to: Option<PathBuf>,
    },
    /// Name every bad row of a findings file (.xlsx, .csv, .json, .jsonl, or a folder with train.* and test.*), and every label that no
    /// answer can match; of phenopackets (.json, .zip, or a folder) what is odd; of a folder of notes with clinical decisions every
    /// annotation that does not lie in its note
    Check {
        file: PathBuf,
    },
    Leaks(LeaksOf),
    /// Generate synthetic data
    #[command(subcommand)]
    Make(Make),
}

/// Texts and patients that training and test cases share: exact and near duplicates, same group
#[derive(Args)]
pub struct LeaksOf {
    /// Corpora to train on and test with: `findings`, `bc5cdr`, `ncbi`, or a file or folder of findings
    #[arg(required_unless_present = "config")]
    corpora: Vec<String>,
    /// Take corpus, validation part, benchmark sets and allow list from this training config
    #[arg(long, conflicts_with_all = ["corpora", "against", "allow", "limit"])]
    config: Option<PathBuf>,
    /// Benchmark sets whose test cases must not be among the training cases (names as above); repeat for more
    #[arg(long)]
    against: Vec<String>,
    /// Similarity of five-word runs (Jaccard) from which on two texts are near duplicates
    #[arg(long, default_value_t = LIMIT)]
    limit: f64,
    /// TOML file of what may leak: tables [[pair]] with a, b (as `train/17`) and reason, [[group]] with id and reason
    #[arg(long)]
    allow: Option<PathBuf>,
    /// Where to write all of it as JSON
    #[arg(long)]
    out: Option<PathBuf>,
}

impl LeaksOf {
    fn run(self) -> Result<()> {
        let mut leaks = match &self.config {
            Some(path) => {
                let config = TrainConfig::read(path)?;
                training_leaks(&config, &*crate::task::open(&config.corpus)?)?
            }
            None => {
                let open = |names: &[String]| names.iter().map(|name| Source::open(name)).collect::<Result<Vec<_>>>();
                leak::leaks(&open(&self.corpora)?, &open(&self.against)?, self.limit)?
            }
        };
        if let Some(path) = &self.allow {
            for entry in leaks.allow(&Allowed::read(path)?) {
                println!("{}: {entry} does not leak: remove the entry", path.display());
            }
        }
        print!("{leaks}");
        if let Some(out) = &self.out {
            io::write_json(out, &leaks)?;
            println!("written: {}", out.display());
        }
        match leaks.refused().count() {
            0 => Ok(()),
            n => Err(Error::input(format!("{n} leak(s) that no list allows, listed above"))),
        }
    }
}

#[derive(Subcommand)]
pub enum Make {
    /// Synthetic abdominal CT findings: train.jsonl, test.jsonl, truth.jsonl and a README
    Findings {
        #[arg(long, default_value_t = synthetic::make::SEED)]
        seed: u64,
        #[arg(long, default_value = "data/findings")]
        out: PathBuf,
    },
    Patients(Patients),
    /// The sealed test split of the synthetic findings: other words than any training case has
    Sealed {
        #[arg(long, default_value_t = synthetic::make::SEALED_SEED)]
        seed: u64,
        #[arg(long, default_value = "data/findings-sealed")]
        out: PathBuf,
    },
    Notes(NotesOf),
}

/// Synthetic discharge summaries with clinical decisions: train, validation and test notes, stats.csv and a README
///
/// dxlab data make notes --seed 7 --train 350 --validation 53 --test 48 --chars 6000-14000 --layout meddec --out notes
#[derive(Args)]
pub struct NotesOf {
    #[arg(long, default_value_t = synthetic::make::SEED)]
    seed: u64,
    #[arg(long, default_value = "data/decisions")]
    out: PathBuf,
    /// Training notes
    #[arg(long, default_value_t = Size::default().train)]
    train: usize,
    /// Validation notes
    #[arg(long, default_value_t = Size::default().validation)]
    validation: usize,
    /// Test notes
    #[arg(long, default_value_t = Size::default().test)]
    test: usize,
    /// Characters of a note, from and to
    #[arg(long, value_parser = range, default_value = "600-1500")]
    chars: (usize, usize),
    /// JSONL, or gold/ and text/ as in MedDec
    #[arg(long, value_enum, default_value = "lines")]
    layout: LayoutBy,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LayoutBy {
    Lines,
    Meddec,
}

/// `600-1500`
fn range(text: &str) -> Result<(usize, usize), String> {
    let ends = text.split_once('-').and_then(|(a, b)| a.trim().parse().ok().zip(b.trim().parse().ok()));
    ends.ok_or_else(|| "expected FROM-TO, as 600-1500".into())
}

impl NotesOf {
    fn run(self) -> Result<()> {
        let Self { seed, train, validation, test, chars: (shortest, longest), .. } = self;
        let size = Size { train, validation, test, shortest, longest };
        let layout = if matches!(self.layout, LayoutBy::Meddec) { Layout::MedDec } else { Layout::Lines };
        notes::write(seed, &size, layout, &self.out)?;
        let out = self.out.display();
        println!(
            "synthetic notes, seed {seed}: {train} training, {validation} validation and {test} test notes in {out}"
        );
        Ok(())
    }
}

/// Says what a folder of notes with decisions holds, and every problem: those given and those of reading it.
fn check_notes(all: Result<Decisions>, mut problems: Vec<String>, folder: &Path) -> Result<()> {
    let all = match all {
        Ok(all) => all,
        Err(e) if problems.is_empty() => return Err(e),
        Err(e) => {
            let why = e.to_string();
            if !problems.contains(&why) {
                problems.push(why);
            }
            problems.iter().for_each(|problem| println!("{problem}"));
            let n = problems.len();
            return Err(Error::input(format!(
                "{}: {n} problems, listed above; the folder cannot be read",
                folder.display()
            )));
        }
    };
    problems.extend(all.warnings.iter().cloned().chain(check::across(&all)));
    problems.iter().for_each(|problem| println!("{problem}"));
    let parts = [("training", &all.corpus.train), ("validation", &all.validation), ("test", &all.corpus.test)];
    for (part, notes) in parts {
        let mut counts = [0usize; Category::ALL.len()];
        notes.iter().flat_map(|note| &note.gold).for_each(|span| counts[usize::from(span.category.number()) - 1] += 1);
        let counts: Vec<String> = Category::ALL.iter().zip(counts).map(|(c, n)| format!("{} {n}", c.tag())).collect();
        println!("{} {part} notes: {}", notes.len(), counts.join(", "));
    }
    match problems.len() {
        0 => Ok(()),
        n => Err(Error::input(format!("{}: {n} problems, listed above", folder.display()))),
    }
}

/// Patients with a rare disease as phenopackets, one JSON file each
#[derive(Args)]
pub struct Patients {
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Empty or new folder for the files
    #[arg(long)]
    out: PathBuf,
    /// Diseases to draw patients of; the annotated ones in the order of their ids' digests
    #[arg(long, default_value_t = 100, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    diseases: usize,
    /// Patients of each disease
    #[arg(long, default_value_t = 3, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    each: usize,
    /// Share of the signs that are given by a broader term
    #[arg(long, default_value_t = 0.2)]
    imprecision: f64,
    /// Most signs that have nothing to do with the disease
    #[arg(long, default_value_t = 2)]
    noise: usize,
    /// Fewest and most signs of a patient, before noise
    #[arg(long, value_parser = range, value_name = "FROM-TO", default_value = "4-20")]
    signs: (usize, usize),
    /// Most terms of the disease that are told as looked for and not found
    #[arg(long, default_value_t = 4)]
    excluded: usize,
}

impl Patients {
    fn run(self) -> Result<()> {
        let library = Library::of(Knowledge::installed()?);
        let settings = PatientSettings {
            seed: self.seed,
            imprecision: self.imprecision,
            noise: self.noise,
            signs: self.signs,
            excluded: self.excluded,
        };
        let generator = Generator::new(&library, settings)?;
        if std::fs::read_dir(&self.out).is_ok_and(|mut inside| inside.next().is_some()) {
            return Err(Error::input(format!("{}: not empty: give a new folder", self.out.display())));
        }
        let mut diseases = generator.drawable();
        diseases.sort_by_cached_key(|&at| io::digest_bytes(library.candidates[at].id.as_bytes()));
        diseases.truncate(self.diseases);
        let drawn = diseases.iter().flat_map(|&at| (0..self.each).map(move |n| (at, n)));
        let mut patients = 0;
        for (at, n) in drawn {
            let patient = generator.patient(at, n);
            let name = patient.id.replace([' ', ':'], "_");
            io::write_json(&self.out.join(format!("{name}.json")), &phenopacket(&library, &patient))?;
            patients += 1;
        }
        println!(
            "{patients} synthetic patients of {} diseases, seed {}, in {}",
            diseases.len(),
            self.seed,
            self.out.display()
        );
        println!("drawn from the annotations of {}: use them under the terms of HPO", library.knowledge.version);
        Ok(())
    }
}

/// What is odd about phenopackets, and about the ids in them.
fn check_phenopackets(file: &Path) -> Result<()> {
    let packets = Packets::read(file)?;
    let mut library = Library::of(Knowledge::installed()?);
    let known = library.candidates.len();
    let (patients, unread) = library.patients_of(&packets.packets);
    packets.warnings.iter().for_each(|warning| println!("{warning}"));
    print!("{unread}");
    let version = &library.knowledge.version;
    let new: Vec<_> = library.candidates[known..].iter().filter(|one| one.known.is_none()).collect();
    if !new.is_empty() {
        let named: Vec<&str> = new.iter().take(5).map(|one| one.id.as_str()).collect();
        println!("{} diseases without annotations of {version}: {}", new.len(), named.join(", "));
    }
    let groups: std::collections::BTreeSet<&str> = patients.iter().map(|one| one.group.as_str()).collect();
    let observed: usize = patients.iter().map(|one| one.signs.observed.len()).sum();
    println!("{} patients of {} publications, {observed} observed signs", patients.len(), groups.len());
    if packets.loose > 0 {
        println!("{} patients name no publication: each is a group of its own", packets.loose);
    }
    let contradictions = unread.both.len() + unread.contradicted.len();
    let odd = unread.obsolete.len() + unread.unknown.len() + unread.no_sign.len() + contradictions;
    match packets.warnings.len() + odd {
        0 => Ok(()),
        n => Err(Error::input(format!("{}: {n} problems, listed above", file.display()))),
    }
}

/// A zip archive, or JSON of a patient (or of several, which is told then); in a folder at any depth, by its first files.
fn is_phenopackets(file: &Path) -> bool {
    let json = |path: &Path| {
        let bytes = std::fs::read(path).unwrap_or_default();
        match phenopacket::json(&bytes) {
            Ok(value) => {
                let listed = value.as_array().is_some_and(|all| all.iter().any(is_packet));
                is_packet(&value) || listed || several_persons(&value).is_some()
            }
            Err(_) => String::from_utf8_lossy(&bytes).contains("\"phenotypicFeatures\""),
        }
    };
    let ends = |path: &Path, wanted: &str| path.extension().is_some_and(|end| end.eq_ignore_ascii_case(wanted));
    if !file.is_dir() {
        return ends(file, "zip") || (ends(file, "json") && json(file));
    }
    let (mut open, mut tried) = (vec![file.to_path_buf()], 0);
    while let Some(at) = open.pop() {
        for path in std::fs::read_dir(&at).into_iter().flatten().flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                open.push(path);
            } else if ends(&path, "json") {
                tried += 1;
                if json(&path) {
                    return true;
                }
                if tried > 20 {
                    return false;
                }
            }
        }
    }
    false
}

impl Data {
    pub fn run(self) -> Result<()> {
        match self {
            Self::List => list(data_folder().as_deref())?,
            Self::Fetch { name, to } => {
                let source = manifest::source(&name)?;
                let dir = to.or_else(data_folder).ok_or_else(|| {
                    Error::input(
                        "say where to put it: `--to DIR`, or set DXLAB_DATA to the folder of your open corpora",
                    )
                })?;
                println!("{}: {}. {}. Please cite: {}", source.title, source.holds, source.licence, source.citation);
                fetch::fetch(&source, &dir, |line| println!("{line}"))?;
            }
            Self::Check { file } if is_phenopackets(&file) => check_phenopackets(&file)?,
            Self::Check { file } if Decisions::is_at(&file) => {
                let problems = check::gold_files(&file)?;
                check_notes(Decisions::open(&file), problems, &file)?;
            }
            Self::Check { file } => {
                if let Some(all) = file.to_str().map(Decisions::named).transpose()?.flatten() {
                    return check_notes(Ok(all), Vec::new(), &file);
                }
                let report = crate::task::check(&file)?;
                print!("{report}");
                let problems = report.problems.len();
                if problems > 0 {
                    return Err(Error::input(format!("{}: {problems} problems, listed above", file.display())));
                }
            }
            Self::Leaks(leaks) => leaks.run()?,
            Self::Make(Make::Findings { seed, out }) => {
                let corpus = synthetic::write(seed, &out)?;
                let (train, test) = (corpus.train.len(), corpus.test.len());
                println!(
                    "synthetic findings, seed {seed}: {train} training and {test} test cases in {}",
                    out.display()
                );
                println!("corpus digest {}", corpus.digest());
            }
            Self::Make(Make::Patients(patients)) => patients.run()?,
            Self::Make(Make::Notes(notes)) => notes.run()?,
            Self::Make(Make::Sealed { seed, out }) => {
                let cases = synthetic::write_sealed(seed, &out)?;
                println!(
                    "sealed test split of the synthetic findings, seed {seed}: {cases} cases in {}",
                    out.display()
                );
            }
        }
        Ok(())
    }
}

fn data_folder() -> Option<PathBuf> {
    std::env::var_os("DXLAB_DATA").filter(|dir| !dir.is_empty()).map(PathBuf::from)
}

fn list(dir: Option<&Path>) -> Result<()> {
    match dir {
        Some(dir) => println!("DXLAB_DATA is {}", dir.display()),
        None => println!("DXLAB_DATA is not set: open corpora are not looked for"),
    }
    for source in manifest::sources()? {
        let states = match dir {
            Some(dir) => source.files.iter().map(|file| file.state(dir)).collect::<Result<Vec<_>>>()?,
            None => vec![State::Absent; source.files.len()],
        };
        let count = |state| states.iter().filter(|s| **s == state).count();
        let present = match (count(State::Verified), count(State::Different)) {
            (all, 0) if all == states.len() => "present, verified".to_string(),
            (0, 0) => "absent".to_string(),
            (right, other) => format!("{right} of {} files right, {other} different", states.len()),
        };
        println!("\n{} ({present})\n  {}: {}", source.name, source.title, source.holds);
        println!("  {}, {} at {}\n  {}", source.licence, source.repository, source.commit, source.citation);
    }
    Ok(())
}
