//! Findings in the formats that are read; labels as [`cell`] writes them: joined by `, `, or as a JSON list where that would be read in
//! another way.
use super::cell;
use crate::corpus::{Case, Corpus, Finding};
use crate::error::{Error, Result};
use crate::io;
use serde_json::json;
use std::path::Path;

/// One object a line.
pub fn write_jsonl(path: &Path, cases: &[Finding]) -> Result<()> {
    let line = |case: &Finding| {
        let (Case { case_id, group, input }, labels) = (&case.case, &case.gold);
        let value = |text: &str| json!(text).to_string();
        // written by hand so that the keys keep this order
        format!(
            "{{\"case_id\":{},\"group\":{},\"input_finding\":{},\"output_disease\":{}}}\n",
            value(case_id),
            value(group),
            value(input),
            value(&cell::written(labels))
        )
    };
    io::write(path, cases.iter().map(line).collect::<String>().as_bytes())
}

/// Both splits in one file, told apart by a `split` column.
pub fn write_csv(path: &Path, corpus: &Corpus) -> Result<()> {
    let failed = |e: String| Error::failed(format!("{}: {e}", path.display()));
    let mut out = ::csv::Writer::from_writer(Vec::new());
    out.write_record(["case_id", "group", "split", "input_finding", "output_disease"])
        .map_err(|e| failed(e.to_string()))?;
    for (split, cases) in [("train", &corpus.train), ("test", &corpus.test)] {
        for case in cases {
            let labels = cell::written(&case.gold);
            let record = [&case.case_id, &case.group, split, &case.input, &labels];
            out.write_record(record).map_err(|e| failed(e.to_string()))?;
        }
    }
    io::write(path, &out.into_inner().map_err(|e| failed(e.to_string()))?)
}

/// Sheets `train` and `test`.
pub fn write_xlsx(path: &Path, corpus: &Corpus) -> Result<()> {
    let failed = |e: rust_xlsxwriter::XlsxError| Error::failed(format!("{}: {e}", path.display()));
    let mut book = rust_xlsxwriter::Workbook::new();
    for (split, cases) in [("train", &corpus.train), ("test", &corpus.test)] {
        let sheet = book.add_worksheet();
        sheet.set_name(split).map_err(failed)?;
        for (column, name) in ["case_id", "group", "input_finding", "output_disease"].into_iter().enumerate() {
            sheet.write(0, column as u16, name).map_err(failed)?;
        }
        for (i, case) in cases.iter().enumerate() {
            let cells = [&case.case_id, &case.group, &case.input, &cell::written(&case.gold)];
            for (column, cell) in cells.into_iter().enumerate() {
                sheet.write_string(i as u32 + 1, column as u16, cell).map_err(failed)?;
            }
        }
    }
    io::write(path, &book.save_to_buffer().map_err(failed)?)
}
