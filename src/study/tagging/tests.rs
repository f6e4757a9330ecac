//! A classifier that starts at random, on made-up notes in the words of a tiny tokenizer.
use super::*;
use crate::corpus::decisions::Category::{self, DefineProblem, EvaluateResult};
use crate::metric::Reading;
use crate::model::encoder::{BertSizes, Marked};
use crate::study::{Results, TrainConfig};
use crate::train::{AdamW, Moments, Schedule, TaggerConfig, VALIDATION, fit_tagger, read_log, read_validation};

/// Marks of a note: the text of a span, which must stand in it once, and its category.
type Marks = [(&'static str, Category)];

fn note(id: &str, text: &str, marks: &Marks) -> Note {
    let span = |(words, category): &(&str, Category)| {
        assert_eq!(text.matches(words).count(), 1, "{words}");
        let start = text[..text.find(words).unwrap()].chars().count();
        Span::new(start, start + words.chars().count(), *category)
    };
    Note::new(id, id.split('_').next().unwrap(), text, marks.iter().map(span).collect())
}

fn train_notes() -> [Note; 3] {
    let [p, r] = [DefineProblem, EvaluateResult];
    [
        note(
            "1_1_1",
            "the renal cyst is simple and the liver is normal . fever of 14 mm",
            &[("renal cyst", p), ("liver is normal", r), ("fever", p)],
        ),
        note(
            "2_2_2",
            "é the left kidney is normal ; a renal cyst in the liver . naïve fever",
            &[("left kidney is normal", r), ("renal cyst", p), ("fever", p)],
        ),
        note(
            "3_3_3",
            "fever and a renal cyst ; the liver is normal . the segment",
            &[("fever", p), ("renal cyst", p), ("liver is normal", r)],
        ),
    ]
}

/// The training notes, going on.
fn valid_notes() -> [Note; 3] {
    let mut ids = ["4_4_4", "5_5_5", "7_7_7"].into_iter();
    train_notes().map(|note| {
        let id = ids.next().unwrap();
        Note::new(id, id.split('_').next().unwrap(), format!("{} , in a segment", note.input), note.gold)
    })
}

/// Two spans cross.
fn test_note() -> Note {
    let marks = [
        ("fever", DefineProblem),
        ("cyst of the left kidney", DefineProblem),
        ("left kidney is normal", EvaluateResult),
    ];
    note("6_6_6", "“é” fever , a cyst of the left kidney is normal and simple", &marks)
}

/// A folder of notes as JSONL.
fn corpus(dir: &Path, parts: &[(&str, &[Note])]) -> String {
    for (part, notes) in parts {
        let line = |note: &Note| {
            let row = serde_json::json!({"file_name": note.case_id, "text": note.input, "annotations": note.gold});
            format!("{row}\n")
        };
        let lines: String = notes.iter().map(line).collect();
        std::fs::write(dir.join(format!("{part}.jsonl")), lines).unwrap();
    }
    std::fs::write(dir.join("README.md"), "# Synthetic notes\n").unwrap();
    dir.to_str().unwrap().to_string()
}

fn all_parts(dir: &Path) -> String {
    corpus(dir, &[("train", &train_notes()), ("validation", &valid_notes()), ("test", &[test_note()])])
}

fn golden(folder: &str) -> String {
    crate::model::golden::path(folder).to_str().unwrap().to_string()
}

fn config(corpus: String, epochs: usize) -> EncoderTrainConfig {
    let sizes = BertSizes {
        hidden_size: 24,
        intermediate_size: 32,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        max_position_embeddings: 24,
    };
    EncoderTrainConfig {
        name: "tiny".into(),
        encoder: golden("encoder/embedder"),
        corpus,
        cases: None,
        left_out: 0.0,
        marked: Marked::Words,
        window: 20,
        overlap: 4,
        random_start: Some(sizes),
        training: TaggerConfig {
            seed: 3,
            epochs,
            batch: 3,
            batch_tokens: 30,
            class_weight_power: 0.25,
            schedule: Schedule { lr: 1e-2, warmup: 0.1, floor: 0.1 },
            adamw: AdamW::default(),
            ..TaggerConfig::default()
        },
    }
}

#[test]
fn three_notes_are_learnt_by_heart() {
    let folder = tempfile::tempdir().unwrap();
    for marked in [Marked::Words, Marked::Tokens] {
        // windows of 12 tokens cut every note
        let config = EncoderTrainConfig { marked, window: 12, ..config(all_parts(folder.path()), 120) };
        let (model, parameters) = config.start().unwrap();
        let windows = windows(&model, &train_notes()).unwrap();
        assert_eq!(windows.len(), 6);
        fit_tagger(&model, &parameters, &windows, &config.training, &mut Moments::default(), &mut |_, _| Ok(()))
            .unwrap();
        assert_eq!(exact_f1(&model.detached().unwrap(), &train_notes()).unwrap(), 1.0, "{marked:?}");
    }
}

#[test]
fn the_best_epoch_stays_and_its_predictions_are_read_like_those_of_any_model() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(all_parts(folder.path()), 120);
    let store = Store::open(Some(&folder.path().join("runs")));
    let trained = Run::train_encoder_in(&store, &config, true).unwrap();
    let classifier = config.reading(TokenClassifier::open(&trained.path(MODEL)).unwrap()).unwrap();
    let reached = exact_f1(&classifier, &valid_notes()).unwrap();
    let scores = read_validation(&trained.path(VALIDATION)).unwrap();
    let log = read_log(&trained.path("log.jsonl")).unwrap();
    assert_eq!((scores.len(), log.len()), (120, scores[119].step));
    let best = scores.iter().map(|one| one.score).fold(0.0, f64::max);
    assert!(scores[0].score < best && best > 0.7 && (best - reached).abs() < 1e-6, "{scores:?}, {reached}");
    for gone in ["state", "best.safetensors"] {
        assert!(!trained.path(gone).exists(), "{gone}");
    }
    assert!(std::fs::read_to_string(trained.path(CARD)).unwrap().contains(&format!("validation notes: {reached:.4}")));
    assert_eq!(EncoderTrainConfig::read(&trained.path("config.toml")).unwrap(), config);
    assert_eq!(EncoderTrainConfig::of(&trained).unwrap(), config);

    let (run, task) = Run::open_or_mark(&store, &trained, MarkedNotes::Validation).unwrap();
    assert_eq!(run.spec.name, "tiny-validation");
    let results = Results::in_store(&store, task).unwrap();
    let model = results.get("tiny-validation").unwrap();
    assert_eq!(model.evaluation.get(Reading::Raw, "exact_f1").unwrap().value, reached);
    assert_eq!(model.evaluation.get(Reading::Raw, "copied").unwrap().value, 1.0);
    for (prediction, note) in model.predictions.iter().zip(valid_notes()) {
        assert_eq!(crate::task::decisions::untag(&prediction.raw, &note.input).spans, prediction.answer);
        assert!(prediction.seconds > 0.0 && prediction.prompt_tokens > 14 && prediction.new_tokens == 0);
        assert!(prediction.model.starts_with("tiny@") && prediction.prompt.is_empty());
    }

    let (run, task) = Run::open_or_mark(&store, &trained, MarkedNotes::Test).unwrap();
    let ceiling: Ceiling = io::read_json(&run.path(CEILING)).unwrap();
    assert_eq!(ceiling, Ceiling { notes: 1, spans: 3, lost: 1, moved: 0, exact_f1: 0.8 });
    let gold: Vec<Prediction> = crate::run::read_predictions(&run.path(CEILING_PREDICTIONS)).unwrap();
    assert_eq!(Task::score(&task, &[&gold], Reading::Raw)[0].value("exact_f1").unwrap(), Some(0.8));
    assert_eq!(store.of_kind("train", "tiny").unwrap(), trained);
    assert_eq!(store.of_kind("train", "train-tiny").unwrap(), trained);
    assert_eq!(store.of_kind("train", trained.dir.to_str().unwrap()).unwrap(), trained);
    assert!(store.named("tiny").is_err(), "the predictions of the test notes have the same name");
    assert!(EncoderTrainConfig::of(&run).unwrap_err().to_string().contains("is no training run of an encoder"));

    std::fs::write(folder.path().join("test.jsonl"), "").unwrap();
    let error = Run::open_or_mark(&store, &trained, MarkedNotes::Test).unwrap_err().to_string();
    assert!(error.contains("have changed since it was trained"), "{error}");
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_one_others() {
    let folder = tempfile::tempdir().unwrap();
    let corpus = all_parts(folder.path());
    let bytes = |place: &str, seed: u64| {
        let mut config = config(corpus.clone(), 2);
        config.training.seed = seed;
        let store = Store::open(Some(&folder.path().join(place)));
        let run = Run::train_encoder_in(&store, &config, false).unwrap();
        std::fs::read(run.path(MODEL).join("model.safetensors")).unwrap()
    };
    let first = bytes("a", 3);
    assert!(first == bytes("b", 3));
    assert!(first != bytes("c", 4));
}

#[test]
fn spans_that_nest_or_cross_are_counted_as_lost_and_those_inside_a_word_as_moved() {
    let labels = SpanLabels::open(Path::new(&golden("encoder/embedder")), Marked::Words).unwrap();
    let marks = [
        ("renal cyst of the liver", DefineProblem),
        ("liver", EvaluateResult),
        ("kidney is nor", EvaluateResult),
        ("fever", DefineProblem),
    ];
    let mut one = note("1_1_1", "é renal cyst of the liver ; kidney is normal , fever", &marks);
    one.gold.push(one.gold[3]); // twice the same is one span
    let (read, lost) = labels.written(&one).unwrap();
    let whole = |span: Span| Span { end: span.end + "mal".len(), ..span };
    assert_eq!(read, [one.gold[0], whole(one.gold[2]), one.gold[3]]);
    assert_eq!(lost, [one.gold[1]]);
    let ceiling = labels.ceiling(&[one]).unwrap();
    assert_eq!((ceiling.spans, ceiling.lost, ceiling.moved), (4, 1, 1));
    assert!((ceiling.exact_f1 - 4.0 / 7.0).abs() < 1e-12 && ceiling.to_string().contains("4 spans in 1 notes"));
    assert_eq!(labels.ceiling(&valid_notes()).unwrap().exact_f1, 1.0);
}

#[test]
fn what_cannot_be_trained_is_refused_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let made = all_parts(folder.path());
    let store = Store::open(Some(&folder.path().join("runs")));
    let refused = |change: &dyn Fn(&mut EncoderTrainConfig)| {
        let mut config = config(made.clone(), 1);
        change(&mut config);
        let error = Run::train_encoder_in(&store, &config, false).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
        error.to_string()
    };
    let says = |change: &dyn Fn(&mut EncoderTrainConfig), wanted: &str| {
        let error = refused(change);
        assert!(error.contains(wanted), "{wanted}: {error}");
    };
    says(&|c| c.encoder = "maxilm".into(), "encoder = \"maxilm\": no folder or file `maxilm`");
    let file = format!("{}/config.json", golden("encoder/embedder"));
    says(&|c| c.encoder = file.clone(), "is a file; expected a folder");
    let with_weights = |c: &mut EncoderTrainConfig, folder: String| (c.encoder, c.random_start) = (folder, None);
    says(&|c| with_weights(c, golden("tied")), "tied");
    let empty = tempfile::tempdir().unwrap();
    says(&|c| with_weights(c, empty.path().to_str().unwrap().into()), "config.json");
    let bare = tempfile::tempdir().unwrap();
    for name in ["config.json", "tokenizer.json"] {
        std::fs::copy(Path::new(&golden("encoder/embedder")).join(name), bare.path().join(name)).unwrap();
    }
    says(&|c| with_weights(c, bare.path().to_str().unwrap().into()), "model.safetensors");
    says(&|c| c.corpus = "findings".into(), "corpus = \"findings\": an encoder is trained to mark spans");
    says(
        &|c| c.window = 23,
        "window = 23, overlap = 4: windows of 23 tokens that share 4: expected from 1 to 22 tokens",
    );
    says(&|c| c.overlap = 20, "window = 20, overlap = 20");
    says(&|c| c.cases = Some(0), "cases is 0");
    says(&|c| c.left_out = 1.0, "left_out is 1");
    says(&|c| c.left_out = 0.999_999, "leaves no note of 3");
    says(&|c| c.training.epochs = 0, "training.epochs is 0");
    says(&|c| c.random_start.as_mut().unwrap().num_attention_heads = 5, "[random_start]: key `num_attention_heads`");

    let other = tempfile::tempdir().unwrap();
    let no_validation = corpus(other.path(), &[("train", &train_notes()), ("test", &[test_note()])]);
    says(&|c| c.corpus = no_validation.clone(), "no validation notes");
    let third = tempfile::tempdir().unwrap();
    let mut leaking = valid_notes();
    leaking[0].input = train_notes()[0].input.clone();
    leaking[0].gold.clear();
    let leaking =
        corpus(third.path(), &[("train", &train_notes()), ("validation", &leaking), ("test", &[test_note()])]);
    says(&|c| c.corpus = leaking.clone(), "leak(s) between training, validation and test");
}

#[test]
fn the_committed_configs_are_told_from_those_of_language_models_and_learn_from_the_same_notes() {
    let file = |name: &str| crate::home().join("configs").join(format!("{name}.toml"));
    assert!(!EncoderTrainConfig::is_at(&file("decisions-ce")).unwrap());
    let task = DecisionTask::open("decisions").unwrap();
    let (tagged, _) = TrainConfig::named("decisions-ce").unwrap().split().of(&task.corpus().train).unwrap();
    for name in ["decisions-encoder", "decisions-encoder-small"] {
        assert!(EncoderTrainConfig::is_at(&file(name)).unwrap());
        let config = EncoderTrainConfig::named(name).unwrap();
        config.check().unwrap();
        assert_eq!(config.name, name);
        let (train, valid) = config.notes(&task).unwrap();
        assert_eq!((train.len(), valid.len()), (124, 24));
        assert_eq!(train, tagged, "as the fine-tuned language model");
        let folder = tempfile::tempdir().unwrap();
        refuse_leaks(folder.path(), &train, &valid, &task.corpus().test).unwrap();
        assert!(folder.path().join("leaks.json").is_file());
    }
}
