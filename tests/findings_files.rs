//! What people's files hold: read rightly, or named with sheet, row, column, cause and what to do. Every input is made here.
use dxlab::corpus::Corpus;
use dxlab::corpus::check::{Kind, Report};
use dxlab::prompt::Prompt;
use dxlab::task;
use std::path::{Path, PathBuf};
use std::process::Command;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
    fn book(&self, name: &str, fill: impl FnOnce(&mut rust_xlsxwriter::Workbook)) -> PathBuf {
        let (path, mut book) = (self.0.path().join(name), rust_xlsxwriter::Workbook::new());
        fill(&mut book);
        book.save(&path).unwrap();
        path
    }
}

const HEAD: &str = "case_id,input_finding,output_disease,split\n";

fn checked(path: &Path) -> Report {
    task::check(path).unwrap()
}

/// Kind and row of every problem.
fn kinds(report: &Report) -> Vec<(Kind, usize)> {
    report.problems.iter().map(|p| (p.kind, p.row)).collect()
}

fn refused(path: &Path) -> String {
    let error = task::check(path).unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error}");
    error.to_string()
}

fn sheet<'a>(
    book: &'a mut rust_xlsxwriter::Workbook,
    name: &str,
    rows: &[[&str; 3]],
) -> &'a mut rust_xlsxwriter::Worksheet {
    let sheet = book.add_worksheet();
    sheet.set_name(name).unwrap();
    let head = ["case_id", "input_finding", "output_disease"];
    for (r, row) in [head].iter().chain(rows).enumerate() {
        for (c, cell) in row.iter().enumerate().filter(|(_, cell)| !cell.is_empty()) {
            sheet.write_string(r as u32, c as u16, *cell).unwrap();
        }
    }
    sheet
}

/// Exit code, standard output, standard error.
fn dxlab(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_dxlab")).args(args).current_dir(folder).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn what_stands_in_a_column_without_a_name_is_named_and_numbered_rows_are_passed_over() {
    let folder = Folder::new();
    let split = "case_id,input_finding,output_disease,,\na1,A text.,renal cyst,gallstone,ascites\n";
    let report = checked(&folder.file("split.csv", split));
    assert_eq!(kinds(&report), [(Kind::Unreadable, 2)]);
    assert!(report.to_string().contains("column 4 has no name and holds `gallstone`"), "{report}");
    let numbered = ",case_id,input_finding,output_disease\n0,a1,A text.,renal cyst\n";
    let report = checked(&folder.file("numbered.csv", numbered));
    assert!(report.problems.is_empty() && report.to_string().contains("first column has no name"), "{report}");
}

#[test]
fn a_cell_far_from_the_table_is_named_and_not_made_room_for() {
    let folder = Folder::new();
    let path = folder.book("stray.xlsx", |book| {
        let sheet = sheet(book, "test", &[["a1", "A text.", "renal cyst"]]);
        sheet.write_string(1_048_575, 16_383, "x").unwrap();
    });
    let said = refused(&path);
    assert!(said.contains("sheet `test` reaches to cell XFD1048576"), "{said}");
}

#[test]
fn what_is_no_workbook_is_called_what_it_is() {
    let folder = Folder::new();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    for (bytes, wanted) in [
        (pointer.as_bytes(), "Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"", "empty file"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "with a password"),
    ] {
        let said = refused(&folder.file("other.xlsx", bytes));
        assert!(said.contains(wanted) && said.contains("other.xlsx"), "{said}");
    }
    assert!(refused(&folder.file("other.csv", pointer)).contains("Git LFS pointer"));
}

#[test]
fn an_open_quote_is_named_by_the_row_where_it_opens() {
    let folder = Folder::new();
    let text = "case_id,output_disease,split,input_finding\nq1,stone,train,One.\nq2,cyst,train,\"Two, open.\nq3,mass,train,Three.\n\
                q4,mass,test,\"Four.\"\n";
    let path = folder.file("open.csv", text);
    let report = checked(&path);
    assert_eq!(kinds(&report)[0], (Kind::OpenQuote, 3), "{report}");
    assert!(
        Corpus::open(&path).unwrap_err().to_string().contains("row 3: a quote opens here"),
        "nothing is read in silence"
    );
}

#[test]
fn an_open_quote_swallows_nothing_where_the_id_stands_last_or_holds_it() {
    let folder = Folder::new();
    for text in [
        "input_finding,output_disease,case_id\nOne.,cyst,a1\nTwo.,stone,\"a2\nThree.,mass,a3\nFour.,cyst,a4\"\n",
        "input_finding,output_disease,case_id\nOne.,cyst,a1\n\"Two.,stone,a2\nThree.,mass,a3\nFour.\",cyst,a4\n",
        "case_id,input_finding,output_disease\na1,One.,cyst\n\"a2,Two.,stone\na3,Three.,mass\na4\",Four.,cyst\n",
    ] {
        let path = folder.file("open.csv", text);
        let report = checked(&path);
        assert!(kinds(&report).contains(&(Kind::OpenQuote, 3)), "{text}: {report}");
        assert!(Corpus::open(&path).unwrap_err().to_string().contains("row 3: a quote opens here"), "{text}");
    }
}

#[test]
fn what_stands_for_a_missing_value_is_named_and_is_no_label() {
    let folder = Folder::new();
    let others = "b1,Text b.,cyst,train\nb2,Text c.,stone,test\n";
    for (cell, kind) in [
        ("nan", Kind::Missing),
        ("NULL", Kind::Missing),
        ("<NA>", Kind::Missing),
        ("NA", Kind::Missing),
        ("-", Kind::Missing),
        ("--", Kind::Missing),
        ("\"cyst, nan\"", Kind::Missing),
        ("TRUE", Kind::Value),
        ("false", Kind::Value),
    ] {
        let path = folder.file("m.csv", format!("{HEAD}a1,Text a.,{cell},test\n{others}"));
        let report = checked(&path);
        assert_eq!(kinds(&report), [(kind, 2)], "{cell}: {report}");
        assert!(Corpus::open(&path).is_err(), "{cell}");
    }
    let path = folder.file("id.csv", format!("{HEAD}nan,Text a.,cyst,test\na2,NULL,cyst,test\n{others}"));
    assert_eq!(kinds(&checked(&path)), [(Kind::Missing, 2), (Kind::Missing, 3)]);
    let head = HEAD.replace("split", "split,group");
    let path = folder.file("group.csv", format!("{head}a1,Text a.,cyst,test,nan\na2,Text b.,stone,test,nan\n"));
    assert_eq!(kinds(&checked(&path)), [(Kind::Missing, 2), (Kind::Missing, 3)], "two patients are not one");
    // said in so many words, and told once on opening
    let path = folder.file("none.csv", format!("{HEAD}a1,Text a.,None,test\na2,Text d.,n/a,test\n{others}"));
    let report = checked(&path);
    assert!(report.problems.is_empty() && report.notes[0].contains("`None` is read as no label"), "{report}");
    let (_, _, error) =
        dxlab(folder.0.path(), &["baseline", "most-frequent", "--data", "none.csv", "--out", "p.jsonl"]);
    assert!(error.contains("2 of 4 cases are read as having no label"), "{error}");
}

#[test]
fn an_empty_split_is_no_test_case_where_other_rows_say_theirs() {
    let folder = Folder::new();
    let path = folder
        .file("s.csv", format!("{HEAD}a1,One.,cyst,train\na2,Two.,stone,\na3,Three.,cyst,test\na4,Four.,cyst, \n"));
    let report = checked(&path);
    assert_eq!(kinds(&report), [(Kind::Unreadable, 3), (Kind::Unreadable, 5)], "{report}");
    assert!(report.to_string().contains("column `split` is empty, though other rows say theirs"), "{report}");
    assert!(Corpus::open(&path).is_err());
    let row = |id: &str, split: &str| {
        format!("{{\"case_id\":\"{id}\",\"input_finding\":\"T {id}.\",\"output_disease\":\"cyst\"{split}}}\n")
    };
    let text = row("1", ",\"split\":\"train\"") + &row("2", "") + &row("3", ",\"split\":\"test\"");
    assert_eq!(kinds(&checked(&folder.file("s.jsonl", text))), [(Kind::Unreadable, 2)]);
    // a column in which nothing stands says nothing
    let report = checked(&folder.file("e.csv", format!("{HEAD}a1,One.,cyst,\na2,Two.,stone,\n")));
    assert!(report.problems.is_empty() && (report.train, report.test) == (0, 2), "{report}");
}

#[test]
fn json_is_kept_to_the_last_digit_and_its_errors_say_line_and_cause() {
    let folder = Folder::new();
    let row = |id: &str| format!("{{\"case_id\":{id},\"input_finding\":\"T {id}.\",\"output_disease\":\"cyst\"}}");
    let open = |name: &str, text: String| Corpus::open(&folder.file(name, text));
    for id in ["9007199254740993", "9223372036854775807", "18446744073709551615"] {
        assert_eq!(open("id.jsonl", row(id)).unwrap().test[0].case_id, id);
        assert_eq!(open("id.json", format!("[{}]", row(id))).unwrap().test[0].case_id, id);
    }
    let path = folder.file("long.jsonl", row("1") + "\n" + &row("123456789012345678901234"));
    let report = checked(&path);
    assert_eq!(kinds(&report), [(Kind::Value, 2)]);
    assert!(report.to_string().contains("`case_id` is a number of more digits"), "{report}");
    let cut = row("1") + "\n" + &row("2").replace("\"output", "output");
    let said = open("cut.jsonl", cut).unwrap_err().to_string();
    assert!(said.contains("cut.jsonl row 2: column 37: not JSON: key must be a string"), "{said}");
    let nan = row("1") + "\n" + &row("2").replace("\"cyst\"", "NaN");
    let said = open("nan.jsonl", nan).unwrap_err().to_string();
    assert!(said.contains("row 2") && said.contains("`NaN` and `Infinity` are no JSON"), "{said}");
    let said = refused(&folder.file("cut.json", format!("[\n{},\n{}", row("1"), row("2"))));
    assert!(said.contains("cut.json line 3, column") && said.contains("EOF while parsing a list"), "{said}");
    let said = refused(&folder.file("lines.json", row("1") + "\n" + &row("2")));
    assert!(said.contains("lines.json line 2") && said.contains("`.jsonl`"), "{said}");
    let report = checked(&folder.file("list.jsonl", format!("[\n{}\n]", row("1"))));
    assert!(report.to_string().contains("list.jsonl row 1: `[` alone"), "{report}");
    assert!(refused(&folder.file("page.jsonl", "<!DOCTYPE html><html>")).contains("web page"));
    assert!(refused(&folder.file("empty.json", " ")).contains("the file is empty"));
}

#[test]
fn a_cell_that_is_a_file_is_named_and_not_worked_on() {
    let folder = Folder::new();
    let huge = "word ".repeat(40 << 20); // 200 MB
    let path = folder
        .file("huge.csv", format!("{HEAD}a1,One.,\"{huge}\",train\na2,\"{huge}\",cyst,test\na3,Three.,cyst,test\n"));
    let start = std::time::Instant::now();
    let report = checked(&path);
    assert_eq!(kinds(&report), [(Kind::Value, 2), (Kind::Value, 3)]);
    assert!(
        report.to_string().len() < 1000 && report.to_string().contains("`input_finding` holds 209715199 bytes"),
        "{report}"
    );
    assert!(start.elapsed().as_secs() < 60);
    let row = serde_json::json!({"case_id": "1", "input_finding": huge, "output_disease": [huge]});
    let report = checked(&folder.file("huge.jsonl", row.to_string()));
    assert_eq!(kinds(&report), [(Kind::Value, 1); 2]);
}

#[test]
fn names_that_hold_what_does_not_show_are_named() {
    let folder = Folder::new();
    let head = "case_\u{feff}id,input_finding,output_\u{2062}disease,split,group\n";
    let text = format!(
        "{head}a\u{180e}1,One.,cyst,train,p\na2,Two.,renal\u{3164}cyst,test,p\u{200b}\na3,Three.,cyst,test,p\n"
    );
    let report = checked(&folder.file("odd.csv", text));
    let told = report.to_string();
    for part in [
        "row 2: column `case_id` holds U+180E",
        "row 3: column `group` holds U+200B",
        "`renal\u{3164}cyst`: holds U+3164",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(report.problems.iter().all(|p| matches!(p.kind, Kind::Characters | Kind::AsWritten)), "{told}");
}

#[test]
fn separators_and_encodings_that_are_not_read_are_named() {
    let folder = Folder::new();
    let table = |mark: &str| format!("{HEAD}a1,Text.,cyst,train\na2,Other.,stone,test\n").replace(',', mark);
    assert!(refused(&folder.file("semi.csv", table(";"))).contains("row 1: fields are separated by a semicolon (`;`)"));
    assert!(refused(&folder.file("tab.csv", table("\t"))).contains("separated by a tab"));
    assert!(refused(&folder.file("sep.csv", format!("sep=,\n{}", table(",")))).contains("`sep=,`"));
    let wide = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let utf16 = [&[0xff, 0xfe][..], &wide(&table(","))].concat();
    assert!(refused(&folder.file("wide.csv", utf16)).contains("UTF-16"));
    assert!(refused(&folder.file("wide2.csv", wide(&table(",")))).contains("UTF-16"));
    let latin = [HEAD.as_bytes(), b"a1,\"Two\nlines.\",cyst,train\na2,\xd6dem.,stone,test\n"].concat();
    let message = refused(&folder.file("latin.csv", latin));
    assert!(message.contains("latin.csv row 3: byte") && message.contains("(0xd6, `Ö` in Latin-1)"), "{message}");
    let book = folder.book("b.xlsx", |book| {
        sheet(book, "train", &[["a", "T.", "cyst"]]);
    });
    assert!(refused(&folder.file("book.csv", std::fs::read(book).unwrap())).contains("zip archive"));
}

#[test]
fn a_mark_of_byte_order_is_no_part_of_any_text_file() {
    let folder = Folder::new();
    let row = r#"{"case_id":"a1","input_finding":"T.","output_disease":"cyst"}"#;
    let csv = format!("\u{feff}{HEAD}a1,T.,cyst,test\n");
    for (name, text) in
        [("m.csv", csv), ("m.jsonl", format!("\u{feff}{row}\n")), ("m.json", format!("\u{feff}[{row}]"))]
    {
        assert_eq!(Corpus::open(&folder.file(name, text)).unwrap().test[0].case_id, "a1", "{name}");
    }
    let toml = std::fs::read_to_string(dxlab::home().join("configs/smollm2-lora.toml")).unwrap();
    let path = folder.file("c.toml", format!("\u{feff}{toml}"));
    assert!(dxlab::study::TrainConfig::read(&path).is_ok());
}

#[test]
fn empty_rows_are_passed_over_and_rows_keep_their_numbers() {
    let folder = Folder::new();
    let path = folder.file("e.csv", format!("{HEAD}a1,One.,cyst,train\n\n,,,\na2,,stone,test\n,,,\n , ,,\n"));
    assert_eq!(kinds(&checked(&path)), [(Kind::EmptyFinding, 5)], "as a spreadsheet numbers it");
    let path = folder.file("g.csv", format!("{HEAD}a1,One.,cyst,train\na2,Two.,stone,test\n,,,\n,,,\n\n"));
    let report = checked(&path);
    assert!(report.problems.is_empty() && (report.train, report.test) == (1, 1), "{report}");
    let path = folder.file("short.csv", format!("{HEAD}a1,One.,cyst\na2,Two, three.,stone,test\n"));
    assert_eq!(kinds(&checked(&path))[..2], [(Kind::Unreadable, 2), (Kind::Unreadable, 3)]);
}

#[test]
fn excel_cells_that_are_no_text_are_named_with_sheet_row_and_column() {
    let folder = Folder::new();
    let path = folder.book("cells.xlsx", |book| {
        let train = sheet(
            book,
            "Train",
            &[["a1", "One.", "cyst"], ["a2", "Two.", ""], ["a3", "", "stone"], ["", "Four.", "cyst"]],
        );
        train.write_formula(2, 2, rust_xlsxwriter::Formula::new("=NA()").set_result("#N/A")).unwrap();
        train.write_formula(3, 1, rust_xlsxwriter::Formula::new("=A1").set_result("")).unwrap();
        let day = rust_xlsxwriter::Format::new().set_num_format("yyyy-mm-dd");
        train.write_number_with_format(4, 0, 45_000.0, &day).unwrap();
        train.write_string(5, 0, "a5").unwrap().write_string(5, 1, "Five.").unwrap().write_boolean(5, 2, true).unwrap();
        train.write_number(6, 0, 1_234_567_890_123_456.0).unwrap();
        train.write_string(6, 1, "Six.").unwrap().write_string(6, 2, "cyst").unwrap();
        train
            .write_number(7, 0, 7.0)
            .unwrap()
            .write_string(7, 1, "Seven.")
            .unwrap()
            .write_string(7, 2, "cyst")
            .unwrap();
        sheet(book, "Test", &[["b1", "Test one.", "cyst"]]);
    });
    let report = checked(&path);
    let told = report.to_string();
    for (kind, row, part) in [
        (Kind::Value, 5, "Train row 5: column `case_id` (A5) holds a date"),
        (Kind::Value, 6, "column `output_disease` (C6) holds the truth value TRUE"),
        (Kind::Value, 7, "column `case_id` (A7) holds a number of more than 15 digits"),
    ] {
        assert!(kinds(&report).contains(&(kind, row)) && told.contains(part), "{kind:?} {row}: {told}");
    }
    assert!(!kinds(&report).iter().any(|(_, row)| *row == 8), "a whole number is an id: {told}");
    assert!(told.contains("Train row 3: column `output_disease` (C3)"), "{told}");
}

/// Parts that no writer makes: cells with an error or a formula without a value.
fn patched(folder: &Folder, name: &str, patch: impl Fn(&str) -> String) -> PathBuf {
    let whole = folder.book("whole.xlsx", |book| {
        sheet(book, "train", &[["a1", "One.", "cyst"], ["a2", "Two.", "stone"], ["a3", "Three.", "cyst"]]);
        sheet(book, "test", &[["b1", "Test one.", "cyst"]]);
    });
    let mut from = zip::ZipArchive::new(std::fs::File::open(whole).unwrap()).unwrap();
    let path = folder.0.path().join(name);
    let mut to = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
    for i in 0..from.len() {
        let mut part = from.by_index(i).unwrap();
        let (mut text, name) = (String::new(), part.name().unwrap().into_owned());
        std::io::Read::read_to_string(&mut part, &mut text).unwrap();
        if name == "xl/worksheets/sheet1.xml" {
            text = patch(&text);
        }
        to.start_file(name.as_str(), zip::write::SimpleFileOptions::default()).unwrap();
        std::io::Write::write_all(&mut to, text.as_bytes()).unwrap();
    }
    to.finish().unwrap();
    path
}

/// The XML of a sheet with another cell at an address.
fn with_cell(xml: &str, at: &str, cell: &str) -> String {
    let start = xml.find(&format!("<c r=\"{at}\"")).unwrap();
    let end = start + xml[start..].find("</c>").unwrap() + 4;
    format!("{}{cell}{}", &xml[..start], &xml[end..])
}

#[test]
fn errors_and_formulas_without_a_value_are_named() {
    let folder = Folder::new();
    let path =
        patched(&folder, "error.xlsx", |xml| with_cell(xml, "C3", "<c r=\"C3\" t=\"e\"><f>NA()</f><v>#N/A</v></c>"));
    let report = checked(&path);
    assert_eq!(kinds(&report), [(Kind::CellError, 3)], "{report}");
    assert!(report.to_string().contains("train row 3: column `output_disease` (C3) holds the error #N/A"), "{report}");
    assert!(Corpus::open(&path).is_err());
    let path = folder.file("error.csv", format!("{HEAD}a1,One.,#N/A,train\na2,Two.,stone,test\n"));
    assert_eq!(kinds(&checked(&path))[0], (Kind::CellError, 2));
    let bare = "<c r=\"B4\"><f>B2</f><v></v></c>";
    let report = checked(&patched(&folder, "formula.xlsx", |xml| with_cell(xml, "B4", bare)));
    assert_eq!(kinds(&report), [(Kind::Formula, 4)], "{report}");
    let blank = |xml: &str| {
        let xml = with_cell(xml, "A4", "<c r=\"A4\"><f>A2</f></c>");
        with_cell(&with_cell(&xml, "B4", "<c r=\"B4\"><f>B2</f></c>"), "C4", "<c r=\"C4\"><f>C2</f></c>")
    };
    let report = checked(&patched(&folder, "last.xlsx", blank));
    assert_eq!(kinds(&report), [(Kind::Formula, 4); 3], "a last row of nothing but formulas is not dropped: {report}");
}

#[test]
fn merged_cells_and_repeated_columns_are_named() {
    let folder = Folder::new();
    let path = folder.book("merged.xlsx", |book| {
        let train = sheet(book, "train", &[["a1", "", "cyst"], ["a2", "", "stone"]]);
        train.merge_range(1, 1, 2, 1, "One text for two.", &rust_xlsxwriter::Format::new()).unwrap();
        sheet(book, "test", &[["b1", "Test one.", "cyst"]]);
    });
    let report = checked(&path);
    assert_eq!(kinds(&report), [(Kind::Merged, 3)], "{report}");
    assert!(report.to_string().contains("merged cells B2:B3"), "{report}");
    let path =
        folder.file("twice.csv", "case_id,input_finding,output_disease,Output Disease,split\n1,T.,cyst,stone,test\n");
    assert_eq!(kinds(&checked(&path)), [(Kind::RepeatedColumn, 1)]);
    let row = r#"{"case_id":"1","input_finding":"T.","output_disease":"cyst","output_disease":"stone"}"#;
    assert_eq!(kinds(&checked(&folder.file("twice.jsonl", row))), [(Kind::RepeatedColumn, 1)]);
}

#[test]
fn only_sheets_named_train_and_test_are_read_and_others_are_named() {
    let folder = Folder::new();
    let path = folder.book("sheets.xlsx", |book| {
        sheet(book, "TRAIN", &[["a1", "One.", "cyst"], ["a2", "Two.", "stone"]]);
        sheet(book, "Test", &[["b1", "Three.", "cyst"]]);
        sheet(book, "train_old", &[["x1", "Not to be read.", "bad"]]).set_hidden(true);
        sheet(book, "Testers", &[["x2", "Nor this.", "bad"]]);
    });
    let report = checked(&path);
    assert!(report.problems.is_empty() && (report.train, report.test) == (2, 1), "{report}");
    assert!(report.notes.iter().any(|n| n.contains("`train_old`, which is hidden, is not read")), "{report}");
    assert!(report.notes.iter().any(|n| n.contains("`Testers` is not read")), "{report}");
    let path = folder.book("two.xlsx", |book| {
        sheet(book, "training", &[["a1", "One.", "cyst"]]);
        sheet(book, "testing", &[["b1", "Two.", "cyst"]]);
    });
    assert!(refused(&path).contains("no sheet named train or test among: training, testing"));
    let json = r#"{"train":[{"case_id":"1","input_finding":"T.","output_disease":"cyst"}],
        "test":[{"case_id":"2","input_finding":"U.","output_disease":"cyst"}],"train_bad":[]}"#;
    assert!(checked(&folder.file("s.json", json)).notes[0].contains("`train_bad`"));
}

#[test]
fn labels_that_no_answer_can_match_are_named() {
    let folder = Folder::new();
    let long = "word ".repeat(21);
    let rows = [
        ("a \"simple\" cyst \"left\"".to_string(), Some(Kind::Unanswerable)),
        (long, Some(Kind::Unanswerable)),
        ("42".into(), Some(Kind::Unanswerable)),
        ("hernia\u{200b} left".into(), Some(Kind::Characters)),
        ("kidney\u{2011}stone".into(), Some(Kind::Characters)),
        ("e\u{301}panchement".into(), Some(Kind::Characters)),
        ("renal cyst (left, simple), gallstone".into(), None),
        ("gallstone; ascites".into(), None),
        ("gallstone\nascites".into(), None),
        ("gallstone, ascites; hernia".into(), Some(Kind::Separator)),
        ("None, gallstone".into(), Some(Kind::Nothing)),
        ("hernia (left, gallstone".into(), Some(Kind::Separator)),
        ("gallstone / ascites".into(), Some(Kind::Mark)),
    ];
    for (cell, kind) in rows {
        let quoted = cell.replace('"', "\"\"");
        let text = format!("{HEAD}a1,One.,gallstone,train\na2,Two.,ascites,train\na3,Three.,\"{quoted}\",test\n");
        let report = checked(&folder.file("l.csv", text));
        let found: Vec<Kind> = report.problems.iter().filter(|p| p.row == 4).map(|p| p.kind).collect();
        match kind {
            None => assert!(report.problems.is_empty(), "{cell}: {report}"),
            Some(kind) => assert!(found.contains(&kind), "{cell}: {report}"),
        }
    }
}

#[test]
fn a_label_with_a_comma_in_a_json_list_is_read_where_training_knows_it_and_named_where_not() {
    let folder = Folder::new();
    let row = |id: &str, labels: &str, split: &str| {
        format!(
            "{{\"case_id\":\"{id}\",\"input_finding\":\"Text {id}.\",\"output_disease\":[{labels}],\"split\":\"{split}\"}}\n"
        )
    };
    let train = row("1", "\"mass, benign\", \"cyst\"", "train");
    let known = train.clone() + &row("2", "\"cyst\", \"mass, benign\"", "test");
    let report = checked(&folder.file("known.jsonl", known));
    assert!(report.problems.is_empty() && report.notes.iter().any(|n| n.contains("holds a comma")), "{report}");
    let report = checked(&folder.file("new.jsonl", train + &row("2", "\"mass, odd\"", "test")));
    assert_eq!(kinds(&report), [(Kind::OnlyAsList, 2)], "{report}");
    let flat = format!("{HEAD}1,One.,\"mass, malignant\",train\n2,Two.,cyst,test\n");
    let report = checked(&folder.file("flat.csv", flat));
    assert!(report.notes.iter().any(|n| n.contains("`malignant` is read as a label of its own")), "{report}");
}

#[test]
fn the_word_for_nothing_means_the_same_in_gold_and_answer() {
    use dxlab::task::{LabelTask, Task};
    let folder = Folder::new();
    let path = folder
        .file("n.csv", format!("{HEAD}1,One.,None,train\n2,Two.,cyst,train\n3,Three.,none,test\n4,Four.,cyst,test\n"));
    let report = checked(&path);
    assert!(report.problems.is_empty(), "{report}");
    let task = LabelTask::open(&path.display().to_string()).unwrap();
    assert!(task.corpus.test[0].gold.is_empty());
    for answer in ["None", "none.", "No acute abnormality", &task.target(&vec![])] {
        let read = task.parse(answer, &task.corpus.test[0].case);
        assert!(read.parsed && read.answer.is_empty(), "{answer}: {read:?}");
    }
    // beside cases without a label it is a label like any other, and prompts say `none`
    let path = folder
        .file("two.csv", format!("{HEAD}1,One.,None,train\n2,Two.,No acute abnormality,train\n3,Three.,cyst,test\n"));
    assert!(checked(&path).problems.is_empty(), "{}", checked(&path));
    let task = LabelTask::open(&path.display().to_string()).unwrap();
    assert_eq!(task.parse("No acute abnormality", &task.corpus.test[0].case).answer, ["No acute abnormality"]);
    assert_eq!(task.target(&vec![]), "none");
}

#[test]
fn prompts_say_nothing_in_the_words_of_the_file() {
    use dxlab::task::{LabelTask, Task};
    let folder = Folder::new();
    let opened = |name: &str, rows: &str| {
        let path = folder.file(name, format!("{HEAD}{rows}9,Nine.,cyst,test\n"));
        assert!(checked(&path).problems.is_empty(), "{}", checked(&path));
        LabelTask::open(&path.display().to_string()).unwrap()
    };
    for (name, rows, wanted) in [
        ("chest.csv", "1,One.,No Finding,train\n2,Two.,edema,train\n", "No Finding"),
        ("most.csv", "1,One.,Normal,train\n2,Two.,unremarkable,train\n3,Three.,unremarkable,train\n", "unremarkable"),
        (
            "case.csv",
            "1,One.,Normal,train\n2,Two.,normal,train\n3,Three.,normal,train\n4,Four.,No finding,train\n5,Five.,No finding,train\n",
            "normal",
        ),
        ("usual.csv", "1,One.,no acute abnormality,train\n2,Two.,cyst,train\n", "no acute abnormality"),
        ("bare.csv", "1,One.,none,train\n2,Two.,cyst,train\n", "none"),
        ("full.csv", "1,One.,mass,train\n2,Two.,cyst,train\n", "none"),
    ] {
        let task = opened(name, rows);
        assert_eq!(task.context().none, wanted, "{name}");
        assert!(
            Prompt::named("instruct", task.context()).unwrap().user.contains(&format!("answer: {wanted}")),
            "{name}"
        );
        let read = task.parse(wanted, &task.corpus.test[0].case);
        let label = (wanted != "none").then(|| wanted.to_string());
        assert!(read.parsed && read.answer == label.into_iter().collect::<Vec<_>>(), "{name}: {read:?}");
        // a part of the cases speaks as the whole does
        assert_eq!(task.validation(0.5, 7).unwrap().context().none, wanted, "{name}");
    }
}

#[test]
fn predicting_on_no_cases_and_evaluating_on_others_are_errors() {
    let folder = Folder::new();
    folder.file("train.csv", "case_id,input_finding,output_disease\n1,One.,cyst\n2,Two.,stone\n");
    let (code, out, _) = dxlab(folder.0.path(), &["data", "check", "train.csv"]);
    assert!(code == 2 && out.contains("no test cases"), "{out}");
    let asked = ["predict", "--data", "train.csv", "--out", "p.jsonl"];
    let (code, _, error) = dxlab(folder.0.path(), &asked);
    assert!(code == 2 && error.contains("no test cases to ask about"), "{error}");
    assert!(!folder.0.path().join("p.jsonl").exists());
    let case = dxlab::corpus::Finding::new("1", "1", "One.", vec!["cyst".to_string()]);
    let one = dxlab::run::Prediction::of(&case, vec!["cyst".to_string()], "cyst");
    dxlab::run::write_predictions(&folder.0.path().join("p.jsonl"), &[one]).unwrap();
    folder.file("same.csv", "case_id,input_finding,output_disease\n1,One.,cyst\n");
    folder.file("other.csv", "case_id,input_finding,output_disease\n9,Nine.,cyst\n");
    folder.file("regold.csv", "case_id,input_finding,output_disease\n1,One.,stone\n");
    let evaluate = |data: &str| dxlab(folder.0.path(), &["evaluate", "p.jsonl", "--resamples", "100", "--data", data]);
    assert_eq!(evaluate("same.csv").0, 0);
    assert_eq!(evaluate("train.csv").0, 0, "training labels alone");
    let (code, _, error) = evaluate("other.csv");
    assert!(code == 2 && error.contains("case `1` is not among its cases"), "{error}");
    let (code, _, error) = evaluate("regold.csv");
    assert!(code == 2 && error.contains("has other gold labels there"), "{error}");
}

#[test]
fn errors_of_spreadsheets_in_other_languages_and_shortened_ids_are_named() {
    let folder = Folder::new();
    let csv = |rows: &str| folder.file("train.csv", rows);
    for error in ["#NV", "#n/a", "#WERT!", "#BEZUG!", "#VALEUR!", "#NOM?", "#¡REF!", "Err:502"] {
        let path = csv(&format!("{HEAD}a1,A cyst.,{error},train\na2,A stone.,gallstone,test\n"));
        assert_eq!(kinds(&checked(&path)), [(Kind::CellError, 2)], "{error}");
    }
    let path = csv(&format!("{HEAD}1.23457E+11,A cyst.,renal cyst,train\na2,A stone.,gallstone,test\n"));
    assert_eq!(kinds(&checked(&path)), [(Kind::Value, 2)]);
    let path = csv(&format!("\n,,,\n{HEAD}a1,A cyst.,renal cyst,train\na2,A stone.,#NV,test\n"));
    assert_eq!(kinds(&checked(&path)), [(Kind::CellError, 5)], "empty rows above the header are counted, no more");
    let gzip = refused(&folder.file("packed.csv", [0x1f, 0x8b, 8, 0, 0]));
    assert!(gzip.contains("gzip"), "{gzip}");
    let text = refused(&folder.file("named.xlsx", format!("{HEAD}a1,A cyst.,renal cyst,train\n")));
    assert!(text.contains("is it a CSV file"), "{text}");
}

#[test]
fn what_excel_shows_otherwise_than_the_file_has_it_is_named() {
    let folder = Folder::new();
    let path = folder.book("train.xlsx", |book| {
        let rows = [
            ["a1", "A cyst.", ""],
            ["a2", "A stone.", ""],
            ["a3", "Ascites.", "ascites"],
            ["a4", "Air.", ""],
            ["a5", "Fat.", ""],
        ];
        let train = sheet(book, "train", &rows);
        train.merge_range(1, 2, 2, 2, "renal cyst", &rust_xlsxwriter::Format::new()).unwrap();
        train.write_string(2, 2, "gallstone").unwrap();
        train.write_number(4, 2, 0.5).unwrap();
        train.write_formula(5, 2, "=A1").unwrap();
    });
    let report = checked(&path);
    let expected = [(Kind::Formula, 6), (Kind::Merged, 3), (Kind::Value, 5)];
    assert_eq!(kinds(&report), expected, "{:?}", report.problems);
    let said: String = report.problems.iter().map(|p| format!("{p:?}")).collect();
    for part in ["gallstone", "does not show", "0.5", "stored value 0"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn a_number_is_read_as_its_format_shows_it_or_named() {
    let folder = Folder::new();
    let format = |code: &str| rust_xlsxwriter::Format::new().set_num_format(code);
    let path = folder.book("test.xlsx", |book| {
        let rows = [["", "A cyst.", "renal cyst"], ["", "A stone.", "gallstone"], ["", "Fat.", "hernia"]];
        let test = sheet(book, "test", &rows);
        test.write_number_with_format(1, 0, 7, &format("\"CT-\"000")).unwrap();
        test.write_number_with_format(2, 0, 8, &format("00000")).unwrap();
        test.write_number(3, 0, 9).unwrap();
    });
    assert!(checked(&path).problems.is_empty(), "{}", checked(&path));
    let corpus = Corpus::open(&path).unwrap();
    let ids: Vec<&str> = corpus.test.iter().map(|one| one.case.case_id.as_str()).collect();
    assert_eq!(ids, ["CT-007", "00008", "9"]);
    let other = folder.book("test.xlsx", |book| {
        let test = sheet(book, "test", &[["", "A cyst.", "renal cyst"], ["a2", "A stone.", "gallstone"]]);
        test.write_number_with_format(1, 0, 7, &format("0.00")).unwrap();
    });
    let report = checked(&other);
    assert_eq!(kinds(&report), [(Kind::Value, 2)]);
    assert!(report.to_string().contains("number format `0.00`"), "{report}");
}

#[test]
fn a_title_above_the_header_lost_cells_and_files_beside_are_told() {
    let folder = Folder::new();
    let title = format!("Radiology 2024,,,\n{HEAD}a1,A text.,renal cyst,test\n");
    let report = checked(&folder.file("title.csv", title));
    assert!(report.to_string().contains("row 2 looks like the header"), "{report}");
    let lost =
        format!("{HEAD}a1,########,renal cyst,test\n########,A text.,renal cyst,test\na3,B text.,########,test\n");
    assert_eq!(
        kinds(&checked(&folder.file("lost.csv", lost))).iter().filter(|one| one.0 == Kind::CellError).count(),
        3
    );
    let dir = Folder::new();
    dir.file("test.csv", format!("{HEAD}a1,A text.,renal cyst,test\n"));
    dir.file("train (1).csv", format!("{HEAD}a2,B text.,renal cyst,train\n"));
    let report = checked(dir.0.path());
    assert!(report.to_string().contains("`train (1).csv`: not read"), "{report}");
}
