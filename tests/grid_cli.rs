//! A grid over the run store: arms are trained and asked once, kept with every answer, and compared.
use dxlab::run::Store;
use dxlab::study::GridConfig;
use std::path::Path;
use std::process::{Command, Output};

const BASE: &str = r#"
name = "base"
validation = 0.01
cases = 16
[adapter]
r = 2
alpha = 4
layers = [5]
[training]
seed = 0
epochs = 1
batch_tokens = 800
eval_every = 9
schedule = { lr = 1e-3 }
"#;

const GRID: &str = r#"
base = "base.toml"
seeds = [1, 2]
[[axes]]
name = "rank"
question = "How many ranks?"
arms = [{ name = "two" }, { name = "four", set = { "adapter.r" = 4 } }]
[[axes]]
name = "showing"
question = "As written?"
arms = [{ name = "two" }, { name = "shuffled", set = { "showing.shuffled" = true, "showing.normalised" = true } }]
"#;

const BASELINES: &str = r#"
[[axes]]
name = "words"
curve = true
question = "Does a bag of words know it?"
arms = [
  { name = "words", baseline = "most-frequent" },
  { name = "words-8", baseline = "most-frequent", set = { cases = 8 } },
  { name = "words-shown", baseline = "most-frequent", shown = true, set = { "showing.shuffled" = true } },
]
"#;

/// A project's folder with the models and prompts of this one and six of its cases.
fn project() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::fs::create_dir_all(dir.path().join("findings")).unwrap();
    std::os::unix::fs::symlink(home.join("data"), dir.path().join("data")).unwrap();
    for (split, most) in [("train", 24), ("test", 6)] {
        let text = std::fs::read_to_string(home.join(format!("data/findings/{split}.jsonl"))).unwrap();
        let few: String = text.lines().take(most).map(|line| format!("{line}\n")).collect();
        std::fs::write(dir.path().join(format!("findings/{split}.jsonl")), few).unwrap();
    }
    std::fs::write(dir.path().join("base.toml"), BASE).unwrap();
    std::fs::write(dir.path().join("grid.toml"), GRID).unwrap();
    dir
}

fn grid(project: &Path, more: &[&str]) -> Output {
    dxlab(project, &[&["grid", "grid.toml"], more].concat())
}

fn dxlab(project: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dxlab"));
    command.args(args).current_dir(project);
    command.env("DXLAB_HOME", project).env("DXLAB_FINDINGS", project.join("findings")).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn every_arm_is_run_once_and_its_answers_are_kept() {
    let dir = project();
    let shown = grid(dir.path(), &["--show"]);
    assert!(shown.status.success() && text(&shown.stdout).contains("not run: two, four, shuffled"), "{shown:?}");
    let first = grid(dir.path(), &["--only", "two"]);
    assert!(first.status.success(), "{}", text(&first.stderr));
    let all = grid(dir.path(), &[]);
    let said = text(&all.stdout);
    assert!(said.contains("arm four (1 of 2") && !said.contains("arm two"), "{said}{}", text(&all.stderr));
    assert!(said.contains("How many ranks? 2 seeds, 6 test cases") && said.contains("shuffled"), "{said}");
    in_the_workbook(dir.path());
    // seeds' own runs may go: the arm keeps what its numbers come from
    let before = grid(dir.path(), &["--show"]);
    for entry in std::fs::read_dir(dir.path().join("runs")).unwrap().flatten() {
        if !entry.file_name().to_string_lossy().starts_with("arm-") {
            std::fs::remove_dir_all(entry.path()).unwrap();
        }
    }
    let after = grid(dir.path(), &["--show"]);
    assert_eq!(text(&before.stdout), text(&after.stdout));
    assert!(text(&after.stdout).contains("3 of 3 arms were run, each with seeds 1, 2"), "{after:?}");
    let said =
        "not corrected; p is corrected (Holm) over the 2 comparisons of the grid, 2000 resamples of cases and seeds";
    assert!(text(&after.stdout).contains(said), "{after:?}");
    let drawn = grid(dir.path(), &["--show", "--figure", "differences.svg"]);
    assert!(drawn.status.success(), "{drawn:?}");
    let figure = std::fs::read_to_string(dir.path().join("differences.svg")).unwrap();
    assert!(figure.contains("→ four") && figure.contains("→ shuffled") && figure.contains("2 seeds"), "{figure}");
}

/// Two sheets of the workbook hold every arm's scores and every answer.
fn in_the_workbook(project: &Path) {
    use calamine::{Data, Reader, Xlsx, open_workbook};
    let runs = std::fs::read_dir(project.join("runs")).unwrap().flatten();
    let asked = runs.map(|run| run.path().join("preds.jsonl")).find(|preds| preds.is_file()).unwrap();
    let made = dxlab(project, &["workbook", asked.to_str().unwrap(), "--grid", "grid.toml", "--resamples", "100"]);
    assert!(made.status.success() && text(&made.stdout).contains("1 sheets of answers, 3 arms"), "{made:?}");
    let mut book: Xlsx<_> = open_workbook(project.join("results.xlsx")).unwrap();
    let mut rows = |sheet: &str| -> Vec<Vec<String>> {
        let cells = book.worksheet_range(sheet).unwrap();
        cells.rows().map(|row| row.iter().map(Data::to_string).collect()).collect()
    };
    let scores = rows("arms");
    assert_eq!(scores[0], ["arm", "differs in", "metric", "each seed", "run", "mean", "low", "high", "n"]);
    let four: Vec<&Vec<String>> = scores.iter().filter(|row| row[0] == "four" && row[2] == "micro_f1").collect();
    assert!(four.len() == 1 && four[0][1] == "r 4" && four[0][8] == "6", "{four:?}");
    assert!(four[0][4].starts_with("arm-four-") && project.join("runs").join(&four[0][4]).is_dir(), "{four:?}");
    let compared = rows("comparisons");
    let arms: Vec<&str> =
        compared.iter().filter(|row| row[3] == "arms of the grid").map(|row| row[1].as_str()).collect();
    assert_eq!(arms, ["four", "shuffled"]);
    let answers = rows("answers of arms");
    assert_eq!(answers.len(), 1 + 3 * 2 * 6, "arms, seeds, cases");
    let written = std::fs::read_to_string(project.join("findings/test.jsonl")).unwrap();
    let first: serde_json::Value = serde_json::from_str(written.lines().next().unwrap()).unwrap();
    assert_eq!(answers[1][..2], ["two".to_string(), first["case_id"].as_str().unwrap().to_string()]);
    // an arm's name leads to the first of its answers: after the header, two seeds of six cases of the arm before
    let at = scores.iter().position(|row| row[0] == "four").unwrap() as u32;
    let mut book: Xlsx<_> = open_workbook(project.join("results.xlsx")).unwrap();
    let links = book.hyperlinks_by_sheet_name("arms").unwrap();
    let to = links.into_iter().find(|link| link.range.start == (at, 0)).and_then(|link| link.location).unwrap();
    assert_eq!((to.as_str(), answers[13][0].as_str()), ("'answers of arms'!A14", "four"));
}

#[test]
fn a_grid_runs_seed_by_seed_and_keeps_what_each_gave() {
    let dir = project();
    let one = grid(dir.path(), &["--only", "two,four", "--seeds", "2"]);
    let said = text(&one.stdout);
    assert!(
        one.status.success() && said.contains("How many ranks? 1 seed, 6 test cases"),
        "{said}{}",
        text(&one.stderr)
    );
    assert!(said.contains("; four only with seed 2; two only with seed 2"), "{said}");
    let answers_of = |seed: &str| -> Vec<String> {
        let arms = std::fs::read_dir(dir.path().join("runs")).unwrap().flatten().map(|arm| arm.path());
        let fours = arms.filter(|arm| arm.file_name().unwrap().to_string_lossy().starts_with("arm-four-"));
        let lines = fours.map(|arm| std::fs::read_to_string(arm.join("answers.jsonl")).unwrap());
        lines.flat_map(|text| text.lines().map(String::from).collect::<Vec<_>>()).filter(|l| l.contains(seed)).collect()
    };
    let before = answers_of(r#""seed":2"#);
    assert_eq!((before.len(), answers_of(r#""seed":1"#).len()), (6, 0));
    // the seed's own run goes: a run of more seeds takes its answers from the arm
    for entry in std::fs::read_dir(dir.path().join("runs")).unwrap().flatten() {
        if !entry.file_name().to_string_lossy().starts_with("arm-") {
            std::fs::remove_dir_all(entry.path()).unwrap();
        }
    }
    let both = grid(dir.path(), &["--only", "four"]);
    let said = text(&both.stdout);
    assert!(both.status.success() && said.contains("How many ranks? 1 to 2 seeds"), "{said}{}", text(&both.stderr));
    let after = answers_of(r#""seed":2"#);
    assert!(after.len() == 12 && after[..6] == after[6..] && after[0] == before[0], "{after:?}");
    let trained = std::fs::read_dir(dir.path().join("runs")).unwrap().flatten();
    let trained: Vec<String> = trained.map(|run| run.file_name().to_string_lossy().into_owned()).collect();
    assert!(!trained.iter().any(|run| run.starts_with("train-four-s2-")), "trained anew: {trained:?}");
    let stranger = grid(dir.path(), &["--seeds", "3"]);
    assert!(text(&stranger.stderr).contains("grid.toml: no seed 3: `seeds` has 1, 2"), "{stranger:?}");
}

#[test]
fn a_baseline_is_fitted_on_the_cases_that_a_model_would_see() {
    let dir = project();
    std::fs::write(dir.path().join("grid.toml"), format!("{GRID}{BASELINES}")).unwrap();
    let run = grid(dir.path(), &["--only", "words,words-8,words-shown"]);
    assert!(run.status.success(), "{}", text(&run.stderr));
    let arms = std::fs::read_dir(dir.path().join("runs")).unwrap().flatten();
    let mut cases: Vec<u64> = Vec::new();
    for arm in arms.filter(|entry| entry.file_name().to_string_lossy().starts_with("arm-words")) {
        let took = std::fs::read_to_string(arm.path().join("training.json")).unwrap();
        let took: serde_json::Value = serde_json::from_str(&took).unwrap();
        cases.extend(took.as_array().unwrap().iter().map(|seed| seed["cases"].as_u64().unwrap()));
        let answers = std::fs::read_to_string(arm.path().join("answers.jsonl")).unwrap();
        assert_eq!(answers.lines().count(), 2 * 6);
        assert!(answers.lines().all(|line| line.contains(r#""labels":["#)), "labels as given, not read from an answer");
    }
    cases.sort_unstable();
    assert_eq!(cases, [8, 8, 16, 16, 16, 16]); // the base draws 16 of its 24
    let none = grid(dir.path(), &["--show", "--figure", "none.svg"]);
    assert!(none.status.success(), "{none:?}");
    let figure = std::fs::read_to_string(dir.path().join("none.svg")).unwrap();
    assert!(figure.contains("dxlab grid"), "a curve is not tested, so nothing is drawn but how to run arms: {figure}");
}

#[test]
fn what_is_wrong_with_a_grid_is_said_before_anything_runs() {
    let dir = project();
    let stranger = grid(dir.path(), &["--only", "six"]);
    assert_eq!(stranger.status.code(), Some(2));
    assert!(text(&stranger.stderr).contains("no arm `six`: there are two, four, shuffled"), "{stranger:?}");
    std::fs::write(dir.path().join("grid.toml"), GRID.replace("adapter.r", "adapter.rank")).unwrap();
    let wrong = grid(dir.path(), &[]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("grid.toml: arm `four`: no training config"), "{wrong:?}");
    assert!(!dir.path().join("runs").exists());
}

#[test]
fn the_committed_grid_can_be_read_and_every_arm_is_a_training_config() {
    let config = GridConfig::named("grid").unwrap();
    let arms = config.arms().unwrap();
    assert!(arms.len() > 20 && config.seeds.len() == 3);
    for arm in &arms {
        arm.config.training.check().unwrap();
        arm.config.augmentation.check().unwrap();
        arm.config.adapter.adapter("embedded").unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let found = config.found(&Store::open(Some(folder.path()))).unwrap();
    assert!(found.best("micro_f1").unwrap().is_none());
}
