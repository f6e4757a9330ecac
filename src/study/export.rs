//! What a config trains on as conversations in a file, for trainers on other machines: TRL, Axolotl, LLaMA-Factory and Unsloth read
//! `{"messages": […]}`. Prompt, augmentation, validation part and the leak gate are those of `dxlab train`.
use super::config::TrainConfig;
use super::leak::training_leaks;
use crate::error::{Error, Result};
use crate::prompt::{Message, Prompt, Role};
use crate::task::{AnyTask, TrainingText, TrainingTexts};
use std::path::Path;

/// One line of `train.jsonl` or `validation.jsonl`.
#[derive(serde::Serialize)]
struct Line {
    messages: Vec<Message>,
    case_id: String,
    /// Counted from 0; the trainer reads the file once, as augmentation differs from epoch to epoch.
    epoch: usize,
}

/// How many conversations were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exported {
    pub train: usize,
    pub validation: usize,
}

/// Writes `train.jsonl` (all epochs, one after the other, in the order of the cases) and `validation.jsonl` into a folder that is empty or
/// new. Fails for a leak that the config does not allow.
pub fn export(config: &TrainConfig, task: &dyn AnyTask, folder: &Path) -> Result<Exported> {
    if std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Error::input(format!("{}: the folder is not empty: give another, or empty it", folder.display())));
    }
    training_leaks(config, task)?.refuse()?;
    let prompt = Prompt::named(&config.prompt, task.context())?;
    let TrainingTexts { train, times, valid } =
        task.training(&config.split(), &config.augmentation, config.training.epochs)?;
    let line = |text: &TrainingText, epoch: usize| {
        let mut messages = prompt.messages(&text.case);
        messages.push(Message::new(Role::Assistant, text.answer.as_str()));
        Line { messages, case_id: text.case.case_id.clone(), epoch }
    };
    let repeated = times.iter().enumerate().flat_map(|(epoch, times)| {
        let of = |(text, &n): (&TrainingText, &u32)| (0..n).map(|_| line(text, epoch)).collect::<Vec<_>>();
        train.iter().zip(times).flat_map(of).collect::<Vec<_>>()
    });
    let train: Vec<Line> = repeated.collect();
    let valid: Vec<Line> = valid.iter().map(|text| line(text, 0)).collect();
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    write(&folder.join("train.jsonl"), &train)?;
    write(&folder.join("validation.jsonl"), &valid)?;
    Ok(Exported { train: train.len(), validation: valid.len() })
}

fn write(path: &Path, lines: &[Line]) -> Result<()> {
    let mut text = String::new();
    for line in lines {
        text += &serde_json::to_string(line).map_err(|e| Error::failed(format!("{}: {e}", path.display())))?;
        text.push('\n');
    }
    crate::io::write(path, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task;
    use serde_json::Value;

    #[test]
    fn every_line_is_a_question_and_the_answer_that_training_teaches() {
        let config = TrainConfig::named("smollm2-lora").unwrap();
        let task = task::open("findings").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("new");
        let made = export(&config, &*task, &out).unwrap();
        let texts = task.training(&config.split(), &config.augmentation, config.training.epochs).unwrap();
        let shown: u32 = texts.times.iter().flatten().sum();
        assert_eq!((made.train, made.validation), (shown as usize, texts.valid.len()));
        let lines: Vec<Value> = std::fs::read_to_string(out.join("train.jsonl"))
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let first = lines[0]["messages"].as_array().unwrap();
        assert_eq!(first.last().unwrap()["role"], "assistant");
        let roles = |wanted: &str| {
            lines.iter().all(|line| line["messages"].as_array().unwrap().iter().any(|m| m["role"] == wanted))
        };
        assert!(roles("user") && roles("assistant"));
        let test = task.test();
        let leaks = |line: &Value| {
            test.iter()
                .any(|case| line["messages"].to_string().contains(&Value::from(case.case.input.as_str()).to_string()))
        };
        assert!(!lines.iter().take(200).any(leaks), "no test case is among them");
        assert!(export(&config, &*task, &out).unwrap_err().to_string().contains("not empty"));
    }
}
