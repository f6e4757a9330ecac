//! Constrained decoding as a run of the study: beside the free answers of the same model, and never mistaken for them.
use dxlab::corpus::Corpus;
use dxlab::generate::Local;
use dxlab::prompt::{Constrain, Prompt, Thinking};
use dxlab::run::{Run, Store};
use dxlab::study::{PredictConfig, ask, ask_again, names};
use dxlab::task::{AnyTask, LabelTask, Task};

fn config(constrain: Option<Constrain>) -> PredictConfig {
    PredictConfig { max_new: 24, cases: Some(4), constrain, ..PredictConfig::zero_shot("plain") }
}

#[test]
fn free_and_constrained_answers_are_runs_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(Some(folder.path()));
    let run = |constrain| Run::predict_in(&store, &config(constrain)).unwrap();
    let (free, held) = (run(None), run(Some(Constrain::Labels)));
    assert!(free.spec.spec.get("constrain").is_none(), "the digest of free answers is what it was");
    assert_eq!(held.spec.spec["constrain"], "labels");
    assert_ne!(free.spec.digest, held.spec.digest);
    let task = LabelTask::findings(Corpus::embedded().unwrap()).unwrap();
    let known = task.corpus.vocabulary();
    let (free, answers) = (free.answers(&task).unwrap(), held.answers(&task).unwrap());
    for answer in &answers {
        assert!(answer.answer != serde_json::json!([]) || answer.raw == Task::context(&task).none, "{}", answer.raw);
        assert!(answer.raw.split(", ").all(|label| known.contains_key(label)), "{}", answer.raw);
        assert_eq!(answer.constrain, Some(Constrain::Labels));
    }
    let one = &answers[0];
    assert_eq!((one.task.as_str(), &*one.corpus, one.run == held.folder()), ("findings@5", "5c7d392d8d4b", true));
    assert!(free.iter().all(|answer| answer.constrain.is_none()));
    assert_eq!(names(&[&free, &answers]).unwrap(), ["embedded · plain", "embedded · plain · only labels"]);
    assert_eq!(ask_again(&held, &config(Some(Constrain::Labels)), 4).unwrap(), (4, 4), "asked again as it was asked");
    let config: PredictConfig = serde_json::from_value(serde_json::to_value(config(None)).unwrap()).unwrap();
    assert!(config.constrain.is_none() && !serde_json::to_string(&config).unwrap().contains("constrain"));
}

#[test]
fn a_prompt_that_lets_the_model_think_is_not_constrained() {
    let task = LabelTask::findings(Corpus::embedded().unwrap()).unwrap();
    let prompt = Prompt::named("plain", Task::context(&task)).unwrap();
    let mut model = Local::open("embedded", None).unwrap();
    model.set_constraint(Constrain::Json, &[]).unwrap();
    let first = &AnyTask::test(&task)[..1];
    let error = ask(&model, &Prompt { thinking: Thinking::On, ..prompt }, &task, first).unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("turn thinking off"), "{error}");
    assert_eq!(model.set_constraint(Constrain::Labels, &[]).unwrap_err().exit_code(), 2);
}
