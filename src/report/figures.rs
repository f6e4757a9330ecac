//! Figures of the report. Each takes numbers that a file yielded and gives a `Figure`; equal numbers give equal bytes.
use super::canvas::{self, Area, DARK, Drawn, FAINT, GREY, LIGHT, SIZE, anchored, fit, font, tick};
use super::display::{Figure, NONE, difference, number, spread};
use super::tables::ranked;
use crate::error::{Error, Result};
use crate::metric::{Calibration, Difference, Estimate, Quality, quantile};
use crate::study::Comparison;
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
    let styles = series_styles();
    Figure::draw(SIZE, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(14)
            .x_label_area_size(46)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..(bins * width) as f64, 0.0..most * 1.15)?;
        canvas::axes(&mut chart, &format!("length of a text ({unit}, bins of {width})"), Some("share of texts (%)"))?;
        for (share, style) in shares.iter().zip(styles.iter().cycle()) {
            let step = |(i, v): (usize, &f64)| [((i * width) as f64, *v), (((i + 1) * width) as f64, *v)];
            let outline: Vec<(f64, f64)> = share.iter().enumerate().flat_map(step).collect();
            chart.draw_series(std::iter::once(PathElement::new(outline, *style)))?;
        }
        let strokes: Vec<_> = styles.iter().cycle().take(names.len()).map(|style| canvas::stroke(*style)).collect();
        let entries: Vec<(&str, &dyn Fn(&Area, (i32, i32)) -> Drawn)> =
            names.iter().zip(&strokes).map(|(name, stroke)| (name.as_str(), stroke as _)).collect();
        canvas::key(area, SIZE.0 as i32 - 24, 28, &entries)
    })
}

/// Dark and thick, light and thin, grey: told apart without colour.
fn series_styles() -> [ShapeStyle; 3] {
    [DARK.stroke_width(3), LIGHT.stroke_width(2), GREY.stroke_width(1)]
}

/// 1, 2 or 5 times a power of ten, so that there are about thirty bins.
fn bin_width(longest: usize) -> usize {
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

/// Loss by step: training as a thin grey line with its running mean, held-out as dark points with the best one marked.
/// Losses are nats per supervised token.
pub fn learning_curve(train: &[(usize, f64)], held_out: &[(usize, f64)]) -> Result<Figure> {
    let point = |&(step, loss): &(usize, f64)| (step as f64, loss);
    let finite = |points: &[(usize, f64)]| points.iter().map(point).filter(|p| p.1.is_finite()).collect::<Vec<_>>();
    let (train, held_out) = (finite(train), finite(held_out));
    let Some(losses) = canvas::span(train.iter().chain(&held_out).map(|p| p.1)) else {
        return Err(Error::input("learning curve: no finite losses to draw"));
    };
    let last = train.iter().chain(&held_out).map(|p| p.0).fold(1.0, f64::max);
    let smooth = running_mean(&train);
    let best = held_out.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1));
    Figure::draw(SIZE, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(14)
            .x_label_area_size(46)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..last * 1.03, losses.start.max(0.0)..losses.end)?;
        canvas::axes(&mut chart, "step", Some("loss (nats per token)"))?;
        let (thin, mean, dark) = (RGBColor(205, 205, 205).stroke_width(1), LIGHT.stroke_width(2), DARK.stroke_width(2));
        chart.draw_series(std::iter::once(PathElement::new(train.clone(), thin)))?;
        chart.draw_series(std::iter::once(PathElement::new(smooth, mean)))?;
        chart.draw_series(std::iter::once(PathElement::new(held_out.clone(), dark)))?;
        chart.draw_series(held_out.iter().map(|&p| Circle::new(p, 4, DARK.filled())))?;
        chart.draw_series(best.iter().map(|&p| Circle::new(p, 8, DARK.stroke_width(2))))?;
        let held = |area: &Area, at: (i32, i32)| -> Drawn {
            area.draw(&PathElement::new(vec![(at.0 - 12, at.1), (at.0 + 12, at.1)], dark))?;
            Ok(area.draw(&Circle::new(at, 4, DARK.filled()))?)
        };
        let ring = best.map(|(step, loss)| format!("held out (best {loss:.3} at step {step})"));
        let (train_key, mean_key) = (canvas::stroke(thin), canvas::stroke(mean));
        let mut entries: Vec<(&str, &dyn Fn(&Area, (i32, i32)) -> Drawn)> =
            vec![("training, each step", &train_key), ("training, running mean", &mean_key)];
        if let Some(name) = &ring {
            entries.push((name, &held));
        }
        canvas::key(area, SIZE.0 as i32 - 24, 28, &entries)
    })
}

/// A line a series through its estimates, each with its interval as a bar and the band between them; x logarithmic. Series differ in
/// marker and lightness.
pub fn bands(series: &[(String, Vec<(f64, Estimate)>)], x_title: &str, y_title: &str) -> Result<Figure> {
    let points = || series.iter().flat_map(|(_, points)| points);
    let Some(values) = canvas::span(points().flat_map(|(_, e)| [e.low, e.high, e.value])) else {
        return Err(Error::input("bands: no estimates to draw"));
    };
    let (first, last) = points().fold((f64::MAX, 0.0f64), |(low, high), (x, _)| (low.min(*x), high.max(*x)));
    let styles = [DARK, LIGHT, GREY];
    let mark = |colour: RGBColor, at: usize| {
        move |area: &Area, (x, y): (i32, i32)| -> Drawn {
            area.draw(&PathElement::new(vec![(x - 12, y), (x + 12, y)], colour.stroke_width(2)))?;
            dot(area, (x, y), colour, at)
        }
    };
    Figure::draw(SIZE, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(14)
            .x_label_area_size(46)
            .y_label_area_size(60)
            .build_cartesian_2d((first * 0.85..last * 1.15).log_scale(), values.start..values.end)?;
        canvas::axes(&mut chart, x_title, Some(y_title))?;
        for (at, ((_, points), colour)) in series.iter().zip(styles.iter().cycle()).enumerate() {
            let ends = points.iter().map(|(x, e)| (*x, e.high)).chain(points.iter().rev().map(|(x, e)| (*x, e.low)));
            chart.draw_series([Polygon::new(ends.collect::<Vec<_>>(), colour.mix(0.15).filled())])?;
            let line: Vec<(f64, f64)> = points.iter().map(|(x, e)| (*x, e.value)).collect();
            chart.draw_series([PathElement::new(line.clone(), colour.stroke_width(2))])?;
            for (x, e) in points {
                chart.draw_series([PathElement::new(vec![(*x, e.low), (*x, e.high)], colour.stroke_width(1))])?;
            }
            for &point in &line {
                dot(area, chart.backend_coord(&point), *colour, at)?;
            }
        }
        let marks: Vec<_> = styles.iter().cycle().zip(series).enumerate().map(|(at, (c, _))| mark(*c, at)).collect();
        let entries: Vec<(&str, &dyn Fn(&Area, (i32, i32)) -> Drawn)> =
            series.iter().zip(&marks).map(|((name, _), mark)| (name.as_str(), mark as _)).collect();
        canvas::key(area, SIZE.0 as i32 - 24, SIZE.1 as i32 - 76 - 18 * series.len() as i32, &entries)
    })
}

/// A point of the series of this number: in turn a circle and a triangle, so that two can be told apart in black and white.
fn dot(area: &Area, at: (i32, i32), colour: RGBColor, series: usize) -> Drawn {
    match series % 2 {
        0 => Ok(area.draw(&Circle::new(at, 4, colour.filled()))?),
        _ => Ok(area.draw(&TriangleMarker::new(at, 6, colour.filled()))?),
    }
}

/// Mean over a window of a twentieth of the points, ending at each point.
fn running_mean(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let window = (points.len() / 20).max(1);
    let mean = |i: usize| {
        let part = &points[(i + 1).saturating_sub(window)..=i];
        (points[i].0, part.iter().map(|p| p.1).sum::<f64>() / part.len() as f64)
    };
    (0..points.len()).map(mean).collect()
}

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
            chart.draw_series(std::iter::once(Circle::new((estimate.value, y), 5, DARK.filled())))?;
            let middle = chart.backend_coord(&(range.start, y));
            let style = anchored(13, HPos::Right, VPos::Center);
            area.draw(&Text::new(fit(name, 13, left - 10), (middle.0 - 10, middle.1), style))?;
            let text = spread(estimate.value, estimate.low, estimate.high, "");
            area.draw(&Text::new(text, ((size.0 - numbers - 4) as i32, middle.1), font(12)))?;
        }
        Ok(())
    })
}

/// One row a comparison: the difference with its interval; a pale bar for what a test of so many cases would miss too often to say that
/// there is nothing (the minimum detectable effect either way of 0); to the right the numbers, p after Holm and that effect.
pub fn paired_forest(rows: &[Comparison], title: &str) -> Result<Figure> {
    let rows: Vec<(&Comparison, &Difference)> =
        rows.iter().filter_map(|row| Some((row, row.difference.as_ref()?))).collect();
    let reach = |d: &Difference| d.detectable.into_iter().flat_map(|effect| [-effect, effect]).collect::<Vec<_>>();
    let ends = rows.iter().flat_map(|(_, d)| [d.low, d.high].into_iter().chain(reach(d)));
    let Some(range) = canvas::span(ends.chain([0.0])).filter(|_| !rows.is_empty()) else {
        return Err(Error::input("forest of differences: no comparison to draw"));
    };
    let widest = |row: &Comparison| canvas::text_width(&row.a, 13).max(canvas::text_width(&row.b, 13) + 18);
    let left = rows.iter().map(|(row, _)| widest(row)).max().unwrap_or(0).clamp(60, 300) + 14;
    let numbers = 300; // pixels to the right for the numbers
    let size = (SIZE.0.max(left + numbers + 300), 42 * rows.len() as u32 + 96);
    Figure::draw(size, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(14)
            .margin_top(34)
            .margin_right(14 + numbers)
            .x_label_area_size(46)
            .y_label_area_size(left)
            .build_cartesian_2d(range.clone(), rows.len() as f64..0.0)?;
        canvas::axes(&mut chart, title, None)?;
        let at = |column: i32| (size.0 - numbers - 4) as i32 + [0, 154, 232][column as usize];
        for (column, head) in (0..).zip(["b − a", "p (Holm)", "detectable"]) {
            area.draw(&Text::new(head, (at(column), 20), font(12)))?;
        }
        for (i, (row, d)) in rows.iter().enumerate() {
            let y = i as f64 + 0.5;
            if let Some(effect) = d.detectable {
                chart.draw_series([Rectangle::new([(-effect, y - 0.32), (effect, y + 0.32)], FAINT.filled())])?;
            }
            chart.draw_series([PathElement::new(vec![(d.low, y), (d.high, y)], DARK.stroke_width(2))])?;
            chart.draw_series([Circle::new((d.value, y), 5, DARK.filled())])?;
            let middle = chart.backend_coord(&(range.start, y));
            for (name, below) in [(row.a.clone(), -8), (format!("→ {}", row.b), 8)] {
                let style = anchored(13, HPos::Right, VPos::Center);
                area.draw(&Text::new(fit(&name, 13, left - 10), (middle.0 - 10, middle.1 + below), style))?;
            }
            let cell = |value: Option<f64>| value.map_or(NONE.into(), number);
            let texts = [difference(Some(d)), cell(row.p_holm), cell(d.detectable)];
            for (column, text) in (0..).zip(texts) {
                area.draw(&Text::new(text, (at(column), middle.1), font(12)))?;
            }
        }
        let zero = PathElement::new(vec![(0.0, 0.0), (0.0, rows.len() as f64)], GREY.stroke_width(2));
        chart.draw_series(std::iter::once(zero))?;
        Ok(())
    })
}

/// Mean outcome against mean probability in bins of equal mass, raw and after scaling, with Wilson intervals; the diagonal is honesty.
pub fn reliability(found: &Calibration) -> Result<Figure> {
    let (raw, scaled) = (&found.raw, &found.scaled);
    let name = |what: &str, quality: &Quality| {
        format!("{what} (error {:.3}, Brier {:.3})", quality.error.value, quality.brier.value)
    };
    let names = [name("raw", raw), name("scaled", scaled), "honest".to_string()];
    let title = format!(
        "probability given (n = {}, {} bins, scaled on {} others)",
        raw.brier.n,
        raw.bins.len(),
        found.fitted_on
    );
    Figure::draw((560, 480), |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(14)
            .x_label_area_size(46)
            .y_label_area_size(60)
            .build_cartesian_2d(-0.03..1.03, -0.03..1.03)?;
        canvas::axes(&mut chart, &title, Some("mean outcome (95 % Wilson interval)"))?;
        chart.draw_series([PathElement::new(vec![(0.0, 0.0), (1.0, 1.0)], GREY.stroke_width(1))])?;
        for (bins, style) in [(&raw.bins, LIGHT), (&scaled.bins, DARK)] {
            for bin in bins {
                let whisker = vec![(bin.confidence, bin.low), (bin.confidence, bin.high)];
                chart.draw_series([PathElement::new(whisker, style.stroke_width(1))])?;
            }
        }
        chart
            .draw_series(raw.bins.iter().map(|b| TriangleMarker::new((b.confidence, b.outcome), 6, LIGHT.filled())))?;
        chart.draw_series(scaled.bins.iter().map(|b| Circle::new((b.confidence, b.outcome), 4, DARK.filled())))?;
        let triangle =
            |area: &Area, at: (i32, i32)| -> Drawn { Ok(area.draw(&TriangleMarker::new(at, 6, LIGHT.filled()))?) };
        let dot = |area: &Area, at: (i32, i32)| -> Drawn { Ok(area.draw(&Circle::new(at, 4, DARK.filled()))?) };
        let line = canvas::stroke(GREY.stroke_width(1));
        canvas::key(area, 530, 28, &[(&names[0], &triangle), (&names[1], &dot), (&names[2], &line)])
    })
}

/// Mean loss of the most confident answers against the share that is taken, a line a model; with AURC and its interval in the key.
pub fn risk_coverage(curves: &[(String, Calibration)]) -> Result<Figure> {
    let Some((_, first)) = curves.first() else {
        return Err(Error::input("risk and coverage: no model to draw"));
    };
    let risks = curves.iter().flat_map(|(_, found)| found.risks.iter().map(|point| point.1));
    let range = canvas::span(risks).unwrap_or(0.0..1.0);
    let name = |(model, found): &(String, Calibration)| {
        let e = &found.aurc;
        format!("{model}: AURC {} (random {:.3})", spread(e.value, e.low, e.high, ""), found.random_aurc)
    };
    let names: Vec<String> = curves.iter().map(name).collect();
    let size = (SIZE.0, SIZE.1 + 18 * curves.len() as u32);
    Figure::draw(size, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(14)
            .margin_top(24 + 18 * curves.len() as u32)
            .x_label_area_size(46)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..1.02, range.start.max(0.0)..range.end.min(1.02))?;
        let title = format!("coverage: share of answers taken, most confident first (n = {})", first.aurc.n);
        canvas::axes(&mut chart, &title, Some("risk: mean of 1 − outcome"))?;
        let styles = series_styles();
        for ((_, found), style) in curves.iter().zip(styles.iter().cycle()) {
            chart.draw_series([PathElement::new(found.risks.clone(), *style)])?;
        }
        let strokes: Vec<_> = styles.iter().cycle().take(names.len()).map(|style| canvas::stroke(*style)).collect();
        let entries: Vec<(&str, &dyn Fn(&Area, (i32, i32)) -> Drawn)> =
            names.iter().zip(&strokes).map(|(name, stroke)| (name.as_str(), stroke as _)).collect();
        canvas::key(area, SIZE.0 as i32 - 24, 22, &entries)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(pairs: &[(&str, usize)]) -> BTreeMap<String, usize> {
        pairs.iter().map(|(label, n)| (label.to_string(), *n)).collect()
    }

    fn estimates() -> Vec<(String, Estimate)> {
        let estimate = |value: f64| Estimate { value, low: value - 0.03, high: value + 0.04, n: 236 };
        vec![
            ("most-frequent-3".into(), estimate(0.31)),
            ("<b> & a name that is far too long to be drawn beside".into(), estimate(0.5)),
        ]
    }

    #[test]
    fn equal_numbers_give_equal_bytes_and_the_texts_are_there() {
        let draw = || forest(&estimates(), "micro-F1 (n = 236, 95 % interval)", None).unwrap();
        let svg = draw().svg().to_string();
        assert_eq!(draw().svg(), svg);
        assert!(svg.starts_with("<svg") && svg.contains("micro-F1 (n = 236") && svg.contains("0.310 [0.280, 0.350]"));
        assert!(svg.contains("&lt;b&gt; &amp; a name") && svg.contains('…') && !svg.contains("<b>"));
        assert!(svg.contains("font-family=\"sans-serif\""));
    }

    #[test]
    fn every_figure_draws_what_it_is_given() {
        let (train, test) = (counts(&[("a", 90), ("b", 10), ("c", 1)]), counts(&[("a", 20), ("d", 2)]));
        let tail = label_frequencies(&train, &test).unwrap();
        assert!(tail.svg().contains("training (3 labels)") && tail.svg().matches("<polygon").count() == 2 + 1);
        assert!(top_labels((&train, 100), (&test, 30), 20).unwrap().svg().contains(">\nd\n"));
        let lengths = lengths(&[("train", vec![100, 120, 140]), ("test", vec![80])], "words").unwrap();
        assert!(lengths.svg().contains("train (n = 3, median 120)"));
        let curve = learning_curve(&[(1, 2.0), (2, f64::NAN), (3, 1.0)], &[(1, 2.2), (3, 1.5)]).unwrap();
        assert!(curve.svg().contains("best 1.500 at step 3"));
    }

    #[test]
    fn differences_and_confidence_are_drawn_with_their_numbers() {
        let row = |value: f64, detectable| Comparison {
            a: "plain".into(),
            b: "LoRA".into(),
            metric: "micro_f1".into(),
            reading: crate::study::Reading::Normalised,
            difference: Some(Difference {
                value,
                low: value - 0.1,
                high: value + 0.1,
                n: 9,
                detectable,
                ..Default::default()
            }),
            p_holm: Some(0.04),
            p_permutation_holm: None,
        };
        let drawn = paired_forest(&[row(0.3, Some(0.14)), row(-0.1, None)], "difference (n = 9)").unwrap();
        let svg = drawn.svg();
        assert!(
            svg.contains("→ LoRA")
                && svg.contains("+0.300 [0.200, 0.400]")
                && svg.contains("0.040")
                && svg.contains("0.140")
        );
        assert!(paired_forest(&[], "x").is_err() && risk_coverage(&[]).is_err());
        let case = |i: usize| crate::metric::Scored {
            group: i.to_string(),
            logprob: -(i as f64) / 20.0,
            tokens: 2,
            outcome: f64::from(i % 7 > i / 10),
        };
        let cases: Vec<_> = (0..60).map(case).collect();
        let bootstrap = crate::metric::Bootstrap { resamples: 100, ..Default::default() };
        let found = crate::metric::calibrate(&cases, crate::metric::Signal::Sequence, &bootstrap).unwrap();
        assert_eq!(reliability(&found).unwrap().svg().matches("<polygon").count(), 10 + 1);
        assert!(risk_coverage(&[("LoRA".into(), found)]).unwrap().svg().contains("LoRA: AURC 0."));
    }

    #[test]
    fn nothing_to_draw_is_an_error_and_not_a_panic() {
        let none = BTreeMap::new();
        assert!(label_frequencies(&none, &none).is_err() && top_labels((&none, 0), (&none, 0), 5).is_err());
        assert!(lengths(&[], "words").is_err() && learning_curve(&[], &[(1, f64::NAN)]).is_err());
        assert!(forest(&[], "x", Some(0.0)).is_err());
        assert!(learning_curve(&[(1, 1.0)], &[]).is_ok(), "one point is enough");
    }

    #[test]
    fn bins_are_round_and_about_thirty() {
        assert_eq!((bin_width(362), bin_width(29), bin_width(1)), (20, 1, 1));
        assert!((1..5000).all(|longest| longest / bin_width(longest) <= 30));
    }
}
