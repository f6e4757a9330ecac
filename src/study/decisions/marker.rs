//! A trained run that marks other notes: its answers, how sure it is of them, and the corpus that they become beside its gold notes. What is
//! chosen and why is in `pseudo`.
use super::confidence::{Confidence, threshold};
use super::pseudo::{
    Invalid, PseudoConfig, PseudoReport, answered, card, statistics_of, valid, writable, write_confidence,
};
use super::retrieval::{Retrieved, embed, retrieve};
use crate::corpus::decisions::lines::{Line, write_lines};
use crate::corpus::leak::LIMIT;
use crate::corpus::near::NearDuplicates;
use crate::corpus::{Case, Example};
use crate::error::{Error, Result};
use crate::generate::{Answers, Local, Pieces};
use crate::io;
use crate::prompt::{Constrain, Prompt};
use crate::run::{Run, read_predictions, write_predictions};
use crate::study::asking::ask;
use crate::study::{PredictConfig, TrainConfig};
use crate::task::decisions::Note;
use crate::task::{AnyPrediction, DecisionTask, Task};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The model behind a training run, as it is asked about other notes.
pub struct Marker {
    run: String,
    config: TrainConfig,
    task: DecisionTask,
    prompt: Prompt,
    local: Local,
    pieces: Pieces,
}

impl Marker {
    /// The run must be a training on notes with decisions whose corpus is still what it was.
    pub fn open(run: &Run, constrain: Option<Constrain>) -> Result<Self> {
        let known = run.known();
        let config = known.config.filter(|_| run.spec.kind == "train");
        let config = config.ok_or_else(|| Error::input(format!("{} is no training run", run.folder())))?;
        let config: TrainConfig =
            serde_json::from_value(config).map_err(|e| Error::input(format!("{}: {e}", run.dir.display())))?;
        if !DecisionTask::knows(&config.corpus) {
            let corpus = &config.corpus;
            return Err(Error::input(format!(
                "{} was trained on `{corpus}`, not on notes with decisions",
                run.folder()
            )));
        }
        let task = DecisionTask::open(&config.corpus)?;
        if known.corpus.is_some_and(|digest| digest != task.corpus().digest()) {
            let corpus = &config.corpus;
            return Err(Error::input(format!(
                "{}: the corpus `{corpus}` is not the one that it was trained on",
                run.folder()
            )));
        }
        let prompt = Prompt::named(&config.prompt, Task::context(&task))?;
        let local = PredictConfig { constrain, ..PredictConfig::tuned(run, &config) }.open(&task)?;
        let pieces = Pieces::of(&local.tokenizer)?;
        Ok(Self { run: run.folder(), config, task, prompt, local, pieces })
    }

    /// Names and digests, `smollm2@… + decisions-ce@…`.
    pub fn id(&self) -> String {
        self.local.adapter().map_or(self.local.id().to_string(), |adapter| format!("{} + {adapter}", self.local.id()))
    }

    /// Folder of the run.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// (trained on, kept for validation) by the run.
    fn gold(&self) -> Result<(Vec<Note>, Vec<Note>)> {
        self.config.split().of(&self.task.corpus().train)
    }

    /// Answers to notes; no gold span enters.
    pub fn answer(&self, notes: &[Case]) -> Result<Vec<AnyPrediction>> {
        let bare = |note: &Case| Example { case: note.clone(), gold: serde_json::json!([]) };
        ask(&self.local, &self.prompt, &self.task, &notes.iter().map(bare).collect::<Vec<_>>())
    }

    /// Answers of a file of `dxlab predict`; those of another model are refused, as this one would say how sure it is of them.
    pub fn read_answers(&self, path: &Path) -> Result<Vec<AnyPrediction>> {
        let rows: Vec<AnyPrediction> = read_predictions(path)?;
        let own = (self.local.id(), self.local.adapter());
        if let Some(other) = rows.iter().find(|row| (row.model.as_str(), row.adapter.as_deref()) != own) {
            let (case, path, run) = (&other.case_id, path.display(), &self.run);
            return Err(Error::input(format!(
                "{path}: case `{case}` was answered by {}, not by the model of {run}",
                other.source()
            )));
        }
        Ok(rows)
    }

    /// How sure the model is of an answer.
    pub fn confidence(&self, note: &Case, answer: &str) -> Result<Confidence> {
        Confidence::of(&self.local, &self.pieces, &self.prompt, note, answer)
    }

    /// Chooses among `candidates`, asks the model unless there are `answers`, and writes gold and pseudo-labelled notes to `out` as a corpus that
    /// configs can name, with `answers.jsonl`, `confidence.jsonl` and `pseudo.json` beside it.
    pub fn pseudo(
        &self,
        candidates: &[Case],
        answers: Option<&[AnyPrediction]>,
        config: &PseudoConfig,
        out: &Path,
    ) -> Result<PseudoReport> {
        config.check()?;
        writable(out)?;
        let (trained, validation) = self.gold()?;
        let fresh = self.unlike_gold(candidates);
        let retrieved = self.retrieved(&trained, &fresh, config)?;
        let notes: Vec<Case> = retrieved.iter().map(|one| fresh[one.candidate].clone()).collect();
        let answers = match answers {
            Some(known) => answered(&notes, known)?,
            None => self.answer(&notes)?,
        };
        write_predictions(&out.join("answers.jsonl"), &answers)?;
        let (measured, invalid) = self.measured(&notes, &answers, config.allow_unclosed)?;
        let values: Vec<f64> = measured.iter().filter_map(|(one, _)| one.get(config.measure)).collect();
        let threshold = threshold(&values, config.quantile);
        let sure = |one: &Confidence| one.get(config.measure).zip(threshold).is_some_and(|(value, most)| value <= most);
        let kept: Vec<Line> = measured.iter().filter(|(one, _)| sure(one)).map(|(_, line)| line.clone()).collect();
        let cosines = retrieved.iter().map(|one| f64::from(one.cosine)).sum::<f64>();
        let report = PseudoReport {
            // of answers that were given, what they were held to
            config: PseudoConfig {
                constrain: answers.first().map_or(config.constrain, |one| one.constrain),
                ..config.clone()
            },
            run: self.run.clone(),
            model: self.id(),
            queries: trained.len(),
            validation: validation.len(),
            candidates: candidates.len(),
            alike: candidates.len() - fresh.len(),
            retrieved: retrieved.len(),
            cosine: (!retrieved.is_empty()).then(|| cosines / retrieved.len() as f64),
            invalid,
            valid: measured.len(),
            unmeasured: measured.len() - values.len(),
            threshold,
            kept: kept.len(),
            spans: kept.iter().map(|line| line.annotations.len()).sum(),
        };
        write_confidence(&out.join("confidence.jsonl"), measured.iter().map(|(one, _)| one))?;
        self.write(out, &[trained, validation].concat(), kept, &report)?;
        Ok(report)
    }

    /// Which notes are given to which training notes.
    fn retrieved(&self, trained: &[Note], notes: &[Case], config: &PseudoConfig) -> Result<Vec<Retrieved>> {
        let queries: Vec<&str> = trained.iter().map(|note| note.input.as_str()).collect();
        let texts: Vec<&str> = notes.iter().map(|note| note.input.as_str()).collect();
        let vectors = |texts: &[&str]| embed(config.embed, &self.local, texts);
        Ok(retrieve(&vectors(&queries)?, &vectors(&texts)?, config.top, config.per_note))
    }

    /// The valid answers as lines with how sure the model is of each, and how many of the others were wrong in which way.
    fn measured(
        &self,
        notes: &[Case],
        answers: &[AnyPrediction],
        allow_unclosed: bool,
    ) -> Result<(Vec<(Confidence, Line)>, BTreeMap<Invalid, usize>)> {
        let (mut invalid, mut measured) = (BTreeMap::<Invalid, usize>::new(), Vec::new());
        for (note, answer) in notes.iter().zip(answers) {
            match valid(&answer.raw, &note.input, allow_unclosed) {
                Ok(spans) => {
                    measured.push((self.confidence(note, &answer.raw)?, Line::pseudo(note, spans, &self.id())));
                }
                Err(why) => *invalid.entry(why).or_default() += 1,
            }
        }
        Ok((measured, invalid))
    }

    /// Candidates that are nearly no gold note of any part, and no earlier candidate.
    fn unlike_gold(&self, candidates: &[Case]) -> Vec<Case> {
        let mut seen = NearDuplicates::new(LIMIT);
        let corpus = self.task.corpus();
        let gold = corpus.train.iter().chain(self.task.validation()).chain(&corpus.test);
        gold.for_each(|note| seen.insert(&note.input));
        candidates.iter().filter(|note| seen.insert_unless_alike(&note.input)).cloned().collect()
    }

    /// A folder as [`crate::corpus::decisions::Decisions::open`] reads it: gold notes of the run's training in the order of their corpus, then the
    /// pseudo-labelled ones; validation and test notes as they were.
    fn write(&self, out: &Path, gold: &[Note], pseudo: Vec<Line>, report: &PseudoReport) -> Result<()> {
        let of_run: BTreeSet<&str> = gold.iter().map(|note| note.case_id.as_str()).collect();
        let corpus = self.task.corpus();
        let own = corpus.train.iter().filter(|note| of_run.contains(note.case_id.as_str()));
        let train: Vec<Line> = own.map(Line::of).chain(pseudo).collect();
        let lines = |notes: &[Note]| notes.iter().map(Line::of).collect::<Vec<_>>();
        write_lines(&out.join("train.jsonl"), &train)?;
        for (name, notes) in [("validation.jsonl", self.task.validation()), ("test.jsonl", corpus.test.as_slice())] {
            if !notes.is_empty() {
                write_lines(&out.join(name), &lines(notes))?;
            }
        }
        if let Some(table) = statistics_of(&self.config.corpus).filter(|table| table.is_file()) {
            io::write(&out.join("stats.csv"), &std::fs::read(&table).map_err(Error::io(&table))?)?;
        }
        if !corpus.synthetic {
            io::write(&out.join(".gitignore"), b"*\n")?; // notes of patients
        }
        io::write(&out.join("README.md"), card(corpus.synthetic, gold.len(), report).as_bytes())?;
        io::write_json(&out.join("pseudo.json"), report)
    }
}

#[cfg(test)]
mod tests {
    use super::super::retrieval::EmbedBy;
    use super::*;
    use crate::corpus::Corpus;
    use crate::corpus::decisions::lines::PSEUDO;
    use crate::corpus::decisions::{Category, Decisions, Span, Strata};
    use crate::study::AdapterSection;

    fn note(id: &str, text: &str) -> Note {
        Note::new(id, id.split('_').next().unwrap_or(id), text, vec![Span::new(0, 12, Category::DrugDecision)])
    }

    /// The embedded model, as if it had been trained on two notes.
    fn marker() -> Marker {
        let train = vec![
            note("1_1_1", "Hold aspirin. Follow up in the clinic of Dr. A."),
            note("2_2_2", "Take heparin for the deep vein thrombosis."),
        ];
        let corpus = Corpus {
            name: "few".into(),
            synthetic: true,
            train,
            test: vec![note("3_3_3", "Stop insulin. Return if there is any pain at all.")],
        };
        let validation = vec![note("4_4_4", "Hold digoxin. Repeat the echo in half a year.")];
        let strata = [("3_3_3".to_string(), Strata::of("F", "WHITE", "ENGL"))].into();
        let task = DecisionTask::of(Decisions { corpus, validation, strata, warnings: vec![] }).unwrap();
        let mut config = TrainConfig::named("decisions-ce").unwrap();
        (config.corpus, config.cases, config.validation) = ("no-such-folder".into(), None, 0.0);
        config.adapter = AdapterSection::lora(2, 4.0);
        let local = Local::open("embedded", None).unwrap();
        let (prompt, pieces) =
            (Prompt::named("plain", Task::context(&task)).unwrap(), Pieces::of(&local.tokenizer).unwrap());
        Marker { run: "train-few-0".into(), config, task, prompt, local, pieces }
    }

    fn candidates() -> Vec<Case> {
        let texts = [
            "Hold aspirin. Follow up in the clinic of Dr. B.",
            "Take warfarin for the stroke of last year.",
            "Stop insulin. Return if there is any pain at all.",
            "Begin lasix. No chest pain was reported on the ward.",
            "Hold metoprolol. See the surgeon within two weeks.",
        ];
        let one = |(i, text): (usize, &&str)| Case {
            case_id: format!("1_1_{i}"),
            group: "1".into(),
            input: text.to_string(),
        };
        texts.iter().enumerate().map(one).collect()
    }

    fn answers(marker: &Marker, raw: impl Fn(&Case) -> String) -> Vec<AnyPrediction> {
        let one = |note: &Case| {
            let example = Example { case: note.clone(), gold: serde_json::json!([]) };
            AnyPrediction {
                model: marker.local.id().into(),
                prompt: marker.prompt.id(),
                ..AnyPrediction::of(&example, serde_json::json!([]), &raw(note))
            }
        };
        candidates().iter().map(one).collect()
    }

    fn tagged(note: &Case) -> String {
        crate::task::decisions::tag(&note.input, &[Span::new(0, 10, Category::DrugDecision)])
    }

    #[test]
    fn gold_and_pseudo_become_one_corpus_that_training_reads() {
        let (marker, out) = (marker(), tempfile::tempdir().unwrap());
        let config =
            PseudoConfig { embed: EmbedBy::Decoder, quantile: 0.5, constrain: None, ..PseudoConfig::default() };
        let raw = |note: &Case| if note.case_id == "1_1_3" { "something else".into() } else { tagged(note) };
        let known = answers(&marker, raw);
        let report = marker.pseudo(&candidates(), Some(&known), &config, out.path()).unwrap();
        // candidate 2 is the test note word for word; 3 is no copy; of three valid ones the quantile 0.5 keeps two
        assert_eq!(
            (report.candidates, report.alike, report.retrieved, report.valid, report.kept),
            (5, 1, 4, 3, 2),
            "{report:?}"
        );
        assert_eq!((report.invalid.clone(), report.spans, report.queries), ([(Invalid::NoCopy, 1)].into(), 2, 2));
        let read = Decisions::open(out.path()).unwrap();
        assert!(read.corpus.synthetic && read.warnings.is_empty());
        assert_eq!(read.corpus.train[..2], marker.task.corpus().train);
        assert_eq!(
            (&read.validation, &read.corpus.test),
            (&marker.task.validation().to_vec(), &marker.task.corpus().test)
        );
        assert_eq!(read.corpus.train.len(), 4);
        for note in &read.corpus.train[2..] {
            assert!(note.case_id.starts_with(PSEUDO) && note.group == "pseudo-1", "{note:?}");
            assert_eq!(note.gold, [Span::new(0, 10, Category::DrugDecision)]);
        }
        let kept: Vec<Confidence> = io::read_text(&out.path().join("confidence.jsonl"))
            .unwrap()
            .lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect();
        let mut values: Vec<f64> = kept.iter().map(|one| one.tags.unwrap()).collect();
        values.sort_by(f64::total_cmp);
        assert_eq!((kept.len(), report.threshold), (3, Some(values[1])));
        let stored: PseudoReport = io::read_json(&out.path().join("pseudo.json")).unwrap();
        assert_eq!(stored, report);
        assert_eq!(marker.pseudo(&candidates(), Some(&known), &config, out.path()).unwrap(), report, "the same again");
        assert_eq!(marker.read_answers(&out.path().join("answers.jsonl")).unwrap().len(), 4);
    }

    #[test]
    fn what_cannot_be_done_is_said() {
        let (marker, out) = (marker(), tempfile::tempdir().unwrap());
        let config = PseudoConfig { embed: EmbedBy::Decoder, ..PseudoConfig::default() };
        let mut known = answers(&marker, tagged);
        let told = |config: &PseudoConfig, known: &[AnyPrediction], out: &Path| {
            let error = marker.pseudo(&candidates(), Some(known), config, out).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            error.to_string()
        };
        assert!(
            told(&PseudoConfig { quantile: 1.5, ..config.clone() }, &known, out.path()).contains("quantile is 1.5")
        );
        assert!(told(&PseudoConfig { per_note: 0, ..config.clone() }, &known, out.path()).contains("at least 1"));
        let own = out.path().join("own");
        write_lines(&own.join("train.jsonl"), &[]).unwrap();
        assert!(told(&config, &known, &own).contains("without pseudo.json"));
        known.retain(|one| one.case_id != "1_1_4");
        assert!(told(&config, &known, out.path()).contains("retrieved note `1_1_4`"));
        let file = out.path().join("preds.jsonl");
        known[0].model = "other@1".into();
        write_predictions(&file, &known).unwrap();
        let error = marker.read_answers(&file).unwrap_err().to_string();
        assert!(error.contains("case `1_1_0` was answered by") && error.contains("train-few-0"), "{error}");
    }
}
