//! Values with their intervals, one row a model or a comparison.
use crate::error::{Error, Result};
use crate::metric::{Difference, Estimate};
use crate::report::kit::canvas;
use crate::report::kit::canvas::{DARK, FAINT, GREY, SIZE, anchored, fit, font};
use crate::report::kit::display::{Figure, NONE, detectable, difference, number, spread};
use crate::study::Comparison;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

/// One row a model: a dot with its interval and the numbers beside it. `title` names the metric, n and the level;
/// `reference` draws a line, 0 for differences.
pub fn forest(rows: &[(String, Estimate)], title: &str, reference: Option<f64>) -> Result<Figure> {
    let ends = rows.iter().flat_map(|(_, e)| [e.low, e.high, e.value]).chain(reference);
    let Some(range) = canvas::span(ends).filter(|_| !rows.is_empty()) else {
        return Err(Error::input("forest: no estimates to draw"));
    };
    let left = rows.iter().map(|(name, _)| canvas::text_width(name, 13)).max().unwrap_or(0).clamp(60, 250) + 14;
    let size = (SIZE.0.max(left + 440), 28 * rows.len() as u32 + 76);
    let numbers = 150; // pixels to the right for the numbers
    Figure::draw(size, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(14)
            .margin_right(14 + numbers)
            .x_label_area_size(46)
            .y_label_area_size(left)
            .build_cartesian_2d(range.clone(), rows.len() as f64..0.0)?;
        canvas::axes(&mut chart, title, None)?;
        if let Some(x) = reference {
            let line = PathElement::new(vec![(x, 0.0), (x, rows.len() as f64)], GREY.stroke_width(2));
            chart.draw_series(std::iter::once(line))?;
        }
        for (i, (name, estimate)) in rows.iter().enumerate() {
            let y = i as f64 + 0.5;
            let whisker = PathElement::new(vec![(estimate.low, y), (estimate.high, y)], DARK.stroke_width(2));
            chart.draw_series(std::iter::once(whisker))?;
            chart.draw_series(std::iter::once(Circle::new((estimate.value, y), 4, DARK.filled())))?;
            let middle = chart.backend_coord(&(range.start, y));
            let style = anchored(13, HPos::Right, VPos::Center);
            area.draw(&Text::new(fit(name, 13, left - 10), (middle.0 - 10, middle.1), style))?;
            let text = spread(estimate.value, estimate.low, estimate.high, "");
            area.draw(&Text::new(text, ((size.0 - numbers - 4) as i32, middle.1), font(12)))?;
        }
        Ok(())
    })
}

/// Comparisons from which on a figure of many that start from the same model takes one line a row.
pub(super) const FEW_ROWS: usize = 12;

/// One row a comparison: the difference with its interval; a pale bar for what a test of so many cases would miss too often to say that
/// there is nothing (the minimum detectable effect either way of 0); to the right the numbers, p after Holm and that effect.
///
/// Where many rows start from the same model, its name stands in the head alone, and a row takes one line.
pub fn paired_forest(rows: &[Comparison], title: &str) -> Result<Figure> {
    let rows: Vec<(&Comparison, &Difference)> =
        rows.iter().filter_map(|row| Some((row, row.difference.as_ref()?))).collect();
    let reach = |d: &Difference| d.detectable.into_iter().flat_map(|effect| [-effect, effect]).collect::<Vec<_>>();
    let ends = rows.iter().flat_map(|(_, d)| [d.low, d.high].into_iter().chain(reach(d)));
    let Some(range) = canvas::span(ends.chain([0.0])).filter(|_| !rows.is_empty()) else {
        return Err(Error::input("forest of differences: no comparison to draw"));
    };
    let dense = rows.len() > FEW_ROWS && rows.iter().all(|(row, _)| row.a == rows[0].0.a);
    let start = |row: &Comparison| if dense { 0 } else { canvas::text_width(&row.a, 13) };
    let widest = |row: &Comparison| start(row).max(canvas::text_width(&row.b, 13) + 18);
    let left = rows.iter().map(|(row, _)| widest(row)).max().unwrap_or(0).clamp(60, 300) + 14;
    let numbers = 310; // pixels to the right for the numbers
    let height = if dense { 22 } else { 42 };
    let size = (SIZE.0.max(left + numbers + 190), height * rows.len() as u32 + 96);
    Figure::draw(size, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(14)
            .margin_top(34)
            .margin_right(14 + numbers)
            .x_label_area_size(46)
            .y_label_area_size(left)
            .build_cartesian_2d(range.clone(), rows.len() as f64..0.0)?;
        canvas::axes(&mut chart, title, None)?;
        let at = |column: i32| (size.0 - numbers - 4) as i32 + [0, 148, 214][column as usize];
        let gain = if dense { format!("row − {}", rows[0].0.a) } else { "b − a".to_string() };
        for (column, head) in (0..).zip([gain.as_str(), "p (Holm)", "detectable"]) {
            area.draw(&Text::new(head, (at(column), 20), font(12)))?;
        }
        for (i, (row, d)) in rows.iter().enumerate() {
            let y = i as f64 + 0.5;
            if let Some(effect) = d.detectable {
                chart.draw_series([Rectangle::new([(-effect, y - 0.32), (effect, y + 0.32)], FAINT.filled())])?;
            }
            chart.draw_series([PathElement::new(vec![(d.low, y), (d.high, y)], DARK.stroke_width(2))])?;
            chart.draw_series([Circle::new((d.value, y), if dense { 3 } else { 4 }, DARK.filled())])?;
            let middle = chart.backend_coord(&(range.start, y));
            let one = [(row.b.clone(), 0)];
            let two = [(row.a.clone(), -8), (format!("→ {}", row.b), 8)];
            for (name, below) in if dense { one.to_vec() } else { two.to_vec() } {
                let style = anchored(13, HPos::Right, VPos::Center);
                area.draw(&Text::new(fit(&name, 13, left - 10), (middle.0 - 10, middle.1 + below), style))?;
            }
            let cell = |value: Option<f64>| value.map_or(NONE.into(), number);
            let texts = [difference(Some(d)), cell(row.p_holm), detectable(Some(d))];
            for (column, text) in (0..).zip(texts) {
                area.draw(&Text::new(text, (at(column), middle.1), font(12)))?;
            }
        }
        let zero = PathElement::new(vec![(0.0, 0.0), (0.0, rows.len() as f64)], GREY.stroke_width(2));
        chart.draw_series(std::iter::once(zero))?;
        Ok(())
    })
}
