//! `dxlab rank-diseases`, `data check` and `data make patients` as a user meets them, over a small ontology and annotations of our own.
use serde_json::Value;
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
