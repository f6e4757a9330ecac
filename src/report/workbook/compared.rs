//! Paired comparisons in the workbook: of the files, and of the grid's arms. Each is a family of its own, within which p was corrected.
use super::arms::Arms;
use super::{Place, Xlsx, header, link, numbers_at, text};
use crate::study::Comparison;
use rust_xlsxwriter::Worksheet;
use std::collections::BTreeMap;

pub(super) const SHEET: &str = "comparisons";

/// Comparisons whose p were corrected together, and where the answers of each name stand.
pub(super) struct Family<'a> {
    name: &'static str,
    rows: &'a [Comparison],
    places: BTreeMap<&'a str, Place<'a>>,
}

/// Those that have any.
pub(super) fn families<'a>(
    files: &'a [Comparison],
    places: BTreeMap<&'a str, Place<'a>>,
    arms: Option<&'a Arms>,
) -> Vec<Family<'a>> {
    let of_files = Family { name: "files", rows: files, places };
    let of_arms = arms.map(|arms| Family { name: "arms of the grid", rows: &arms.compared, places: arms.places() });
    [Some(of_files), of_arms].into_iter().flatten().filter(|family| !family.rows.is_empty()).collect()
}

pub(super) fn write(sheet: &mut Worksheet, families: &[Family]) -> Xlsx<()> {
    let columns = [
        ("a", 32.0),
        ("b", 32.0),
        ("metric", 16.0),
        ("family", 16.0),
        ("b − a", 10.0),
        ("low", 10.0),
        ("high", 10.0),
        ("p", 10.0),
        ("p (Holm)", 10.0),
        ("permutation (Holm)", 18.0),
        ("McNemar (Holm)", 16.0),
        ("detectable", 12.0),
        ("n", 8.0),
        ("resamples", 11.0),
    ];
    let all = || families.iter().flat_map(|family| family.rows.iter().map(move |row| (family, row)));
    header(sheet, &columns, all().count())?;
    for (at, (family, row)) in (1..).zip(all()) {
        for (column, name) in [(0, &row.a), (1, &row.b)] {
            match family.places.get(name.as_str()) {
                Some(place) => link(sheet, at, column, name, *place)?,
                None => text(sheet, at, column, name)?,
            }
        }
        text(sheet, at, 2, &row.metric)?;
        text(sheet, at, 3, family.name)?;
        let d = row.difference.as_ref();
        let of = |value: fn(&crate::metric::Difference) -> f64| d.map(value);
        let numbers = [
            of(|d| d.value),
            of(|d| d.low),
            of(|d| d.high),
            of(|d| d.p),
            row.p_holm,
            row.p_permutation_holm,
            row.p_mcnemar_holm,
            d.and_then(|d| d.detectable),
            of(|d| d.n as f64),
            of(|d| d.resamples as f64),
        ];
        numbers_at(sheet, at, 4, &numbers)?;
    }
    Ok(())
}
