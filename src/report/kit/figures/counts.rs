//! Figures of a corpus: how often labels come, and how long texts are.
use crate::error::{Error, Result};
use crate::metric::quantile;
use crate::report::kit::canvas;
use crate::report::kit::canvas::{Area, DARK, Drawn, LIGHT, SIZE, anchored, fit, look, tick};
use crate::report::kit::display::Figure;
use crate::report::kit::tables::ranked;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};
use std::collections::BTreeMap;

/// The long tail: labels ranked by training cases against cases, both axes logarithmic. Test cases at the rank of the same
/// label; a label that only the test has stands at the end.
pub fn label_frequencies(train: &BTreeMap<String, usize>, test: &BTreeMap<String, usize>) -> Result<Figure> {
    let rows = ranked(train, test);
    let most = rows.iter().map(|row| row.1.max(row.2)).max().unwrap_or(0);
    if most == 0 {
        return Err(Error::input("label frequencies: no labels to draw"));
    }
    let points = |pick: fn(&(&str, usize, usize)) -> usize| -> Vec<(f64, f64)> {
        let drawn = rows.iter().enumerate().filter(|(_, row)| pick(row) > 0);
        drawn.map(|(i, row)| ((i + 1) as f64, pick(row) as f64)).collect()
    };
    let (train, test) = (points(|row| row.1), points(|row| row.2));
    let end = (rows.len() as f64 * 1.15).max(2.0);
    Figure::draw(SIZE, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(14)
            .x_label_area_size(46)
            .y_label_area_size(60)
            .build_cartesian_2d((0.85..end).log_scale(), (0.7..most as f64 * 1.5).log_scale())?;
        canvas::axes(&mut chart, "label, ranked by training cases (log)", Some("cases with the label (log)"))?;
        chart.draw_series(test.iter().map(|&p| TriangleMarker::new(p, 5, LIGHT.filled())))?;
        chart.draw_series(train.iter().map(|&p| Circle::new(p, 3, DARK.filled())))?;
        let dot = |area: &Area, at: (i32, i32)| -> Drawn { Ok(area.draw(&Circle::new(at, 4, DARK.filled()))?) };
        let triangle =
            |area: &Area, at: (i32, i32)| -> Drawn { Ok(area.draw(&TriangleMarker::new(at, 5, LIGHT.filled()))?) };
        let names = [format!("training ({} labels)", train.len()), format!("test ({} labels)", test.len())];
        canvas::key(area, SIZE.0 as i32 - 20, 28, &[(&names[0], &dot), (&names[1], &triangle)])
    })
}

/// The `count` most frequent labels as bars, training above test, as shares of the cases of each part.
pub fn top_labels(
    train: (&BTreeMap<String, usize>, usize),
    test: (&BTreeMap<String, usize>, usize),
    count: usize,
) -> Result<Figure> {
    let rows: Vec<_> = ranked(train.0, test.0).into_iter().take(count).collect();
    if rows.is_empty() || train.1 == 0 {
        return Err(Error::input("top labels: no labels to draw"));
    }
    let share = |n: usize, of: usize| 100.0 * n as f64 / of.max(1) as f64;
    let most = rows.iter().map(|row| share(row.1, train.1).max(share(row.2, test.1))).fold(1.0, f64::max);
    let left = rows.iter().map(|row| canvas::text_width(row.0, 13)).max().unwrap_or(0).clamp(60, 240) + 12;
    let size = (SIZE.0, 24 * rows.len() as u32 + 80);
    Figure::draw(size, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(14)
            .x_label_area_size(46)
            .y_label_area_size(left)
            .build_cartesian_2d(0.0..most * 1.05, rows.len() as f64..0.0)?;
        canvas::axes(&mut chart, "share of cases (%)", None)?;
        for (i, (label, in_train, in_test)) in rows.iter().enumerate() {
            let y = i as f64;
            let bars = [(y + 0.14, share(*in_train, train.1), DARK), (y + 0.5, share(*in_test, test.1), LIGHT)];
            chart.draw_series(
                bars.map(|(top, x, colour)| Rectangle::new([(0.0, top), (x, top + 0.36)], colour.filled())),
            )?;
            let at = chart.backend_coord(&(0.0, y + 0.5));
            let style = anchored(13, HPos::Right, VPos::Center);
            area.draw(&Text::new(fit(label, 13, left - 8), (at.0 - 8, at.1), style))?;
        }
        let square = |colour: RGBColor| {
            move |area: &Area, (x, y): (i32, i32)| -> Drawn {
                Ok(area.draw(&Rectangle::new([(x - 8, y - 5), (x + 8, y + 5)], colour.filled()))?)
            }
        };
        let bottom = size.1 as i32 - 110;
        canvas::key(area, SIZE.0 as i32 - 24, bottom, &[("training", &square(DARK)), ("test", &square(LIGHT))])
    })
}

/// Lengths of texts of two or more parts as shares of each part's texts; medians in the key. `unit`: "words", "tokens".
pub fn lengths(parts: &[(&str, Vec<usize>)], unit: &str) -> Result<Figure> {
    let longest = parts.iter().flat_map(|(_, lengths)| lengths).copied().max().unwrap_or(0);
    if longest == 0 {
        return Err(Error::input("lengths: no texts to draw"));
    }
    let width = bin_width(longest);
    let bins = longest / width + 1;
    let shares: Vec<Vec<f64>> = parts.iter().map(|(_, lengths)| histogram(lengths, width, bins)).collect();
    let most = shares.iter().flatten().copied().fold(1.0, f64::max);
    let names: Vec<String> = parts.iter().map(|(name, lengths)| with_median(name, lengths)).collect();
    Figure::draw(SIZE, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(14)
            .x_label_area_size(46)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..(bins * width) as f64, 0.0..most * 1.15)?;
        canvas::axes(&mut chart, &format!("length of a text ({unit}, bins of {width})"), Some("share of texts (%)"))?;
        for (at, share) in shares.iter().enumerate() {
            let step = |(i, v): (usize, &f64)| [((i * width) as f64, *v), (((i + 1) * width) as f64, *v)];
            let outline = share.iter().enumerate().flat_map(step).map(|point| chart.backend_coord(&point));
            look(at).line(area, &outline.collect::<Vec<_>>())?;
        }
        let strokes: Vec<_> = (0..names.len()).map(|at| look(at).stroke()).collect();
        let entries: Vec<(&str, &dyn Fn(&Area, (i32, i32)) -> Drawn)> =
            names.iter().zip(&strokes).map(|(name, stroke)| (name.as_str(), stroke as _)).collect();
        canvas::key(area, SIZE.0 as i32 - 24, 28, &entries)
    })
}

/// 1, 2 or 5 times a power of ten, so that there are about thirty bins.
pub(super) fn bin_width(longest: usize) -> usize {
    let steps = (0..).flat_map(|power| [1, 2, 5].map(|m| m * 10usize.pow(power)));
    steps.take(24).find(|step| longest / step <= 30).unwrap_or(longest.max(1))
}

fn histogram(lengths: &[usize], width: usize, bins: usize) -> Vec<f64> {
    let mut counts = vec![0usize; bins];
    lengths.iter().for_each(|length| counts[length / width] += 1);
    counts.iter().map(|&count| 100.0 * count as f64 / lengths.len().max(1) as f64).collect()
}

fn with_median(name: &str, lengths: &[usize]) -> String {
    let mut sorted: Vec<f64> = lengths.iter().map(|&length| length as f64).collect();
    sorted.sort_by(f64::total_cmp);
    let median = quantile(&sorted, 0.5).map_or(String::new(), |median| format!(", median {}", tick(median)));
    format!("{name} (n = {}{median})", lengths.len())
}
