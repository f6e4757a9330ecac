//! The task on the small knowledge base: its split, prompts, reading, ranks, and the patients that are added.
use super::*;
use crate::phenotype::Term;

/// The names of the test ontology's terms, diseases of the small knowledge base, patients of our own.
fn task() -> RareDisease {
    use crate::phenotype::library::tests::library;
    let mut library = library();
    let mut patients = library.patients.clone();
    library.patients.clear();
    let mut more = patients.clone();
    for (i, one) in more.iter_mut().enumerate() {
        one.id = format!("{} again", one.id);
        one.group = format!("PMID:9{i}");
        one.signs.observed.extend(library.ontology().find("HP:4").term()); // other signs: a copy would be left out
    }
    patients.extend(more);
    RareDisease::of(library, &OpenData::default(), patients, true, Form::Signs).unwrap()
}

#[test]
fn no_publication_is_on_both_sides_and_every_tested_disease_is_in_training() {
    let task = task();
    let groups = |all: &[Example<Gold>]| all.iter().map(|one| one.group.clone()).collect::<BTreeSet<_>>();
    assert!(groups(&task.corpus.train).is_disjoint(&groups(&task.corpus.test)));
    let known: BTreeSet<&DiseaseName> = task.corpus.train.iter().flat_map(|one| &one.gold).collect();
    assert!(!task.corpus.test.is_empty());
    let texts: BTreeSet<&str> = task.corpus.train.iter().map(|one| one.input.as_str()).collect();
    assert_eq!(texts.len(), task.corpus.train.len(), "no text twice");
    assert!(task.corpus.test.iter().all(|one| !texts.contains(one.input.as_str())), "no test text in training");
    assert!(task.corpus.test.iter().flat_map(|one| &one.gold).all(|gold| known.contains(gold)));
}

#[test]
fn a_narrative_tells_age_sex_and_what_was_not_found() {
    let task = task();
    let mut patient = task.library.patients[0].clone();
    let names =
        |terms: &[Term]| terms.iter().map(|&term| task.library.ontology().name(term)).collect::<Vec<_>>().join(", ");
    patient.signs.excluded = vec![patient.signs.observed[0]];
    (patient.sex, patient.age) = ("FEMALE".into(), Some(4.7));
    let (seen, not) = (names(&patient.signs.observed), names(&patient.signs.excluded));
    let expected = format!("A female patient of 4 years has these signs: {seen}. Looked for and not found: {not}.");
    assert_eq!(narrative(&task.library, &patient), expected);
    patient.signs.excluded.clear();
    (patient.sex, patient.age) = (String::new(), Some(0.5));
    let expected = format!("A patient, in the first year of life, has these signs: {seen}.");
    assert_eq!(narrative(&task.library, &patient), expected);
}

#[test]
fn a_name_with_a_dash_is_one_name_and_a_remark_is_none() {
    let task = task();
    assert_eq!(task.line_name("3. Skull disease - because of the skull"), "Skull disease");
    let mut library = task.library.clone();
    library.candidates[0].name = "Glaucoma - sleep apnea".into();
    let grounding = Grounding::of(&library, &BTreeMap::new());
    let task = RareDisease { grounding, ..task };
    assert_eq!(task.line_name("- **Glaucoma - sleep apnea**"), "Glaucoma - sleep apnea");
}

#[test]
fn lists_are_read_line_by_line_without_numbers_and_remarks() {
    let task = task();
    let case = task.corpus.test[0].case.clone();
    let read = |raw: &str| task.parse(raw, &case).answer;
    let expected = ["Epilepsy, small", "Skull disease"];
    assert_eq!(read("1. Epilepsy, small\n2. **Skull disease** - because of the skull\n"), expected);
    assert_eq!(read("The ten most likely diagnoses are:\n- Epilepsy, small\n- Skull disease."), expected);
    assert_eq!(read("<think>hm\n</think>\n1) Epilepsy, small\n\n2) Skull disease"), expected);
    assert_eq!(read("Epilepsy, small"), ["Epilepsy, small"], "a name with a comma is one name");
    assert_eq!(read("Dwarfism; Skull disease"), ["Dwarfism", "Skull disease"]);
    assert_eq!(read("The most likely diagnoses are:\n\nDwarfism, Skull disease"), ["Dwarfism", "Skull disease"]);
    assert_eq!(read("1. Dwarfism: the patient is short, very short\n2. Skull disease"), ["Dwarfism", "Skull disease"]);
    assert!(read(&"no list but a very long sentence ".repeat(9)).is_empty());
    assert!(!task.parse("  \n", &case).parsed);
}

#[test]
fn ranks_are_those_of_grounded_lines_and_unknown_names_count_as_wrong() {
    let task = task();
    let example = task.corpus.test.iter().chain(&task.corpus.train).find(|one| one.gold[0].id == "OMIM:1").unwrap();
    let answer = vec!["A thing".to_string(), "small epilepsy".to_string()];
    let case = task.ranked_case(&Prediction::of(example, answer, ""));
    assert_eq!((case.best(), case.listed, case.unknown), (Some(2), 2, 1));
}

#[test]
fn samples_are_combined_by_the_mean_of_their_reciprocal_ranks() {
    let task = task();
    let sample = |names: &[&str]| Parsed { answer: names.iter().map(|n| n.to_string()).collect(), parsed: true };
    let samples =
        [sample(&["Skull disease", "Epilepsy, small"]), sample(&["Epilepsy, small"]), sample(&["small epilepsy", "x"])];
    let combined = task.combine(&samples, 0.5);
    assert_eq!(combined.answer, ["Epilepsy, small"], "the others stand in one of three samples");
    assert_eq!(task.combine(&samples, 0.0).answer, ["Epilepsy, small", "Skull disease", "x"]);
    assert!((combined.shares["Epilepsy, small"] - 1.0).abs() < 1e-12);
}

#[test]
fn a_nested_task_asks_about_training_patients_of_other_publications() {
    let task = task();
    let nested = (0..32).find_map(|seed| {
        let nested = Task::nested(&task, 0.5, seed).ok()?;
        (!nested.corpus.test.is_empty() && !nested.corpus.train.is_empty()).then_some(nested)
    });
    let nested = nested.unwrap();
    let groups = |all: &[Example<Gold>]| all.iter().map(|one| one.group.clone()).collect::<BTreeSet<_>>();
    let (inner, outer) = (groups(&nested.corpus.train), groups(&nested.corpus.test));
    assert!(inner.is_disjoint(&outer) && outer.is_subset(&groups(&task.corpus.train)));
    assert!(nested.library.patients.iter().all(|one| inner.contains(&one.group)));
    let examples = nested.context.examples.iter().map(|one| one.case.group.clone());
    assert!(examples.collect::<BTreeSet<_>>().is_subset(&inner));
    for case in &nested.corpus.test {
        let taught = Task::taught(&nested, case);
        assert_eq!(taught.lines().next(), Some(case.gold[0].name.as_str()), "its own disease first: {taught}");
    }
}

#[test]
fn training_answers_name_the_disease_first_and_then_other_diseases() {
    let task = task();
    for example in &task.context.examples {
        let lines: Vec<&str> = example.answer.lines().collect();
        assert_eq!(lines[0], example.shows[0]);
        assert_eq!(lines.iter().collect::<BTreeSet<_>>().len(), lines.len(), "each once");
    }
}

/// A disease whose rows all come from a published patient's paper must give no further patients: they would carry what the test patient's
/// paper says into training.
#[test]
fn further_patients_know_nothing_of_the_published_patients_papers() {
    use crate::phenotype::knowledge::tests::{of_rows, row};
    use crate::phenotype::library::tests::packet;
    let of_paper =
        |disease: &str, paper: &str| ["HP:3", "HP:4", "HP:6", "HP:7"].map(|term| row(disease, term, paper)).concat();
    let mut library = Library::of(of_rows(&(of_paper("OMIM:1", "PMID:1") + &of_paper("OMIM:2", "OMIM:2"))));
    let (patients, _) = library.patients_of(&[
        packet("a", "PMID:1", "OMIM:1", &["HP:3"], &[]),
        packet("b", "PMID:2", "OMIM:1", &["HP:4"], &[]),
        packet("c", "PMID:3", "OMIM:2", &["HP:6"], &[]),
        packet("d", "PMID:4", "OMIM:2", &["HP:7"], &[]),
    ]);
    let made = |form| RareDisease::of(library.clone(), &OpenData::default(), patients.clone(), false, form).unwrap();
    let counts = |task: &RareDisease, id: &str| {
        task.corpus.train.iter().filter(|case| case.gold.iter().any(|gold| gold.id == id)).count()
    };
    let (plain, balanced) = (made(Form::Signs), made(Form::Balanced));
    assert_eq!(counts(&balanced, "OMIM:1"), counts(&plain, "OMIM:1"), "nothing is left to draw from");
    assert!(counts(&plain, "OMIM:2") > 0 && counts(&balanced, "OMIM:2") > counts(&plain, "OMIM:2"));
    // the same patients, drawn from all rows, would have had some of the first disease
    let drawn = patients::further(&library, &patients).unwrap();
    assert!(drawn.iter().any(|one| library.candidates[one.diseases[0]].id == "OMIM:1"));
}
