//! The border between tasks and everything else: a task of another kind (how many millimetres does the finding state? answered by a number,
//! judged by the absolute error) trains, predicts, is compared in a grid and gets a workbook sheet, and all that it needs stands in this
//! file.
use dxlab::corpus::{Case, Corpus, Example};
use dxlab::metric::{Bootstrap, MetricInfo, Reading, ScoreTable, Statistic};
use dxlab::prompt::PromptContext;
use dxlab::report::{Answers, Contents, write_workbook};
use dxlab::run::{Prediction, Run, Store};
use dxlab::study::{GridConfig, PredictConfig, Results, TrainConfig, evaluate};
use dxlab::task::{AnyTask, Cell, Column, Combined, Parsed, Task};
use std::path::Path;
use std::sync::Arc;

/// Synthetic: a size in a sentence.
#[derive(Clone)]
struct Sizes {
    corpus: Corpus<f64>,
    context: PromptContext,
}

impl Sizes {
    fn new() -> Self {
        let example = |i: usize| {
            let size = 3 + (7 * i) % 20;
            Example::new(format!("s{i}"), format!("p{}", i / 2), format!("A cyst of {size} mm, case {i}."), size as f64)
        };
        let (train, test) = ((0..24).map(example).collect(), (24..32).map(example).collect());
        let corpus = Corpus { name: "sizes in sentences".into(), synthetic: true, train, test };
        let context = PromptContext { target: "size that it states".into(), ..PromptContext::default() };
        Self { corpus, context }
    }
}

/// What an answer without a number counts as: millimetres of error.
const NOTHING_READ: f64 = 50.0;

impl Task for Sizes {
    type Gold = f64;
    type Answer = Option<f64>;

    fn name(&self) -> &str {
        "sizes"
    }

    fn corpus(&self) -> &Corpus<f64> {
        &self.corpus
    }

    fn context(&self) -> &PromptContext {
        &self.context
    }

    fn target(&self, gold: &f64) -> String {
        format!("{gold} mm")
    }

    fn parse(&self, raw: &str, _case: &Case) -> Parsed<Option<f64>> {
        let answer = raw.split_whitespace().find_map(|word| word.parse::<f64>().ok().filter(|n| n.is_finite()));
        Parsed { answer, parsed: answer.is_some() }
    }

    fn combine(&self, samples: &[Parsed<Option<f64>>], _threshold: f64) -> Combined<Option<f64>> {
        let mut read: Vec<f64> = samples.iter().filter_map(|one| one.answer).collect();
        read.sort_by(f64::total_cmp);
        let answer = read.get(read.len() / 2).copied();
        let raw = answer.map(|size| self.target(&size)).unwrap_or_default();
        Combined { answer, raw, parsed: answer.is_some(), shares: Default::default() }
    }

    fn score(&self, sets: &[&[Prediction<Option<f64>, f64>]], _reading: Reading) -> Vec<ScoreTable> {
        let error = |p: &Prediction<Option<f64>, f64>| p.answer.map_or(NOTHING_READ, |answer| (answer - p.gold).abs());
        let table = |set: &&[Prediction<Option<f64>, f64>]| {
            let errors = Statistic::Count(set.iter().map(error).collect());
            let exact = Statistic::Ratio(set.iter().map(|p| (f64::from(error(p) == 0.0), 1.0)).collect());
            let smaller = MetricInfo { smaller_is_better: true, ..MetricInfo::new("absolute_error") };
            let counted = MetricInfo { counts_cases: true, ..MetricInfo::new("exact") };
            ScoreTable {
                ids: set.iter().map(|p| p.case_id.clone()).collect(),
                groups: set.iter().map(|p| p.group.clone()).collect(),
                gold: set.iter().map(|p| p.gold.to_string()).collect(),
                columns: vec![(smaller, errors), (counted, exact)],
                space: 0,
            }
        };
        sets.iter().map(table).collect()
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column { title: "millimetres", width: 12.0 }]
    }

    fn cells(&self, prediction: &Prediction<Option<f64>, f64>) -> Vec<Cell> {
        vec![Cell::Number(prediction.answer)]
    }
}

fn config(folder: &Path) -> TrainConfig {
    let text = r#"
name = "sizes"
model = "embedded-small"
prompt = "ask"
validation = 0.3
[adapter]
r = 2
alpha = 4
layers = [5]
[training]
seed = 1
epochs = 1
batch_tokens = 800
eval_every = 9
schedule = { lr = 1e-3 }
"#;
    let path = folder.join("sizes.toml");
    std::fs::write(&path, text).unwrap();
    TrainConfig::read(&path).unwrap()
}

#[test]
fn a_number_is_trained_predicted_and_scored() {
    let (folder, task) = (tempfile::tempdir().unwrap(), Sizes::new());
    let (config, store) = (config(folder.path()), Store::open(Some(&folder.path().join("runs"))));
    let trained = Run::train_on(&store, &config, &task, false).unwrap();
    assert_eq!(trained.spec.spec["task"], "sizes");
    let question = PredictConfig { max_new: 8, ..PredictConfig::tuned(&trained, &config) };
    let asked = Run::predict_on(&store, &question, &task).unwrap();
    let answers = asked.answers(&task).unwrap();
    assert_eq!((answers.len(), answers[0].task.as_str(), answers[0].run == asked.folder()), (8, "sizes@1", true));
    let found = evaluate(&task, &answers, &Bootstrap::default()).unwrap();
    let error = found.get(Reading::Raw, "absolute_error").unwrap();
    assert!(error.low <= error.value && error.value <= error.high && found.groups == 4, "{error:?}");
    let results = Results::of(task, &[("tuned", &asked), ("again", &asked)]).unwrap();
    let none = results.compare(&[("tuned", "again")], "absolute_error").unwrap().remove(0);
    assert!(none.difference.unwrap().nothing_differs());
}

#[test]
fn a_grid_compares_it_and_a_workbook_shows_it() {
    let (folder, task) = (tempfile::tempdir().unwrap(), Arc::new(Sizes::new()));
    config(folder.path());
    let grid: GridConfig = toml::from_str(&format!(
        "base = \"{}\"\nseeds = [1, 2]\n[[axes]]\nname = \"rank\"\nquestion = \"How many ranks?\"\n\
         arms = [{{ name = \"two\" }}, {{ name = \"three\", set = {{ \"adapter.r\" = 3 }} }}]\n",
        folder.path().join("sizes.toml").display()
    ))
    .unwrap();
    let store = Store::open(Some(&folder.path().join("runs")));
    for arm in grid.arms().unwrap() {
        arm.open_or_run(&store, &*task).unwrap();
    }
    let found = grid.found_on(&store, task.clone()).unwrap();
    let rows = found.comparisons("absolute_error").unwrap();
    assert!(rows.len() == 1 && rows[0].difference.as_ref().unwrap().n == 8, "{rows:?}");
    let answers = found.answers("two").unwrap()[0].clone();
    let evaluation = evaluate(&*task, &answers, &Bootstrap::default()).unwrap();
    let sheet = Answers {
        name: "two".into(),
        task: &*task,
        predictions: &answers,
        evaluation: &evaluation,
        run: String::new(),
        synthetic: Some(true),
        failures: vec![],
        settings: vec![],
    };
    let path = folder.path().join("sizes.xlsx");
    write_workbook(&path, &Contents { answers: &[sheet], comparisons: &rows, grid: Some(&found) }).unwrap();
    let mut book: calamine::Xlsx<_> = calamine::open_workbook(&path).unwrap();
    let range = calamine::Reader::worksheet_range(&mut book, "two").unwrap();
    let header: Vec<String> = range.rows().next().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(header[..5], ["case id", "input (synthetic)", "gold", "raw answer", "millimetres"]);
    assert_eq!(range.rows().nth(1).unwrap()[2].to_string(), answers[0].gold.as_f64().unwrap().to_string() + " mm");
}

#[test]
fn reward_vote_and_refusals_follow_from_the_task() {
    let task = Sizes::new();
    let one = &task.corpus.test[0];
    assert_eq!(
        (Task::reward(&task, one, &task.target(&one.gold)), Task::reward(&task, one, "none")),
        (0.0, NOTHING_READ)
    );
    let any: &dyn AnyTask = &task;
    assert_eq!(any.combine(&["3 mm", "", "5 mm", "9 mm"], &one.case, 0.5).raw, "5 mm");
    assert_eq!(any.main_metric().unwrap(), "absolute_error");
    let mut stranger = any.test().into_iter().map(|one| Prediction::of(&one, serde_json::json!("x"), "x"));
    let error = any.score(&[&[stranger.next().unwrap()]], Reading::Raw).unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("not an answer of task `sizes`"), "{error}");
    let recombined = TrainConfig::named("lora-plain").unwrap();
    let refused = any.training(&recombined.split(), &recombined.augmentation, 1).unwrap_err();
    assert!(refused.to_string().contains("`sizes` has no augmentation"), "{refused}");
}
