//! The answers of several models to the same notes with their gold spans: what consensus rules are fitted and scored on.
use super::tuning::Objective;
use crate::corpus::decisions::{Predicted, Span, Strata, read, stats};
use crate::ensemble::{Overlaps, SpanConsensus, SpanRule};
use crate::error::{Error, Result};
use crate::study::Results;
use crate::task::decisions::official::{self, GoldNote, NoteScore, Official};
use crate::task::decisions::score::Answered;
use crate::task::decisions::{Note, Prediction, Punkt};
use crate::task::{DecisionTask, Task};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// See the file's header.
#[derive(Clone, Debug)]
pub struct Ensemble {
    /// In the order of the answers.
    pub models: Vec<String>,
    pub(super) notes: Vec<AnsweredNote>,
}

/// One note, its gold spans and the answer of every model.
#[derive(Clone, Debug)]
pub(super) struct AnsweredNote {
    pub scorer: GoldNote,
    pub text: String,
    /// The patient.
    pub group: String,
    pub strata: Option<Strata>,
    pub answers: Vec<Vec<Span>>,
    overlaps: Overlaps,
}

impl AnsweredNote {
    /// The consensus of the models.
    pub fn consensus(&self, rule: &SpanConsensus) -> Vec<Span> {
        rule.combine_overlaps(&self.overlaps)
    }

    /// What a prediction adds to the official scores.
    pub fn score(&self, predicted: &[Span]) -> NoteScore {
        NoteScore { strata: self.strata.clone(), ..self.scorer.score(predicted) }
    }

    /// A prediction beside the gold spans, for the scores by place.
    pub fn answered<'a>(&'a self, predicted: &'a [Span]) -> Answered<'a> {
        let (case_id, gold) = (self.scorer.name.as_str(), self.scorer.gold.as_slice());
        Answered { case_id, group: &self.group, text: &self.text, gold, predicted, raw: None }
    }
}

impl Ensemble {
    /// `notes`: each with the answer of every model, in the order of `models`. Spans that do not lie in their note are left out. Fails for fewer
    /// than two models, for two of one name, and without notes.
    pub fn new(
        models: Vec<String>,
        notes: Vec<(Note, Vec<Vec<Span>>)>,
        strata: &BTreeMap<String, Strata>,
        sentences: &Punkt,
    ) -> Result<Self> {
        if models.len() < 2 {
            return Err(Error::input(format!("{} set of predictions: a consensus needs two or more", models.len())));
        }
        if let Some(twice) = models.iter().enumerate().find(|(i, name)| models[..*i].contains(name)) {
            return Err(Error::input(format!("predictions of `{}` come twice: name each set once", twice.1)));
        }
        if notes.is_empty() {
            return Err(Error::input("no note with gold spans to score a consensus on"));
        }
        let note = |(note, mut answers): (Note, Vec<Vec<Span>>)| {
            let name = &note.case_id;
            if answers.len() != models.len() {
                let (got, wanted) = (answers.len(), models.len());
                return Err(Error::input(format!("note `{name}`: {got} answers of {wanted} models")));
            }
            let chars = note.input.chars().count();
            answers.iter_mut().for_each(|spans| spans.retain(|span| span.fits(chars)));
            Ok(AnsweredNote {
                scorer: GoldNote::new(name, &note.input, &note.gold, sentences),
                group: note.group.clone(),
                strata: strata.get(name).cloned(),
                overlaps: Overlaps::of(&answers),
                text: note.case.input,
                answers,
            })
        };
        let notes = notes.into_iter().map(note).collect::<Result<Vec<_>>>()?;
        Ok(Self { models, notes })
    }

    /// Of runs that answered the test notes of a task (validation notes: a task [`DecisionTask::on_validation`]).
    pub fn of_runs(results: &Results<DecisionTask>, names: &[&str]) -> Result<Self> {
        let models = names.iter().map(|name| results.get(name)).collect::<Result<Vec<_>>>()?;
        let sets: Vec<&[Prediction]> = models.iter().map(|model| model.predictions.as_slice()).collect();
        Self::of_predictions(&results.task, names, &sets)
    }

    /// Of predictions on the test notes of a task; a note that one set lacks is an error.
    pub fn of_predictions(task: &DecisionTask, names: &[&str], sets: &[&[Prediction]]) -> Result<Self> {
        let spans = |set: &&[Prediction]| -> BTreeMap<String, Vec<Span>> {
            set.iter().map(|one| (one.case_id.clone(), one.answer.clone())).collect()
        };
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        let answers: Vec<BTreeMap<String, Vec<Span>>> = sets.iter().map(spans).collect();
        let notes = paired(task.corpus().test.clone(), &names, &answers)?;
        Self::new(names, notes, &task.strata, &task.sentences)
    }

    /// The sampled answers of one model as so many models; every prediction must have as many samples.
    pub fn of_samples(task: &DecisionTask, predictions: &[Prediction]) -> Result<Self> {
        let sampled = |one: &Prediction| one.voted.as_ref().map_or(0, |voted| voted.samples.len());
        let count = predictions.first().map_or(0, sampled);
        let note = |one: &Prediction| {
            let voted = one.voted.as_ref().filter(|voted| voted.samples.len() == count);
            let samples = &voted
                .ok_or_else(|| {
                    Error::input(format!("note `{}`: {} samples, expected {count}", one.case_id, sampled(one)))
                })?
                .samples;
            let note = task.corpus().case(&one.case_id)?.clone();
            let answers = samples.iter().map(|sample| Task::parse(task, &sample.raw, &note.case).answer).collect();
            Ok((note, answers))
        };
        let notes = predictions.iter().map(note).collect::<Result<Vec<_>>>()?;
        let names = (1..=count).map(|i| format!("sample {i}")).collect();
        Self::new(names, notes, &task.strata, &task.sentences)
    }

    /// The same with the answers of one more model, such as the greedy ones beside the samples.
    pub fn and(mut self, name: &str, predictions: &[Prediction]) -> Result<Self> {
        if self.models.iter().any(|model| model == name) {
            return Err(Error::input(format!("predictions of `{name}` come twice: name each set once")));
        }
        let answers: BTreeMap<&str, &Vec<Span>> =
            predictions.iter().map(|one| (one.case_id.as_str(), &one.answer)).collect();
        for note in &mut self.notes {
            let spans = answers.get(note.scorer.name.as_str());
            let spans =
                spans.ok_or_else(|| Error::input(format!("{name}: no prediction of note `{}`", note.scorer.name)))?;
            let chars = note.text.chars().count();
            note.answers.push(spans.iter().filter(|span| span.fits(chars)).cloned().collect());
            note.overlaps = Overlaps::of(&note.answers);
        }
        self.models.push(name.to_string());
        Ok(self)
    }

    /// Of files as MedDec's scorer reads them; also what was left out of gold files. Every file must have an entry for every gold note: a note
    /// without decisions has an empty list.
    pub fn of_files(
        gold: &Path,
        text: &Path,
        table: Option<&Path>,
        files: &[PathBuf],
        sentences: &Punkt,
    ) -> Result<(Self, Vec<String>)> {
        let (texts, mut warnings) = (read::texts(text)?, Vec::new());
        let note = |(name, spans): (String, Vec<Span>)| match texts.get(&name) {
            Some(known) => Ok(read::example(name, known.clone(), spans)),
            None => Err(Error::input(format!("{}: no note {name}.txt", text.display()))),
        };
        let notes = read::gold(gold, &texts, &mut warnings)?.into_iter().map(note).collect::<Result<Vec<_>>>()?;
        let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        let mut one = |file: &PathBuf| -> Result<BTreeMap<String, Vec<Span>>> {
            Ok(read::predictions(file, &mut warnings)?
                .into_iter()
                .map(|Predicted { file_name, predictions }| (file_name, predictions))
                .collect())
        };
        let answers = files.iter().map(&mut one).collect::<Result<Vec<_>>>()?;
        let strata = table.map(stats).transpose()?.unwrap_or_default();
        if table.is_some() {
            let unknown = notes.iter().filter(|note| !strata.contains_key(&note.case_id));
            warnings.extend(unknown.map(|note| format!("note `{}` is in no row of the statistics", note.case_id)));
        }
        Ok((Self::new(names.clone(), paired(notes, &names, &answers)?, &strata, sentences)?, warnings))
    }

    /// Notes and patients.
    pub fn size(&self) -> (usize, usize) {
        (self.notes.len(), self.groups().into_iter().collect::<BTreeSet<_>>().len())
    }

    /// Whether the final score is known: the subgroups of some patient are.
    pub fn objective(&self) -> &'static str {
        if self.notes.iter().any(|note| note.strata.is_some()) { "final_score" } else { "base_score" }
    }

    pub(super) fn groups(&self) -> Vec<&str> {
        self.notes.iter().map(|note| note.group.as_str()).collect()
    }

    /// What each note adds to the official scores under a rule.
    pub fn scores(&self, rule: &SpanRule) -> Vec<NoteScore> {
        self.notes.iter().map(|note| note.score(&rule.combine(&note.answers))).collect()
    }

    /// The same of one model alone.
    pub(super) fn single(&self, model: usize) -> Vec<NoteScore> {
        self.notes.iter().map(|note| note.score(&note.answers[model])).collect()
    }

    /// The model with the highest objective on these notes, the first of equals: to be named on validation notes. None is the published objective: the
    /// final score, or the base score where no subgroups are known.
    pub fn best_single(&self, objective: Option<Objective>) -> &str {
        let value = |found: Official| objective.map_or(found.objective(), |objective| objective.of(&found));
        let score = |model: usize| official::official(&self.single(model)).map_or(0.0, value);
        let scores: Vec<f64> = (0..self.models.len()).map(score).collect();
        let best = (0..scores.len()).rev().max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
        best.map_or("", |best| &self.models[best])
    }
}

/// Every note with the answer of each set; an error names a note that only one side has.
fn paired(
    notes: Vec<Note>,
    names: &[String],
    sets: &[BTreeMap<String, Vec<Span>>],
) -> Result<Vec<(Note, Vec<Vec<Span>>)>> {
    let known: BTreeSet<&str> = notes.iter().map(|note| note.case_id.as_str()).collect();
    for (name, set) in names.iter().zip(sets) {
        if let Some(unknown) = set.keys().find(|note| !known.contains(note.as_str())) {
            return Err(Error::input(format!("{name}: note `{unknown}` has no gold spans: leave it out")));
        }
    }
    let note = |note: Note| {
        let of = |(name, set): (&String, &BTreeMap<String, Vec<Span>>)| {
            set.get(&note.case_id).cloned().ok_or_else(|| {
                Error::input(format!(
                    "{name}: no prediction of note `{}`: give one of every note, an empty list where nothing was found",
                    note.case_id
                ))
            })
        };
        let answers = names.iter().zip(sets).map(of).collect::<Result<Vec<_>>>()?;
        Ok((note, answers))
    };
    notes.into_iter().map(note).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::corpus::decisions::Category;

    pub fn spans(all: &[(usize, usize)]) -> Vec<Span> {
        all.iter().map(|&(start, end)| Span::new(start, end, Category::DrugDecision)).collect()
    }

    /// Words of ten letters: word k stands at 11·k, and no two are alike.
    fn text(words: usize) -> String {
        let word = |k: usize| format!("abcdefghi{}", char::from(b'a' + (k % 26) as u8));
        (0..words).map(word).collect::<Vec<_>>().join(" ")
    }

    pub fn word(k: usize) -> (usize, usize) {
        (11 * k, 11 * k + 10)
    }

    /// Ten notes of five patients in the two sexes. Two models find both gold spans and the third one invents a span at a place of its own, but in
    /// the notes of every second patient it is the third that is right alone.
    pub fn notes() -> (Vec<(Note, Vec<Vec<Span>>)>, BTreeMap<String, Strata>) {
        let note = |i: usize| {
            let patient = i / 2;
            let gold = spans(&[word(1), word(4 + i % 3)]);
            let odd = spans(&[word(1), word(9)]);
            let answers = match patient % 2 {
                0 => vec![gold.clone(), gold.clone(), odd],
                _ => vec![odd.clone(), spans(&[word(12)]), gold.clone()],
            };
            (Note::new(format!("{patient}_0_{i}"), patient.to_string(), text(14), gold), answers)
        };
        let all: Vec<_> = (0..10).map(note).collect();
        let sex = |patient: &str| Strata::of(if patient < "3" { "F" } else { "M" }, "WHITE", "ENGL");
        let strata = all.iter().map(|(note, _)| (note.case_id.clone(), sex(&note.group))).collect();
        (all, strata)
    }

    pub fn ensemble() -> Ensemble {
        let sentences = Punkt::simple();
        let (all, strata) = notes();
        Ensemble::new(["a", "b", "c"].map(String::from).into(), all, &strata, &sentences).unwrap()
    }

    #[test]
    fn what_cannot_be_combined_is_named() {
        let sentences = Punkt::simple();
        let (all, strata) = notes();
        let made = |models: &[&str], all: Vec<(Note, Vec<Vec<Span>>)>| {
            let error =
                Ensemble::new(models.iter().map(|m| m.to_string()).collect(), all, &strata, &sentences).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            error.to_string()
        };
        assert!(made(&["a"], all.clone()).contains("1 set of predictions: a consensus needs two"));
        assert!(made(&["a", "a", "b"], all.clone()).contains("`a` come twice"));
        assert!(made(&["a", "b"], all.clone()).contains("note `0_0_0`: 3 answers of 2 models"));
        assert!(made(&["a", "b"], vec![]).contains("no note"));
        let names = ["a.json".to_string(), "b.json".to_string()];
        let whole: BTreeMap<String, Vec<Span>> = all.iter().map(|(note, _)| (note.case_id.clone(), vec![])).collect();
        let mut part = whole.clone();
        part.remove("1_0_3");
        let gold: Vec<Note> = all.into_iter().map(|(note, _)| note).collect();
        let error = paired(gold.clone(), &names, &[whole.clone(), part]).unwrap_err().to_string();
        assert!(error.contains("b.json: no prediction of note `1_0_3`"), "{error}");
        let more = whole.iter().map(|(k, v)| (k.clone(), v.clone())).chain([("9_9_9".to_string(), vec![])]).collect();
        let error = paired(gold, &names, &[whole, more]).unwrap_err().to_string();
        assert!(error.contains("b.json: note `9_9_9` has no gold spans"), "{error}");
    }

    #[test]
    fn files_make_an_ensemble_and_a_span_beyond_its_note_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            crate::io::write(&path, text.as_bytes()).unwrap();
            path
        };
        write("text/1_2_3.txt", "Hold aspirin.");
        write("gold/1_2_3.json", r#"{"annotations": [{"start_offset": 0, "end_offset": 12, "category": 5}]}"#);
        let stats = write("stats.csv", "SUBJECT_ID,HADM_ID,ROW_ID,GENDER,ETHNICITY,LANGUAGE\n1,2,3,F,WHITE,ENGL\n");
        let span = |end: usize| {
            format!(
                r#"[{{"file_name": "1_2_3", "predictions": [{{"start_offset": 0, "end_offset": {end}, "category": 5}}]}}]"#
            )
        };
        let files = [write("a.json", &span(12)), write("b.json", &span(99))];
        let (gold, text) = (folder.path().join("gold"), folder.path().join("text"));
        let (made, warnings) = Ensemble::of_files(&gold, &text, Some(&stats), &files, &Punkt::simple()).unwrap();
        assert_eq!((made.size(), made.objective(), warnings.len()), ((1, 1), "final_score", 0));
        assert_eq!(made.notes[0].answers, [spans(&[(0, 12)]), vec![]]);
        assert!(made.best_single(None).ends_with("a.json"));
        assert!(made.best_single(Some(Objective::Base)).ends_with("a.json"));
        let one = Ensemble::of_files(&gold, &text, None, &files[..1], &Punkt::simple()).unwrap_err();
        assert!(one.exit_code() == 2 && one.to_string().contains("two or more"));
    }

    #[test]
    fn samples_of_one_model_are_an_ensemble() {
        use crate::run::{Sample, Voted};
        let task = DecisionTask::open("decisions").unwrap();
        let sampled = |note: &Note| {
            let raws = [task.tagged(note), note.input.clone()];
            let samples = raws.map(|raw| Sample { raw, logprob: None, new_tokens: 1 }).into();
            let voted = Some(Voted { shares: BTreeMap::new(), samples });
            Prediction { voted, ..Prediction::of(note, vec![], "") }
        };
        let mut predictions: Vec<Prediction> = task.corpus().test[..3].iter().map(sampled).collect();
        let made = Ensemble::of_samples(&task, &predictions).unwrap();
        assert_eq!((made.models.as_slice(), made.size().0), (&["sample 1".to_string(), "sample 2".into()][..], 3));
        assert_eq!((made.best_single(None), &made.notes[1].answers[0]), ("sample 1", &task.corpus().test[1].gold));
        assert!(made.notes.iter().all(|note| note.answers[1].is_empty()));
        let greedy: Vec<Prediction> =
            task.corpus().test[..3].iter().map(|note| Prediction::of(note, note.gold.clone(), "")).collect();
        let more = made.clone().and("greedy", &greedy).unwrap();
        assert!(more.models[2] == "greedy" && more.notes.iter().all(|note| note.answers[2] == note.answers[0]));
        let lacks = more.clone().and("again", &greedy[1..]).unwrap_err().to_string();
        assert!(lacks.contains("again: no prediction of note `") && more.and("greedy", &greedy).is_err(), "{lacks}");
        predictions[2].voted = None;
        let error = Ensemble::of_samples(&task, &predictions).unwrap_err();
        assert!(error.to_string().contains("0 samples, expected 2"), "{error}");
    }
}
