//! A trained run that marks other notes: its answers, its confidence in them, and the corpus that they become beside its gold notes. What is
//! chosen and why is in `pseudo`.
use super::confidence::{Confidence, threshold};
use super::pseudo::{
    Invalid, Making, PseudoConfig, PseudoReport, answered, card, statistics_of, valid, write_confidence,
};
use super::retrieval::{Retrieved, embed, retrieve};
use crate::corpus::decisions::Span;
use crate::corpus::decisions::lines::{Line, Unlabelled, write_lines};
use crate::corpus::leak::LIMIT;
use crate::corpus::near::NearDuplicates;
use crate::corpus::{Case, Example};
use crate::error::{Error, Result};
use crate::generate::{Answers, Local, Pieces};
use crate::io;
use crate::prompt::{Constrain, Overlong, Prompt};
use crate::run::{Run, read_predictions, write_predictions};
use crate::study::asking::{Progress, ask};
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
        if config.windows.is_some() {
            return Err(Error::input(format!(
                "{} was trained on windows of notes; pseudo-labels are of whole notes: name a run without [windows]",
                run.folder()
            )));
        }
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
        let mut local = PredictConfig { constrain, ..PredictConfig::tuned(run, &config) }.open(&task)?;
        local.overlong = Overlong::Shorten; // of unlabelled notes those that are too long are left out, see `Confidence::of`
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
        Task::split(&self.task, &self.config.split())
    }

    /// Answers to notes; no gold span enters.
    pub fn answer(&self, notes: &[Case]) -> Result<Vec<AnyPrediction>> {
        let bare = |note: &Case| Example { case: note.clone(), gold: serde_json::json!([]) };
        ask(&self.local, &self.prompt, &self.task, &notes.iter().map(bare).collect::<Vec<_>>())
    }

    /// Answers of a file of `dxlab predict`; those of another model or prompt are refused, as their confidence
    /// would be that of this one.
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
        let own = self.prompt.id();
        if let Some(other) = rows.iter().find(|row| row.prompt != own) {
            let (case, path, prompt, run) = (&other.case_id, path.display(), &other.prompt, &self.run);
            return Err(Error::input(format!(
                "{path}: case `{case}` was asked with the prompt `{prompt}`, and {run} was trained with `{own}`: ask with that one"
            )));
        }
        Ok(rows)
    }

    /// The spans of a valid answer (see [`valid`]) and the model's confidence in it; why it is none, otherwise.
    pub fn judged(
        &self,
        note: &Case,
        answer: &str,
        allow_unclosed: bool,
    ) -> Result<Result<(Confidence, Vec<Span>), Invalid>> {
        let spans = match valid(answer, &note.input, allow_unclosed) {
            Ok(spans) => spans,
            Err(why) => return Ok(Err(why)),
        };
        let found = Confidence::of(&self.local, &self.pieces, &self.prompt, note, answer)?;
        Ok(found.map(|found| (found, spans)).ok_or(Invalid::TooLong))
    }

    /// Chooses among `candidates`, asks the model unless there are `answers`, and writes gold and pseudo-labelled notes to `out` as a corpus that
    /// configs can name, with `answers.jsonl`, `confidence.jsonl` and `pseudo.json` beside it. They are made in `OUT.part`, which takes the place of
    /// `out` at the end.
    pub fn pseudo(
        &self,
        candidates: &Unlabelled,
        answers: Option<&[AnyPrediction]>,
        config: &PseudoConfig,
        out: &Path,
    ) -> Result<PseudoReport> {
        config.check()?;
        let making = Making::of(out)?;
        let (trained, validation) = self.gold()?;
        let patients = self.patients(candidates);
        let others =
            if patients { self.other_patients(&candidates.notes, &validation) } else { candidates.notes.clone() };
        let fresh = self.unlike_gold(&others);
        let retrieved = self.retrieved(&trained, &fresh, config)?;
        let notes: Vec<Case> = retrieved.iter().map(|one| fresh[one.candidate].clone()).collect();
        let answers = match answers {
            Some(known) => answered(&notes, known)?,
            None => self.answer(&notes)?,
        };
        let synthetic = self.task.corpus().synthetic && candidates.synthetic;
        making.start(!synthetic)?;
        write_predictions(&making.part.join("answers.jsonl"), &answers)?;
        let (measured, invalid) = self.measured(&notes, &answers, config.allow_unclosed, patients)?;
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
            candidates: candidates.notes.len(),
            same_patient: candidates.notes.len() - others.len(),
            alike: others.len() - fresh.len(),
            retrieved: retrieved.len(),
            cosine: (!retrieved.is_empty()).then(|| cosines / retrieved.len() as f64),
            invalid,
            valid: measured.len(),
            unmeasured: measured.len() - values.len(),
            threshold,
            kept: kept.len(),
            spans: kept.iter().map(|line| line.annotations.len()).sum(),
        };
        write_confidence(&making.part.join("confidence.jsonl"), measured.iter().map(|(one, _)| one))?;
        let gold = [trained, validation].concat();
        self.write(&making.part, &gold, kept)?;
        io::write(&making.part.join("README.md"), card(synthetic, patients, gold.len(), &report).as_bytes())?;
        io::write_json(&making.part.join("pseudo.json"), &report)?;
        making.finish()?;
        Ok(report)
    }

    /// Which notes are given to which training notes.
    fn retrieved(&self, trained: &[Note], notes: &[Case], config: &PseudoConfig) -> Result<Vec<Retrieved>> {
        let queries: Vec<&str> = trained.iter().map(|note| note.input.as_str()).collect();
        let texts: Vec<&str> = notes.iter().map(|note| note.input.as_str()).collect();
        let vectors = |texts: &[&str]| embed(config.embed, &self.local, texts);
        Ok(retrieve(&vectors(&queries)?, &vectors(&texts)?, config.top, config.per_note))
    }

    /// The valid answers as lines with the model's confidence in each, and how many of the others were wrong in which way.
    fn measured(
        &self,
        notes: &[Case],
        answers: &[AnyPrediction],
        allow_unclosed: bool,
        patients: bool,
    ) -> Result<(Vec<(Confidence, Line)>, BTreeMap<Invalid, usize>)> {
        let (mut invalid, mut measured) = (BTreeMap::<Invalid, usize>::new(), Vec::new());
        let mut said = Progress::told(notes.len(), "measured");
        for (at, (note, answer)) in notes.iter().zip(answers).enumerate() {
            match self.judged(note, &answer.raw, allow_unclosed)? {
                Ok((found, spans)) => measured.push((found, Line::pseudo(note, spans, &self.id(), patients))),
                Err(why) => *invalid.entry(why).or_default() += 1,
            }
            said.update(at + 1);
        }
        Ok((measured, invalid))
    }

    /// Whether gold notes and candidates are both of patients, so that one number is one patient.
    fn patients(&self, candidates: &Unlabelled) -> bool {
        !self.task.corpus().synthetic && !candidates.synthetic
    }

    /// Candidates of patients of whom no gold note is validated or tested on, by the run or by its corpus.
    fn other_patients(&self, candidates: &[Case], validation: &[Note]) -> Vec<Case> {
        let kept_away = validation.iter().chain(self.task.validation()).chain(&self.task.corpus().test);
        let patients: BTreeSet<&str> = kept_away.map(|note| note.group.as_str()).collect();
        candidates.iter().filter(|note| !patients.contains(note.group.as_str())).cloned().collect()
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
    fn write(&self, out: &Path, gold: &[Note], pseudo: Vec<Line>) -> Result<()> {
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
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::retrieval::EmbedBy;
    use super::*;
    use crate::corpus::Corpus;
    use crate::corpus::decisions::lines::PSEUDO;
    use crate::corpus::decisions::{Category, Decisions, Strata};
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

    fn candidates() -> Unlabelled {
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
        Unlabelled { notes: texts.iter().enumerate().map(one).collect(), synthetic: true }
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
        candidates().notes.iter().map(one).collect()
    }

    fn tagged(note: &Case) -> String {
        crate::task::decisions::tag(&note.input, &[Span::new(0, 10, Category::DrugDecision)])
    }

    #[test]
    fn gold_and_pseudo_become_one_corpus_that_training_reads() {
        let (marker, folder) = (marker(), tempfile::tempdir().unwrap());
        let out = &folder.path().join("made");
        let config =
            PseudoConfig { embed: EmbedBy::Decoder, quantile: 0.5, constrain: None, ..PseudoConfig::default() };
        let raw = |note: &Case| if note.case_id == "1_1_3" { "something else".into() } else { tagged(note) };
        let known = answers(&marker, raw);
        let report = marker.pseudo(&candidates(), Some(&known), &config, out).unwrap();
        // candidate 2 is the test note word for word; 3 is no copy; of three valid ones the quantile 0.5 keeps two
        assert_eq!(
            (report.candidates, report.alike, report.retrieved, report.valid, report.kept),
            (5, 1, 4, 3, 2),
            "{report:?}"
        );
        assert_eq!((report.invalid.clone(), report.spans, report.queries), ([(Invalid::NoCopy, 1)].into(), 2, 2));
        let read = Decisions::open(out).unwrap();
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
        let kept: Vec<Confidence> = io::read_text(&out.join("confidence.jsonl"))
            .unwrap()
            .lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect();
        let mut values: Vec<f64> = kept.iter().map(|one| one.tags.unwrap()).collect();
        values.sort_by(f64::total_cmp);
        assert_eq!((kept.len(), report.threshold), (3, Some(values[1])));
        let stored: PseudoReport = io::read_json(&out.join("pseudo.json")).unwrap();
        assert_eq!(stored, report);
        io::write(&out.join("stats.csv"), b"of an earlier call").unwrap();
        assert_eq!(marker.pseudo(&candidates(), Some(&known), &config, out).unwrap(), report, "the same again");
        assert!(
            !out.join("stats.csv").exists() && !out.join(".gitignore").exists() && !out.with_extension("part").exists()
        );
        assert_eq!(marker.read_answers(&out.join("answers.jsonl")).unwrap().len(), 4);
        // answers that do not fit the model are counted, and the others go on
        let mut long = known.clone();
        let note = &candidates().notes[1];
        let spans = vec![Span::new(0, 10, Category::DrugDecision); marker.local.model.config.max_position_embeddings];
        long[1].raw = crate::task::decisions::tag(&note.input, &spans);
        let report = marker.pseudo(&candidates(), Some(&long), &config, out).unwrap();
        assert_eq!((report.invalid, report.valid), ([(Invalid::NoCopy, 1), (Invalid::TooLong, 1)].into(), 2));
    }

    /// The gold notes and candidates of [`marker`], as if they were of patients.
    #[test]
    fn notes_of_a_patient_who_is_tested_on_are_left_out_and_the_others_keep_their_patient() {
        let (mut marker, folder) = (marker(), tempfile::tempdir().unwrap());
        let mut corpus = marker.task.corpus().clone();
        corpus.synthetic = false;
        let (validation, strata) = (marker.task.validation().to_vec(), marker.task.strata.clone());
        marker.task = DecisionTask::of(Decisions { corpus, validation, strata, warnings: vec![] }).unwrap();
        let mut notes = candidates();
        notes.synthetic = false;
        // of the test note, of the validation note, of a training note
        for (i, patient) in [(0, "3"), (1, "4"), (3, "2")] {
            notes.notes[i].group = patient.into();
        }
        let config =
            PseudoConfig { embed: EmbedBy::Decoder, quantile: 1.0, constrain: None, ..PseudoConfig::default() };
        let known = answers(&marker, tagged);
        let made = |notes: &Unlabelled, name: &str| {
            let out = folder.path().join(name);
            let report = marker.pseudo(notes, Some(&known), &config, &out).unwrap();
            let train = Decisions::open(&out).unwrap().corpus.train;
            let groups: BTreeSet<String> = train[2..].iter().map(|note| note.group.clone()).collect();
            assert!(out.join(".gitignore").is_file(), "notes of patients");
            (report, groups, io::read_text(&out.join("README.md")).unwrap())
        };
        let (report, groups, card) = made(&notes, "patients");
        assert_eq!((report.same_patient, report.alike, report.kept), (2, 1, 2), "{report:?}");
        assert_eq!(groups, ["1".to_string(), "2".into()].into());
        assert!(
            card.contains("2 unlabelled notes of patients of a gold validation or test note were left out"),
            "{card}"
        );
        // numbers of synthetic patients say nothing
        notes.synthetic = true;
        let (report, groups, _) = made(&notes, "mixed");
        assert_eq!((report.same_patient, report.kept), (0, 4));
        assert!(groups.iter().all(|group| group.starts_with(PSEUDO)), "{groups:?}");
    }

    #[test]
    fn what_cannot_be_done_is_said() {
        let (marker, folder) = (marker(), tempfile::tempdir().unwrap());
        let out = &folder.path().join("made");
        let config = PseudoConfig { embed: EmbedBy::Decoder, ..PseudoConfig::default() };
        let mut known = answers(&marker, tagged);
        let told = |config: &PseudoConfig, known: &[AnyPrediction], out: &Path| {
            let error = marker.pseudo(&candidates(), Some(known), config, out).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            error.to_string()
        };
        assert!(told(&PseudoConfig { quantile: 1.5, ..config.clone() }, &known, out).contains("quantile is 1.5"));
        assert!(told(&PseudoConfig { per_note: 0, ..config.clone() }, &known, out).contains("at least 1"));
        let own = folder.path().join("own");
        write_lines(&own.join("train.jsonl"), &[]).unwrap();
        assert!(told(&config, &known, &own).contains("without pseudo.json"));
        known.retain(|one| one.case_id != "1_1_4");
        assert!(told(&config, &known, out).contains("retrieved note `1_1_4`"));
        let file = folder.path().join("preds.jsonl");
        known[0].prompt = "other@1".into();
        write_predictions(&file, &known).unwrap();
        let error = marker.read_answers(&file).unwrap_err().to_string();
        assert!(
            error.contains("`1_1_0`") && error.contains("`other@1`") && error.contains(&marker.prompt.id()),
            "{error}"
        );
        known[0].model = "other@1".into();
        write_predictions(&file, &known).unwrap();
        let error = marker.read_answers(&file).unwrap_err().to_string();
        assert!(error.contains("case `1_1_0` was answered by") && error.contains("train-few-0"), "{error}");
    }
}
