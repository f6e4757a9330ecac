//! Answers in the forms that models write, and the labels that are to be read from them.
use super::*;

fn labels(answer: &str) -> Vec<String> {
    let parsed = parse(answer);
    assert_eq!(parsed.parsed, !parsed.labels.is_empty(), "{answer}");
    parsed.labels
}

#[test]
fn a_box_with_its_mark_inside_is_one_box() {
    assert_eq!(labels("[✓] renal cyst [✔] liver cyst"), ["renal cyst", "liver cyst"]);
    assert_eq!(labels("(x) renal cyst (x) liver cyst"), ["renal cyst", "liver cyst"]);
}

#[test]
fn every_way_of_listing_gives_the_same_labels() {
    let answers = [
        "renal cyst, liver cyst",
        "Renal cyst; liver cyst.",
        "- Renal cyst\n- Liver cyst",
        "1. Renal cyst\n2. Liver cyst",
        "(1) **Renal cyst**\n(2) **Liver cyst**",
        "<think>\nHm, gallstone? no.\n</think>\n\nrenal cyst, liver cyst<|im_end|>\nrubbish, more",
        "maybe gallstone\n</think>renal cyst, liver cyst",
        "```json\n[\"renal cyst\", \"liver cyst\"]\n```",
        "Here you go: {\"diagnoses\": [\"renal cyst\", \"liver cyst\"]} as asked, hopefully",
        "[{\"name\": \"renal cyst\", \"score\": 1}, {\"name\": \"liver cyst\"}]",
        "The scan shows many things.\n\n**Diagnoses:** renal cyst, liver cyst\n\nExplanation: a cyst, a stone",
        "The most likely diagnoses are:\n• renal cyst\n• liver cyst",
        "renal cyst, and liver cyst",
        "renal cyst, Renal Cyst, liver cyst, renal cyst,",
        "```\nrenal cyst, liver cyst",
    ];
    for answer in answers {
        let lower: Vec<String> = labels(answer).iter().map(|l| l.to_lowercase()).collect();
        assert_eq!(lower, ["renal cyst", "liver cyst"], "{answer}");
    }
}

/// Forms that a tester wrote without having seen the reader.
#[test]
fn lists_in_forms_of_many_hands_are_read() {
    let answers = [
        "renal cyst\tgallstone",
        "1.\trenal cyst\n2.\tgallstone",
        "{\"diagnoses\": {\"primary\": \"renal cyst\", \"secondary\": [\"gallstone\"]}}",
        "{\"main\": \"renal cyst\", \"others\": [\"gallstone\"]}",
        "{\"diagnoses\": \"[\\\"renal cyst\\\", \\\"gallstone\\\"]\"}",
        "[\"renal cyst\"]\n[\"gallstone\"]",
        "('renal cyst', 'gallstone')",
        "i. renal cyst\nii. gallstone",
        "#1 renal cyst\n#2 gallstone",
        "A. renal cyst\nB. gallstone",
        "① renal cyst\n② gallstone",
        "① renal cyst ② gallstone",
        "1\u{fe0f}\u{20e3} renal cyst\n2\u{fe0f}\u{20e3} gallstone",
        "«renal cyst», «gallstone»",
        "renal cyst → N28.1; gallstone → K80.20",
        "renal cyst = yes; gallstone = yes; ascites = no",
        "Labels => renal cyst, gallstone",
        "renal cyst¹, gallstone²",
        "renal cyst【1†source】, gallstone【2†source】",
        "renal cyst 90%, gallstone 80%",
        "renal cyst, gallstone without ascites",
        "neither ascites nor pancreatitis; renal cyst; gallstone",
        "Absent: ascites, pancreatitis. Present: renal cyst, gallstone",
        "renal cyst.gallstone.",
        "renal cyst\u{b}gallstone",
        "renal cyst، gallstone",
        "renal cyst‚ gallstone",
        "Sure! renal cyst, gallstone",
        "renal cyst|0.9\ngallstone|0.8\nascites|0.1",
        "renal cyst\t0.9\ngallstone\t0.8",
        "diagnosis,probability\nrenal cyst,0.9\ngallstone,0.8\nascites,0.2",
        "First answer: ascites\nCorrected answer: renal cyst, gallstone",
        "Let me think. The lesion is cystic.\n\nFINAL: renal cyst, gallstone",
        "Diagnosis: renal cyst\nICD-10: N28.1\n\nDiagnosis: gallstone\nICD-10: K80.2",
        "Diagnosis: renal cyst\nEvidence: round lesion\nDiagnosis: gallstone\nEvidence: shadow",
        "The final answer is $\\boxed{\\textbf{renal cyst; gallstone}}$.",
        "<|start_header_id|>assistant<|end_header_id|>\n\nrenal cyst, gallstone<|eot_id|>",
        "analysisascites?assistantfinal renal cyst, gallstone",
        "[{\"code\": \"N28.1\", \"description\": \"renal cyst\"}, {\"code\": \"K80.2\", \"description\": \"gallstone\"}]",
        "renal cyst: Y\ngallstone: Y\nascites: N",
        "{\"renal cyst\": \"Y\", \"gallstone\": \"Y\", \"ascites\": \"N\"}",
        "{\"ascites\": null, \"renal cyst\": \"round lesion\", \"gallstone\": [\"shadow\"], \"pancreatitis\": []}",
        "{\"diagnosis\": \"renal cyst\", \"other_diagnoses\": [\"gallstone\"]}",
        "- diagnosis: renal cyst\n- diagnosis: gallstone",
        "Findings suggest renal cyst, gallstone",
        "Findings are consistent with renal cyst. There is also a gallstone.",
        "Two diagnoses: renal cyst and gallstone",
        "Possible diagnoses include renal cyst and gallstone.",
        "Findings consistent with renal cyst and gallstone.",
        "renal cyst,\\ngallstone",
        "&bull; renal cyst &bull; gallstone",
        "renal cyst &amp; gallstone",
        "renal cyst [0.95], gallstone [0.8], ascites [0.1]",
        "[0.95] renal cyst, [0.8] gallstone",
        "(95%) renal cyst; (80%) gallstone",
        "renal cyst, gallstone, no other findings",
        "Diagnoses: renal cyst, gallstone. No other abnormality.",
        "renal cyst, gallstone, otherwise normal",
        "renal cyst, gallstone, rule out ascites",
        "renal cyst, gallstone, r/o ascites",
        "[THINK]ascites?[/THINK]renal cyst, gallstone",
        "<THINK>ascites?</THINK>renal cyst, gallstone",
        "<|channel|>analysis<|message|>Could be ascites<|end|><|start|>assistant<|channel|>final<|message|>renal cyst, gallstone",
    ];
    let known = |label: &str| ["renal cyst", "gallstone", "ascites", "pancreatitis"].contains(&label);
    for answer in answers {
        let expected = Parsed { labels: vec!["renal cyst".into(), "gallstone".into()], parsed: true };
        assert_eq!(parse_known(answer, known), expected, "{answer:?}");
    }
    for nothing in ["Normal", "No abnormality detected", "Unremarkable study.", "None of the listed diseases"] {
        assert_eq!(parse_known(nothing, known), Parsed { labels: vec![], parsed: true }, "{nothing}");
    }
    for nothing in ["<|channel|>analysis<|message|>renal cyst?", "[THINK]renal cyst"] {
        assert_eq!(parse_known(nothing, known), Parsed { labels: vec![], parsed: false }, "{nothing}");
    }
    let seen = parse_known("Renal cyst is seen. Gallstone is seen.", |label| known(&label.to_lowercase()));
    assert_eq!(seen.labels, ["Renal cyst", "Gallstone"]);
    // what looks like one of these forms and is none
    for label in
        ["E. coli infection", "V. cholerae infection", "volume 5 cm³", "carotid stenosis 70%", "cyst without wall"]
    {
        assert_eq!(parse_known(label, known).labels, [label]);
    }
    assert_eq!(parse_known("renal cyst\n\tgallstone", known).labels, ["renal cyst", "gallstone"]);
    assert_eq!(parse_known("no ascites, pancreatitis or gallstone", known), Parsed { labels: vec![], parsed: true });
}

#[test]
fn and_is_split_only_between_known_labels() {
    let known =
        |label: &str| ["renal cyst", "gallstone", "nausea and vomiting"].contains(&label.to_lowercase().as_str());
    assert_eq!(parse_known("Renal cyst and gallstone", known).labels, ["Renal cyst", "gallstone"]);
    assert_eq!(parse_known("nausea and vomiting", known).labels, ["nausea and vomiting"]);
    assert_eq!(parse("Renal cyst and gallstone").labels, ["Renal cyst and gallstone"]);
}

#[test]
fn commas_in_parentheses_and_sizes_are_no_separators() {
    assert_eq!(labels("hernia (inguinal, left), cyst"), ["hernia (inguinal, left)", "cyst"]);
    assert_eq!(labels("1.5 cm cyst"), ["1.5 cm cyst"]);
}

#[test]
fn what_holds_no_label_is_not_parsed_and_none_is() {
    let prose = "word ".repeat(40);
    for answer in ["", "  ", "<think>renal cyst, and then", "...", "42", prose.as_str(), "Diagnoses:"] {
        assert_eq!(parse(answer), Parsed { labels: vec![], parsed: false }, "{answer}");
    }
    for repeated in ["renal cyst and ", "1. ", "a, "] {
        let endless = repeated.repeat(8000);
        assert!(!parse(&endless).parsed, "a model that repeats itself has written no list");
    }
    assert_eq!(parse("None."), Parsed { labels: vec![], parsed: true });
}

#[test]
fn what_an_answer_denies_is_not_given() {
    for answer in [
        "Present: renal cyst\nAbsent: gallstone",
        "**Present**\n- renal cyst\n**Absent**\n- gallstone",
        "## Positive findings\n- renal cyst\n\n## Negative findings\n- gallstone\n- ascites",
        "Yes: renal cyst\nNo: gallstone",
        "renal cyst\nUnlikely: gallstone",
        "[{\"label\": \"renal cyst\", \"answer\": \"yes\"}, {\"label\": \"gallstone\", \"answer\": \"no\"}]",
        "[{\"label\": \"renal cyst\"}, {\"label\": \"gallstone\", \"negated\": true}]",
        "[{\"label\": \"renal cyst\", \"probability\": 0.9}, {\"label\": \"gallstone\", \"probability\": 0.1}]",
        "{\"name\": \"submit\", \"arguments\": {\"diagnoses\": [\"renal cyst\"]}}",
        "{\"name\": \"submit\", \"arguments\": \"{\\\"diagnoses\\\": [\\\"renal cyst\\\"]}\"}",
    ] {
        let read = parse_known(answer, |label| ["renal cyst", "gallstone", "ascites"].contains(&label));
        assert_eq!(read, Parsed { labels: vec!["renal cyst".into()], parsed: true }, "{answer}");
    }
    let organs = parse("{\"kidney\": [\"renal cyst\"], \"gallbladder\": [\"gallstone\"]}");
    assert_eq!(organs.labels, ["renal cyst", "gallstone"]);
    assert_eq!(parse("Absent: gallstone"), Parsed { labels: vec![], parsed: true });
}

fn vocabulary(label: &str) -> bool {
    ["renal cyst", "gallstone", "ascites", "hydronephrosis"].contains(&label.to_lowercase().as_str())
}

#[test]
fn a_sentence_that_leads_to_a_list_gives_all_of_its_items_or_none() {
    let leads = [
        "The CT shows ",
        "The patient is most likely to have ",
        "This patient likely has: ",
        "Findings indicate ",
        "The imaging is most consistent with ",
        "The scan confirms the presence of ",
        "So the answer is: ",
        "Positive for ",
        "=> ",
    ];
    let lists = ["renal cyst, gallstone", "a renal cyst and a gallstone.", "renal cyst, gallstone, but no ascites."];
    for (lead, list) in leads.iter().flat_map(|lead| lists.map(|list| (lead, list))) {
        let read = parse_known(&format!("{lead}{list}"), vocabulary);
        assert_eq!(read.labels, ["renal cyst", "gallstone"], "{lead}{list}");
    }
    let unknown = parse_known("The CT shows renal cyst, mesenteric panniculitis and gallstone.", vocabulary);
    assert_eq!(unknown.labels, ["renal cyst", "mesenteric panniculitis", "gallstone"]);
    for prose in ["The CT shows a bright focus, thick wall.", "There is no renal cyst, gallstone or ascites."] {
        assert_eq!(parse_known(prose, vocabulary), Parsed { labels: vec![], parsed: false }, "{prose}");
    }
}

#[test]
fn nothing_under_a_heading_of_negatives_or_of_other_things_is_a_label() {
    let headings = [
        "Pertinent negatives",
        "Negatives",
        "No evidence of",
        "Not mentioned",
        "Ruled out",
        "Absent findings",
        "Conditions considered but excluded",
        "Differential diagnosis",
        "Recommendations",
        "Treatment",
        "Normal structures",
    ];
    for name in headings {
        for answer in [
            format!("Diagnoses: renal cyst, gallstone\n{name}: ascites, hydronephrosis"),
            format!("renal cyst, gallstone. {name}: ascites, hydronephrosis"),
            format!("Diagnoses:\n- renal cyst\n- gallstone\n\n{name}:\n- ascites\n- hydronephrosis"),
            format!("1. renal cyst\n2. gallstone\n\n**{name}:**\n1. ascites\n2. hydronephrosis\n3. colitis"),
            format!("1. renal cyst\n{name}: ascites\n2. gallstone"),
            format!("- renal cyst\n  - {name}: ascites\n- gallstone"),
        ] {
            assert_eq!(parse_known(&answer, vocabulary).labels, ["renal cyst", "gallstone"], "{answer}");
        }
    }
    for name in ["Location", "Evidence", "Source", "Confidence level", "Size"] {
        for answer in [
            format!("1. renal cyst\n   - {name}: left\n2. mesenteric panniculitis\n   - {name}: right"),
            format!("renal cyst\n{name}: left\n\nmesenteric panniculitis\n{name}: right"),
            format!("Diagnoses: renal cyst, mesenteric panniculitis\n{name}: left, right"),
        ] {
            assert_eq!(parse_known(&answer, vocabulary).labels, ["renal cyst", "mesenteric panniculitis"], "{answer}");
        }
    }
}

#[test]
fn what_is_known_is_read_as_itself_whatever_else_it_could_be() {
    let labels = [
        "Location",
        "Unknown",
        "Negative",
        "Normal CT abdomen",
        "No significant abnormality detected",
        "let me think",
        "1.a",
        "o b",
        "renal cyst with gallstone",
        "cyst without wall",
        "Chills (without fever)",
        "The CT shows cysts",
        "Ruled out",
    ];
    for label in labels {
        let known = |text: &str| text == label || vocabulary(text);
        for answer in [label.to_string(), format!("ascites, {label}"), format!("- ascites\n- {label}")] {
            let read = parse_known(&answer, known);
            assert!(read.labels.contains(&label.to_string()), "{answer}: {read:?}");
        }
    }
}

#[test]
fn what_is_denied_in_any_words_or_keys_is_not_given() {
    let denials =
        ["No evidence", "N/A", "none", "not found", "absent", "No evidence in the report", "no hydronephrosis"];
    for denial in denials {
        for answer in [
            format!("Hydronephrosis: {denial}\nRenal cyst: yes\nGallstone: yes"),
            format!("hydronephrosis: {denial}; renal cyst; gallstone"),
            format!("- **Hydronephrosis**: {denial}\n- **Renal cyst**: 2 cm\n- **Gallstone**: 5 mm"),
        ] {
            let read = parse_known(&answer.to_lowercase(), vocabulary);
            assert_eq!(read.labels, ["renal cyst", "gallstone"], "{answer}");
        }
    }
    let states = [
        ("assertion", "\"absent\"", "\"present\""),
        ("polarity", "\"negative\"", "\"positive\""),
        ("certainty", "\"absent\"", "\"low\""),
        ("result", "\"not_found\"", "\"found\""),
        ("presence", "false", "true"),
    ];
    for (key, (state, gone, there)) in ["name", "diagnosis", "term"].iter().flat_map(|key| states.map(|s| (key, s))) {
        let answer = format!(
            "[{{\"{key}\": \"ascites\", \"{state}\": {gone}}}, {{\"{key}\": \"gallstone\", \"{state}\": {there}}}]"
        );
        assert_eq!(parse_known(&answer, vocabulary).labels, ["gallstone"], "{answer}");
    }
    // what denies something else
    let other = parse_known("renal cyst: no evidence of rupture\ngallstone: no obstruction", vocabulary);
    assert_eq!(other.labels, ["renal cyst", "gallstone"]);
}

#[test]
fn no_label_keeps_the_syntax_around_it() {
    let forms = [
        "('x', 0.95)",
        "[('x', 0.95)]",
        "(x)",
        "- (x)",
        "x [SNOMED 1234]",
        "[line 3] x",
        "x=1",
        "x ~ 95%",
        "🩺 x",
        "x <cite>a thin wall</cite>",
        "{\"diagnoses\": \"1. x\\n2. x\"}",
        "{'x'}",
        "x (N28.1, confirmed)",
    ];
    for (form, label) in forms.iter().flat_map(|form| ["renal cyst", "mesenteric panniculitis"].map(|l| (form, l))) {
        let answer = form.replace('x', label);
        assert_eq!(parse_known(&answer, vocabulary).labels, [label], "{answer}");
    }
    for label in ["50% pneumothorax", "L4/L5 disc herniation", "BMI=35", "hernia (inguinal, left)", "rest pain"] {
        assert_eq!(labels(label), [label]);
    }
}

#[test]
fn a_name_for_nothing_is_none_and_not_knowing_is_no_answer() {
    for none in [
        "No significant abnormality was detected.",
        "Normal CT of the abdomen",
        "The scan is normal.",
        "No acute findings",
        "No findings",
        "Normal scan",
    ] {
        assert_eq!(parse(none), Parsed { labels: vec![], parsed: true }, "{none}");
    }
    for unsaid in ["Unknown", "Unable to determine", "Insufficient information.", "Not enough information", "TBD"] {
        assert_eq!(parse(unsaid), Parsed { labels: vec![], parsed: false }, "{unsaid}");
    }
    for label in ["No acute abnormality", "Normal pressure hydrocephalus", "Unknown primary tumour", "Codeine abuse"] {
        assert_eq!(labels(label), [label]);
    }
}

#[test]
fn an_answer_that_never_stops_is_cut_and_any_text_is_survived() {
    let endless = (0..500).map(|i| format!("disease {i}")).collect::<Vec<_>>().join(", ");
    assert_eq!(parse(&endless).labels.len(), MAX_LABELS);
    let mut dice = crate::corpus::synthetic::dice::Dice::new(5, 0);
    let parts = [
        "<think>",
        "</think>",
        "```",
        "[",
        "{",
        "\"a\"",
        ":",
        ",",
        "é",
        "\n",
        "1.",
        "- ",
        "(",
        ")",
        " and ",
        "x",
        "<|im_end|>",
        "? No.",
        "('",
        "🩺",
        "=1",
        "95% ",
        "<cite>",
        "</cite>",
    ];
    for _ in 0..20_000 {
        let n = dice.below(12);
        let answer: String = (0..n).map(|_| parts[dice.below(parts.len())]).collect();
        let once = parse(&answer);
        assert!(once.labels.iter().all(|l| !l.is_empty() && l == l.trim()), "{answer:?}");
    }
}
