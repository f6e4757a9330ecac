//! `dxlab rank-diseases`, `data check` and `data make patients` as a user meets them, over a small ontology and annotations of our own.
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

const ONTOLOGY: &str = "format-version: 1.2\ndata-version: small\n\n\
    [Term]\nid: HP:0000001\nname: All\n\n[Term]\nid: HP:0000118\nname: Phenotypic abnormality\nis_a: HP:0000001\n\n\
    [Term]\nid: HP:0000011\nname: Seizure\nalt_id: HP:0000022\nis_a: HP:0000118\n\n\
    [Term]\nid: HP:0000012\nname: Focal seizure\nis_a: HP:0000011\n\n\
    [Term]\nid: HP:0000013\nname: Short stature\nis_a: HP:0000118\n\n\
    [Term]\nid: HP:0000014\nname: Skull, large\nis_a: HP:0000118\n\n\
    [Term]\nid: HP:0000015\nname: Deafness\nsynonym: \"Hearing loss\" EXACT []\nis_a: HP:0000118\n";

/// Exit code, standard output, standard error.
fn dxlab(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dxlab"));
    command.args(args).current_dir(folder).env_remove("DXLAB_DATA").env("DXLAB_KNOWLEDGE", folder.join("knowledge"));
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("knowledge")).unwrap();
    let header = "#version: 2026-01-01\ndatabase_id\tdisease_name\tqualifier\thpo_id\treference\tevidence\tonset\tfrequency\tsex\t\
                  modifier\taspect\tbiocuration\n";
    let row = |disease: &str, name: &str, term: &str, frequency: &str| {
        format!("OMIM:{disease}\t{name}\t\tHP:00000{term}\tPMID:{disease}\tPCS\t\t{frequency}\t\t\tP\tme\n")
    };
    let rows: String = [
        ("1", "Small epilepsy", "12", "4/5"),
        ("1", "Small epilepsy", "13", ""),
        ("1", "Small epilepsy", "14", ""),
        ("1", "Small epilepsy", "15", ""),
        ("2", "Deaf dwarfism", "13", ""),
        ("2", "Deaf dwarfism", "15", "50%"),
    ]
    .into_iter()
    .map(|(disease, name, term, frequency)| row(disease, name, term, frequency))
    .collect();
    std::fs::write(folder.path().join("knowledge/hp.obo"), ONTOLOGY).unwrap();
    std::fs::write(folder.path().join("knowledge/phenotype.hpoa"), header.to_string() + &rows).unwrap();
    folder
}

#[test]
fn signs_by_name_or_id_are_ranked_with_their_evidence() {
    let folder = folder();
    let (code, out, error) =
        dxlab(folder.path(), &["rank-diseases", "--signs", "focal seizure", "--excluded", "hearing loss"]);
    assert_eq!((code, error.as_str()), (0, ""));
    assert!(out.contains("   1 ") && out.contains("Small epilepsy (OMIM:1)"), "{out}");
    assert!(out.contains("Focal seizure: in 80 % of patients") && out.contains("not Deafness"), "{out}");
    assert!(out.contains("likelihood-ratio") && out.contains("a ranked list is no diagnosis"), "{out}");
    let (code, json, _) =
        dxlab(folder.path(), &["rank-diseases", "--hpo", "HP:0000022", "--ranker", "resnik", "--json"]);
    let value: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (code, value["ranker"].as_str(), value["annotations"].as_str()),
        (0, Some("resnik"), Some("2026-01-01"))
    );
    assert_eq!(value["diseases"][0]["id"], "OMIM:1");
    assert_eq!(value["diseases"][0]["evidence"][0]["name"], "Seizure", "an old id is read as its term");
}

/// A request to a server of this machine, and the JSON that comes back.
fn request(at: &str, method: &str, path: &str, body: &str) -> (u16, Value) {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(at).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes()).unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    let (head, body) = all.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap_or_else(|_| body.into()))
}

#[test]
fn the_server_ranks_rare_diseases_by_terms_and_by_lines() {
    use std::io::BufRead;
    let folder = folder();
    let mut server = Command::new(env!("CARGO_BIN_EXE_dxlab"))
        .args(["serve", "--model", "embedded-small", "--port", "0"])
        .env_remove("DXLAB_DATA")
        .env("DXLAB_KNOWLEDGE", folder.path().join("knowledge"))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let at = line.trim_start_matches("http://").split_whitespace().next().unwrap().to_string();
    let ask = |body: Value| request(&at, "POST", "/v1/diagnose", &body.to_string());
    let terms = json!({"task": "rare-disease", "terms": ["HP:0000012", "hearing loss"], "excluded": ["Skull, large"]});
    let (status, by_terms) = ask(terms);
    let (_, by_lines) = ask(json!({"task": "rare-disease", "text": "Focal seizure\n- Hearing loss\nno skull, large"}));
    let (unknown, error) = ask(json!({"task": "rare-disease", "text": "focal seizur"}));
    let (_, found) = request(&at, "GET", "/terms?task=rare-disease&query=foc%20se", "");
    let (_, page) = request(&at, "GET", "/?example=rare-disease", "");
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(status, 200, "{by_terms}");
    assert_eq!(by_terms["labels"], by_lines["labels"]);
    // every patient with the small epilepsy has a large skull, which this one does not have
    assert_eq!(by_terms["labels"][0]["label"], "Deaf dwarfism (OMIM:2)");
    let shares: f64 =
        by_terms["labels"].as_array().unwrap().iter().map(|one| one["probability"].as_f64().unwrap()).sum();
    assert!((shares - 1.0).abs() < 1e-6, "two diseases share all of it: {shares}");
    let signs = by_terms["labels"][0]["evidence"]["signs"].as_array().unwrap();
    assert_eq!(signs.iter().map(|sign| sign["excluded"].as_bool().unwrap()).collect::<Vec<_>>(), [false, false, true]);
    assert_eq!(unknown, 400);
    assert!(error["error"]["message"].as_str().unwrap().contains("near to it: `Focal seizure`"), "{error}");
    assert_eq!(found["data"], json!([{"id": "HP:0000012", "name": "Focal seizure"}]));
    let page = page.as_str().unwrap();
    assert!(page.contains("Arachnodactyly") && page.contains("Signs of the patient, one a line"), "{page}");
}

#[test]
fn what_cannot_be_read_is_named_with_what_to_do() {
    let folder = folder();
    let error = |args: &[&str]| {
        let (code, out, error) = dxlab(folder.path(), args);
        assert_eq!((code, out.as_str()), (2, ""), "{error}");
        error
    };
    assert!(error(&["rank-diseases", "--signs", "short statur"]).contains("near to it: `Short stature`"));
    assert!(error(&["rank-diseases", "--signs", "HP:9999999"]).contains("`HP:9999999` is no id of small"));
    assert!(error(&["rank-diseases", "--signs", ""]).contains("no observed sign"));
    std::fs::write(folder.path().join("p.json"), "{\"id\": \"p\", \"phenotypicFeatures\": [").unwrap();
    assert!(error(&["rank-diseases", "--phenopacket", "p.json"]).contains("p.json: no JSON"));
    std::fs::remove_file(folder.path().join("knowledge/hp.obo")).unwrap();
    assert!(error(&["rank-diseases", "--signs", "Seizure"]).contains("make tools"));
}

#[test]
fn synthetic_patients_are_written_checked_and_ranked() {
    let folder = folder();
    let make = ["data", "make", "patients", "--out", "patients", "--each", "2", "--noise", "0", "--imprecision", "0"];
    let (code, out, error) = dxlab(folder.path(), &make);
    assert_eq!((code, error.as_str()), (0, ""));
    assert!(out.contains("2 synthetic patients of 1 diseases"), "only one disease has four signs: {out}");
    assert_eq!(dxlab(folder.path(), &make).0, 2, "a folder that is not empty is not written into");
    let (code, out, error) = dxlab(folder.path(), &["data", "check", "patients"]);
    assert!(out.contains("2 patients of 2 publications") && out.contains("2 patients name no publication"), "{out}");
    assert_eq!((code, error.as_str()), (0, ""));
    let (code, out, _) = dxlab(folder.path(), &["rank-diseases", "--phenopacket", "patients", "--json"]);
    assert_eq!((code, out.lines().count()), (0, 2));
    for line in out.lines() {
        assert_eq!(serde_json::from_str::<Value>(line).unwrap()["diseases"][0]["id"], "OMIM:1");
    }
}

#[test]
fn broken_files_among_others_are_left_out_and_equal_scores_share_their_places() {
    let folder = folder();
    let make = ["data", "make", "patients", "--out", "patients", "--each", "2", "--noise", "0", "--imprecision", "0"];
    assert_eq!(dxlab(folder.path(), &make).0, 0);
    let first = std::fs::read_dir(folder.path().join("patients")).unwrap().next().unwrap().unwrap().path();
    std::fs::copy(&first, folder.path().join("patients/zz_again.json")).unwrap();
    std::fs::write(folder.path().join("patients/a_broken.json"), "{\"id\": \"x\", \"phenotypicFeatures\": [").unwrap();
    let (code, out, _) = dxlab(folder.path(), &["data", "check", "patients"]);
    assert!(
        code == 2 && out.contains("a_broken.json: no JSON") && out.contains("2 patients of 2 publications"),
        "{out}"
    );
    assert!(out.contains("zz_again.json: patient `") && out.contains("already; left out"), "{out}");
    let (code, out, error) = dxlab(folder.path(), &["rank-diseases", "--phenopacket", "patients", "--json"]);
    assert_eq!((code, out.lines().count()), (0, 2), "{error}");
    let none = ["data", "make", "patients", "--out", "none", "--diseases", "0"];
    assert_eq!(dxlab(folder.path(), &none).0, 2);
    // no disease has these words in its name
    let tied = ["rank-diseases", "--signs", "Hearing loss", "--ranker", "descriptions"];
    let (code, out, _) = dxlab(folder.path(), &tied);
    assert!(code == 0 && out.contains("1–2"), "{out}");
    let (_, json, _) = dxlab(folder.path(), &[tied.as_slice(), &["--json"]].concat());
    let value: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&value["diseases"][0]["rank"], &value["diseases"][1]["rank"]), (&2.into(), &2.into()));
}

/// A project folder of its own, so that runs go nowhere else.
fn project(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dxlab"));
    command.args(args).current_dir(folder).env_remove("DXLAB_DATA").env("DXLAB_KNOWLEDGE", folder.join("knowledge"));
    let output = command.env("DXLAB_HOME", folder).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Twelve signs and twelve diseases with five of them each: enough for synthetic patients of every disease on both sides of the split.
fn larger() -> tempfile::TempDir {
    let folder = folder();
    let terms: String =
        (0..12).map(|i| format!("[Term]\nid: HP:00001{i:02}\nname: Sign number {i}\nis_a: HP:0000118\n\n")).collect();
    let mut rows = std::fs::read_to_string(folder.path().join("knowledge/phenotype.hpoa")).unwrap();
    for disease in 0..12 {
        for sign in 0..5 {
            let term = (disease + sign * (1 + disease % 3)) % 12;
            rows += &format!(
                "OMIM:{0}\tDisease {0}\t\tHP:00001{term:02}\tPMID:{0}\tPCS\t\t4/5\t\t\tP\tme\n",
                100 + disease
            );
        }
    }
    std::fs::write(folder.path().join("knowledge/hp.obo"), ONTOLOGY.to_string() + "\n" + &terms).unwrap();
    std::fs::write(folder.path().join("knowledge/phenotype.hpoa"), rows).unwrap();
    folder
}

#[test]
fn a_ranker_answers_as_a_baseline_and_a_language_model_ranks_its_candidates_anew() {
    let folder = larger();
    let lines = |name: &str| -> Vec<Value> {
        let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let (code, _, error) =
        project(folder.path(), &["baseline", "nearest", "--data", "rare-disease", "--out", "nearest.jsonl"]);
    assert_eq!(code, 0, "{error}");
    let nearest = lines("nearest.jsonl");
    assert!(nearest.len() > 10 && nearest.iter().all(|one| one["task"] == "rare-disease@2"), "{}", nearest.len());
    let right = |one: &&Value| one["answer"][0] == one["gold"][0]["name"];
    assert!(nearest.iter().filter(right).count() * 3 > nearest.len(), "similar patients have the same disease");

    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/data/embedded-small");
    let rerank =
        ["rare-disease", "rerank", "--ranker", "nearest", "--top", "5", "--model", model, "--out", "both.jsonl"];
    let (code, out, error) = project(folder.path(), &rerank);
    assert_eq!(code, 0, "{error}");
    assert!(out.contains("chosen on") && out.contains("ranker alone") && out.contains("language model alone"), "{out}");
    let both = lines("both.jsonl");
    assert_eq!(both.len(), nearest.len());
    for (a, b) in nearest.iter().zip(&both) {
        assert_eq!(a["case_id"], b["case_id"]);
        let names = |one: &Value, n: usize| {
            let mut names: Vec<String> =
                one["answer"].as_array().unwrap().iter().take(n).map(|v| v.to_string()).collect();
            names.sort();
            names
        };
        assert_eq!(names(a, 5), names(b, 5), "the same five candidates in another order");
    }
    assert_eq!(project(folder.path(), &rerank).0, 0, "opened from the store");
    let (code, _, error) = project(folder.path(), &["baseline", "tfidf", "--data", "rare-disease", "--out", "x"]);
    assert!(code == 2 && error.contains("no baseline `tfidf` for rare-disease: there are most-frequent"), "{error}");
    let few = ["rare-disease", "rerank", "--ranker", "nearest", "--top", "1", "--model", model, "--out", "x.jsonl"];
    assert!(project(folder.path(), &few).2.contains("at least 2 candidates"));
    let narrative = project(folder.path(), &["baseline", "nearest", "--data", "rare-disease-narratives", "--out", "x"]);
    assert_eq!(narrative.0, 2, "an unknown corpus is refused: {}", narrative.2);
}
