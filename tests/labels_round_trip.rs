//! Gold and answers are read alike: a model that answers the target text, or the cell of the file, word for word scores 1.0 on every file
//! that `dxlab data check` lets through. Files are drawn from seeds, so a failure names what repeats it.
use dxlab::metric::Reading;
use dxlab::run::Prediction;
use dxlab::task::{self, LabelTask, Task};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeSet;
use std::path::Path;

/// Names that nothing is wrong with.
const PLAIN: [&str; 12] = [
    "renal cyst",
    "Gallstone",
    "inguinal hernia",
    "colorectal cancer (possible)",
    "ascites",
    "non-obstructive kidney stone",
    "No acute abnormality",
    "Crohn's disease",
    "type 2 diabetes",
    "œdème",
    "hernia (left)",
    "nausea and vomiting",
];

/// Names that stand in people's files, each of which a reader may take for something else.
const ODD: [&str; 40] = [
    "renal cyst (left, simple)",
    "neoplasm, malignant, of colon",
    "hydronephrosis, left",
    "left",
    "cyst; simple",
    "None",
    "n/a",
    "no disease",
    "no ascites",
    "cyst \"simple\"",
    "\"quoted\"",
    "'quoted'",
    "[C18.9]",
    "cancer [C18, C19]",
    "{x}",
    "hernia (left",
    "hernia left)",
    "renal cyst / gallstone",
    "two\nlines",
    "tab\there",
    "kidney\u{2011}stone",
    "zero\u{200b}width",
    "e\u{301}panchement",
    "ｆｕｌｌ width",
    "no\u{a0}break",
    "42",
    "4.5 cm",
    "1. cyst",
    "- cyst",
    "* cyst",
    "cyst.",
    "Diagnosis: cyst",
    "explanation of pain",
    "<think>",
    "```",
    "and stone",
    "cyst and stone",
    "(possible)",
    "mild circumferential thickening of the distal oesophagus with a small sliding hiatal hernia and without any evidence of obstruction or \
     of contrast",
    "腎嚢胞、胆石",
];

struct Written {
    /// Labels of each case.
    gold: Vec<Vec<String>>,
    ending: &'static str,
    separator: &'static str,
}

fn draw(rng: &mut ChaCha8Rng) -> Written {
    let odd = [0.0, 0.0, 0.15, 0.5][rng.random_range(0..4)];
    let pool: Vec<&str> = (0..rng.random_range(2..7))
        .map(|_| match rng.random_bool(odd) {
            true => ODD[rng.random_range(0..ODD.len())],
            false => PLAIN[rng.random_range(0..PLAIN.len())],
        })
        .collect();
    let case = |rng: &mut ChaCha8Rng| -> Vec<String> {
        let n = rng.random_range(1..4);
        let drawn: BTreeSet<&str> = (0..n).map(|_| pool[rng.random_range(0..pool.len())]).collect();
        drawn.into_iter().map(String::from).collect()
    };
    Written {
        gold: (0..rng.random_range(4..12)).map(|_| case(rng)).collect(),
        ending: ["csv", "xlsx", "json", "jsonl", "list.jsonl"][rng.random_range(0..5)],
        separator: [", ", ", ", "; ", "\n", ",\n", " , ", "、"][rng.random_range(0..7)],
    }
}

fn write(path: &Path, file: &Written) {
    let rows = file.gold.iter().enumerate().map(|(i, labels)| {
        let cell = labels.join(file.separator);
        (format!("c{i}"), format!("Report {i} of a file."), cell, labels, if i % 2 == 0 { "train" } else { "test" })
    });
    let object = |(id, text, cell, labels, split): (String, String, String, &Vec<String>, &str)| {
        let gold = if file.ending == "list.jsonl" { serde_json::json!(labels) } else { serde_json::json!(cell) };
        serde_json::json!({"case_id": id, "input_finding": text, "output_disease": gold, "split": split})
    };
    let text = match file.ending {
        "csv" => {
            let quote = |cell: &str| format!("\"{}\"", cell.replace('"', "\"\""));
            let row = |(id, text, cell, _, split): (String, String, String, _, &str)| {
                format!("{id},{text},{},{split}\n", quote(&cell))
            };
            format!("case_id,input_finding,output_disease,split\n{}", rows.map(row).collect::<String>())
        }
        "json" => serde_json::Value::Array(rows.map(object).collect()).to_string(),
        "xlsx" => {
            let mut book = rust_xlsxwriter::Workbook::new();
            let sheet = book.add_worksheet();
            for (c, name) in ["case_id", "input_finding", "output_disease", "split"].into_iter().enumerate() {
                sheet.write(0, c as u16, name).unwrap();
            }
            for (r, (id, text, cell, _, split)) in rows.enumerate() {
                for (c, value) in [id.as_str(), text.as_str(), cell.as_str(), split].into_iter().enumerate() {
                    sheet.write_string(r as u32 + 1, c as u16, value).unwrap();
                }
            }
            book.save(path).unwrap();
            return;
        }
        _ => rows.map(object).map(|row| format!("{row}\n")).collect(),
    };
    std::fs::write(path, text).unwrap();
}

#[test]
fn who_answers_the_gold_text_word_for_word_scores_one_on_every_file_that_the_check_lets_through() {
    let folder = tempfile::tempdir().unwrap();
    let (mut passed, mut odd) = (0, 0);
    for seed in 0..600 {
        let file = draw(&mut ChaCha8Rng::seed_from_u64(seed));
        let path = folder.path().join(format!("f{seed}.{}", file.ending));
        write(&path, &file);
        let Ok(report) = task::check(&path) else { continue };
        if !report.problems.is_empty() {
            continue;
        }
        passed += 1;
        odd += usize::from(file.gold.iter().flatten().any(|label| ODD.contains(&label.as_str())));
        let task = LabelTask::open(&path.display().to_string()).unwrap();
        let cases: Vec<_> = task.corpus.train.iter().chain(&task.corpus.test).collect();
        assert_eq!(cases.len(), file.gold.len(), "seed {seed}");
        // cases are told apart by number: training has the even ones
        let cell = |id: &str| file.gold[id[1..].parse::<usize>().unwrap()].join(file.separator);
        let joined = |id: &str| file.gold[id[1..].parse::<usize>().unwrap()].join(", ");
        let text = |id: &str| if file.ending == "list.jsonl" { joined(id) } else { cell(id) };
        for what in ["target", "cell"] {
            let answer = |case: &&dxlab::corpus::Finding| {
                let raw = if what == "target" { task.target(&case.gold) } else { text(&case.case_id) };
                let read = task.parse(&raw, &case.case);
                Prediction { parsed: read.parsed, ..Prediction::of(*case, read.answer, &raw) }
            };
            let answers: Vec<Prediction> = cases.iter().map(answer).collect();
            for reading in [Reading::Normalised, Reading::Raw] {
                for one in task.outcomes(&answers, reading) {
                    assert!(
                        one.parsed && one.gold == one.predicted,
                        "seed {seed}, {what}, {reading:?}: {one:?}\n{report}"
                    );
                }
                let table = task.score(&[&answers], reading).pop().unwrap();
                let f1 = table.columns[0].1.plain();
                assert!(f1.is_none() || f1 == Some(1.0), "seed {seed}, {what}, {reading:?}: {f1:?}");
            }
        }
    }
    assert!(passed > 150 && odd > 15, "of 600 files {passed} passed, {odd} of them with odd labels");
    println!("of 600 files {passed} passed the check, {odd} of them with odd labels");
}
