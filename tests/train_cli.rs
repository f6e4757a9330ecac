//! `dxlab train` as a user meets it: what a run will need, and what a config cannot say.
use std::path::Path;
use std::process::Command;

fn dxlab(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dxlab"));
    let output = command.args(args).current_dir(folder).env_remove("DXLAB_FINDINGS").output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn config(adapter: &str, training: &str) -> String {
    format!(
        "name = \"t\"\ncases = 20\n[adapter]\n{adapter}\n[training]\nseed = 1\nepochs = 1\nbatch_tokens = 600\neval_every = 9\n\
         schedule = {{ lr = 1e-3 }}\n{training}\n"
    )
}

#[test]
fn a_dry_run_counts_the_work_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let text = |method: &str| config(&format!("method = \"{method}\"\nr = 4\nalpha = 8"), "checkpointing = true");
    for (name, method) in [("LoRA", "lora"), ("DoRA", "dora")] {
        std::fs::write(folder.path().join("c.toml"), text(method)).unwrap();
        let (code, out, error) = dxlab(folder.path(), &["train", "c.toml", "--dry-run"]);
        assert_eq!((code, error.as_str()), (0, ""));
        assert!(out.contains(&format!("t: {name} of rank 4")) && out.contains("20 to learn from"), "{out}");
        assert!(out.contains(" on this machine's ") && out.contains("the longest micro-batch"), "{out}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "only the config");
}

#[test]
fn a_dry_run_of_a_whole_model_learns_every_weight_also_of_a_gguf_file() {
    let folder = tempfile::tempdir().unwrap();
    let export = ["export", "--model", "embedded", "--format", "gguf", "--type", "q8_0", "--out", "m.gguf"];
    assert_eq!(dxlab(folder.path(), &export).0, 0);
    let full = config("method = \"full\"", "accumulate = 3\nmuon = { momentum = 0.9 }");
    let of_file = full.replace("cases = 20", "cases = 20\nmodel = \"m.gguf\"");
    for text in [full, of_file] {
        std::fs::write(folder.path().join("c.toml"), text).unwrap();
        let (code, out, error) = dxlab(folder.path(), &["train", "c.toml", "--dry-run"]);
        assert_eq!((code, error.as_str()), (0, ""));
        let numbers: Vec<&str> = out.split_whitespace().filter(|word| word.parse::<usize>().is_ok()).collect();
        assert!(out.contains("t: full fine-tuning") && numbers[0] == numbers[1], "all parameters learn: {out}");
    }
}

#[test]
fn what_a_config_cannot_say_is_refused_with_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let lora = "r = 4\nalpha = 8";
    let edited = |old: &str, new: &str| config(lora, "").replace(old, new);
    let wrong = [
        (config("r = 0\nalpha = 8", ""), "r is 0"),
        (config("method = \"lora\"\nr = 4\nalpha = 8\ndropout = 1.5", ""), "lora_dropout is 1.5"),
        (config("method = \"vera\"\nr = 4\nalpha = 8", ""), "unknown variant `vera`"),
        (config("method = \"full\"\nr = 4", ""), "remove the other keys"),
        (config(&format!("{lora}\nlayers = [6]"), ""), "layer 6 of layers_to_transform"),
        (config(&format!("{lora}\ntarget_modules = [\"qproj\"]"), ""), "`qproj` matches no linear layer"),
        (config(lora, "loss = { dft = 2.0 }"), "loss.dft is 2"),
        (config(lora, "loss = { label_smoothing = 1.0 }"), "loss.label_smoothing is 1"),
        (config(lora, "lora_plus = 0.0"), "training.lora_plus is 0"),
        (config(lora, "accumulate = 0"), "training.accumulate is 0"),
        (config(lora, "batch = 3"), "unknown field `batch`"),
        (config("r = 4", ""), "alpha is 0 or missing"),
        (config("r = 4\nalpha = -8", ""), "lora_alpha is -8, expected a positive number"),
        (
            config("r = 100000000000\nalpha = 8", ""),
            "`model.layers.0.self_attn.q_proj` [192, 192], expected at most 192",
        ),
        (
            config("method = \"pissa\"\nr = 65\nalpha = 8", ""),
            "`model.layers.0.self_attn.k_proj` [64, 192], expected at most 64",
        ),
        (config(lora, "adamw = { beta1 = 1.0 }"), "training.adamw.beta1 is 1, expected at least 0 and less than 1"),
        (config(lora, "adamw = { beta2 = -0.1 }"), "training.adamw.beta2 is -0.1"),
        (config(lora, "adamw = { eps = 0.0 }"), "training.adamw.eps is 0, expected a positive number"),
        (config(lora, "adamw = { weight_decay = -0.1 }"), "training.adamw.weight_decay is -0.1"),
        (config(lora, "muon = { momentum = 1.0 }"), "training.muon.momentum is 1"),
        (config(lora, "stop_above = [[3, nan]]"), "training.stop_above"),
        (edited("lr = 1e-3", "lr = 0.0"), "training.schedule.lr is 0, expected a positive number"),
        (edited("lr = 1e-3", "lr = 1e-3, warmup = 1.0"), "training.schedule.warmup is 1, expected at least 0 and less"),
        (edited("lr = 1e-3", "lr = 1e-3, floor = 1.5"), "training.schedule.floor is 1.5, expected a share from 0 to 1"),
        (edited("cases = 20", "cases = 20\nvalidation = 1.0"), "validation is 1, expected a share"),
        (
            config("method = \"full\"", "").replace("cases = 20", "cases = 20\nweights = \"bf16\""),
            "every weight learns in f32",
        ),
    ];
    for (text, said) in wrong {
        std::fs::write(folder.path().join("c.toml"), text).unwrap();
        let (code, _, error) = dxlab(folder.path(), &["train", "c.toml", "--dry-run"]);
        assert!(code == 2 && error.contains(said), "{code} {error}, wanted `{said}`");
    }
}
