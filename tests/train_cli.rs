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
fn what_a_config_cannot_say_is_refused_with_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let lora = "r = 4\nalpha = 8";
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
    ];
    for (text, said) in wrong {
        std::fs::write(folder.path().join("c.toml"), text).unwrap();
        let (code, _, error) = dxlab(folder.path(), &["train", "c.toml", "--dry-run"]);
        assert!(code == 2 && error.contains(said), "{code} {error}, wanted `{said}`");
    }
}
