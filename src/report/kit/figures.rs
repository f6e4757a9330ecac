//! Figures of the report. Each takes numbers that a file yielded and gives a `Figure`; equal numbers give equal bytes.
use super::canvas;
use super::canvas::{Area, DARK, Drawn, FAINT, GREY, LIGHT, Look, SIZE, anchored, fit, font, look, tick};
use super::display::{Figure, NONE, detectable, difference, number, spread};
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

/// Loss by step: training as the running mean of its updates with the band that holds the middle 80 % of them, held-out as dark points
/// with the best one ringed. Losses are nats per supervised token. The band is the spread of updates, no interval of the mean.
pub fn learning_curve(train: &[(usize, f64)], held_out: &[(usize, f64)]) -> Result<Figure> {
    let point = |&(step, loss): &(usize, f64)| (step as f64, loss);
    let finite = |points: &[(usize, f64)]| points.iter().map(point).filter(|p| p.1.is_finite()).collect::<Vec<_>>();
    let (train, held_out) = (finite(train), finite(held_out));
    let Some(losses) = canvas::span(train.iter().chain(&held_out).map(|p| p.1)) else {
        return Err(Error::input("learning curve: no finite losses to draw"));
    };
    let last = train.iter().chain(&held_out).map(|p| p.0).fold(1.0, f64::max);
    let (window, running) = (window(&train), running(&train));
    let best = held_out.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1));
    Figure::draw(SIZE, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(14)
            .x_label_area_size(46)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..last * 1.03, losses.start.max(0.0)..losses.end)?;
        canvas::axes(&mut chart, "step", Some("loss (nats per token)"))?;
        let (held, mean) = (look(0), look(1));
        let band = mean.colour.mix(0.3);
        let around = running.iter().map(|r| (r.step, r.high)).chain(running.iter().rev().map(|r| (r.step, r.low)));
        chart.draw_series([Polygon::new(around.collect::<Vec<_>>(), band.filled())])?;
        let through: Vec<_> = running.iter().map(|r| chart.backend_coord(&(r.step, r.mean))).collect();
        mean.line(area, &through)?;
        let evaluated: Vec<_> = held_out.iter().map(|p| chart.backend_coord(p)).collect();
        held.line(area, &evaluated)?;
        evaluated.iter().try_for_each(|at| held.point(area, *at))?;
        chart.draw_series(best.iter().map(|&p| Circle::new(p, 8, DARK.stroke_width(2))))?;
        let square = |area: &Area, (x, y): (i32, i32)| -> Drawn {
            Ok(area.draw(&Rectangle::new([(x - 15, y - 6), (x + 15, y + 6)], band.filled()))?)
        };
        let ring = best.map(|(step, loss)| format!("held out (best {loss:.3} at step {step})"));
        let averaged = format!("training, mean of {window} update{}", if window == 1 { "" } else { "s" });
        let (mean_key, held_key) = (mean.stroke(), held.mark());
        let mut entries: Vec<(&str, &dyn Fn(&Area, (i32, i32)) -> Drawn)> =
            vec![(&averaged, &mean_key), ("the middle 80 % of them", &square)];
        if let Some(name) = &ring {
            entries.push((name, &held_key));
        }
        canvas::key(area, SIZE.0 as i32 - 24, 28, &entries)
    })
}

/// A line a series through its estimates, each with its interval as a bar and the band between them; x logarithmic. Series differ in
/// dash, marker and lightness.
pub fn bands(series: &[(String, Vec<(f64, Estimate)>)], x_title: &str, y_title: &str) -> Result<Figure> {
    let points = || series.iter().flat_map(|(_, points)| points);
    let Some(values) = canvas::span(points().flat_map(|(_, e)| [e.low, e.high, e.value])) else {
        return Err(Error::input("bands: no estimates to draw"));
    };
    let (first, last) = points().fold((f64::MAX, 0.0f64), |(low, high), (x, _)| (low.min(*x), high.max(*x)));
    Figure::draw(SIZE, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(14)
            .x_label_area_size(46)
            .y_label_area_size(60)
            .build_cartesian_2d((first * 0.85..last * 1.15).log_scale(), values.start..values.end)?;
        canvas::axes(&mut chart, x_title, Some(y_title))?;
        for (at, (_, points)) in series.iter().enumerate() {
            let look = look(at);
            let ends = points.iter().map(|(x, e)| (*x, e.high)).chain(points.iter().rev().map(|(x, e)| (*x, e.low)));
            chart.draw_series([Polygon::new(ends.collect::<Vec<_>>(), look.colour.mix(0.15).filled())])?;
            for (x, e) in points {
                chart.draw_series([PathElement::new(vec![(*x, e.low), (*x, e.high)], look.colour.stroke_width(1))])?;
            }
            let line: Vec<_> = points.iter().map(|(x, e)| chart.backend_coord(&(*x, e.value))).collect();
            look.line(area, &line)?;
            line.iter().try_for_each(|at| look.point(area, *at))?;
        }
        let marks: Vec<_> = (0..series.len()).map(|at| look(at).mark()).collect();
        let entries: Vec<(&str, &dyn Fn(&Area, (i32, i32)) -> Drawn)> =
            series.iter().zip(&marks).map(|((name, _), mark)| (name.as_str(), mark as _)).collect();
        canvas::key(area, SIZE.0 as i32 - 24, SIZE.1 as i32 - 76 - 18 * series.len() as i32, &entries)
    })
}

/// Training losses around a step.
struct Running {
    step: f64,
    mean: f64,
    /// Tenth and ninetieth percentile.
    low: f64,
    high: f64,
}

/// A twentieth of the points.
fn window(points: &[(f64, f64)]) -> usize {
    (points.len() / 20).max(1)
}

/// Over a window that ends at each point.
fn running(points: &[(f64, f64)]) -> Vec<Running> {
    let over = |i: usize| {
        let mut part: Vec<f64> = points[(i + 1).saturating_sub(window(points))..=i].iter().map(|p| p.1).collect();
        part.sort_by(f64::total_cmp);
        let mean = part.iter().sum::<f64>() / part.len() as f64;
        let (low, high) = (quantile(&part, 0.1).unwrap_or(mean), quantile(&part, 0.9).unwrap_or(mean));
        Running { step: points[i].0, mean, low, high }
    };
    (0..points.len()).map(over).collect()
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

/// Comparisons from which on a figure of many that start from the same model takes one line a row.
const FEW_ROWS: usize = 12;

/// One row a comparison: the difference with its interval; a pale bar for what a test of so many cases would miss too often to say that
/// there is nothing (the minimum detectable effect either way of 0); to the right the numbers, p after Holm and that effect.
///
/// Where many rows start from the same model, its name is left out, and a row takes one line.
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
    let numbers = 340; // pixels to the right for the numbers
    let height = if dense { 22 } else { 42 };
    let size = (SIZE.0.max(left + numbers + 300), height * rows.len() as u32 + 96);
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
            let one = [(format!("→ {}", row.b), 0)];
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

/// Mean outcome against mean probability in bins of equal mass, raw, by the temperature and by Platt's scaling, with Wilson intervals; the
/// diagonal is honesty.
pub fn reliability(found: &Calibration) -> Result<Figure> {
    let temperature = found.temperature.map_or(String::new(), |t| format!("temperature {}", number(t)));
    let tempered = found.tempered.as_ref().map(|quality| (temperature.as_str(), quality, look(2)));
    let series: Vec<(&str, &Quality, Look)> =
        [Some(("raw", &found.raw, look(1))), tempered, Some(("Platt", &found.scaled, look(0)))]
            .into_iter()
            .flatten()
            .collect();
    let name = |(what, quality, _): &(&str, &Quality, Look)| {
        format!("{what} (error {:.3}, Brier {:.3})", quality.error.value, quality.brier.value)
    };
    let names: Vec<String> = series.iter().map(name).chain(["honest".to_string()]).collect();
    let (n, bins) = (found.raw.brier.n, found.raw.bins.len());
    let title = format!("probability given (n = {n}, {bins} bins, scaled on {} others)", found.fitted_on);
    Figure::draw((560, 480), |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(14)
            .x_label_area_size(46)
            .y_label_area_size(60)
            .build_cartesian_2d(-0.03..1.03, -0.03..1.03)?;
        canvas::axes(&mut chart, &title, Some("mean outcome (95 % Wilson interval)"))?;
        chart.draw_series([PathElement::new(vec![(0.0, 0.0), (1.0, 1.0)], GREY.stroke_width(1))])?;
        for (_, quality, look) in &series {
            for bin in &quality.bins {
                let whisker = vec![(bin.confidence, bin.low), (bin.confidence, bin.high)];
                chart.draw_series([PathElement::new(whisker, look.colour.stroke_width(1))])?;
                look.point(area, chart.backend_coord(&(bin.confidence, bin.outcome)))?;
            }
        }
        let marks: Vec<_> =
            series.iter().map(|(_, _, look)| move |area: &Area, at: (i32, i32)| look.point(area, at)).collect();
        let line = canvas::stroke(GREY.stroke_width(1));
        let drawn = marks.iter().map(|mark| mark as &dyn Fn(&Area, (i32, i32)) -> Drawn).chain([&line as _]);
        let entries: Vec<_> = names.iter().map(String::as_str).zip(drawn).collect();
        let widest = names.iter().map(|name| canvas::text_width(name, 13)).max().unwrap_or(0) as i32;
        canvas::key(area, widest + 118, 28, &entries) // on the left, where few points lie
    })
}

/// Mean loss of the most confident answers against the share that is taken, a line a model with a point at every tenth; with AURC and its
/// interval in the key.
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
    let size = (SIZE.0, SIZE.1 + 18 * (curves.len() as u32 + 1));
    Figure::draw(size, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(14)
            .margin_top(24 + 18 * (curves.len() as u32 + 1))
            .x_label_area_size(46)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..1.02, range.start.max(0.0)..range.end.min(1.02))?;
        let title = format!("coverage: share of answers taken, most confident first (n = {})", first.aurc.n);
        canvas::axes(&mut chart, &title, Some("risk: mean of 1 − outcome"))?;
        for (at, (_, found)) in curves.iter().enumerate() {
            let points: Vec<_> = found.risks.iter().map(|point| chart.backend_coord(point)).collect();
            look(at).line(area, &points)?;
            let tenth = (points.len() / 10).max(1);
            points.iter().skip(tenth - 1).step_by(tenth).try_for_each(|point| look(at).point(area, *point))?;
        }
        let right = SIZE.0 as i32 - 24;
        let kind = "area under the curve (AURC) with its 95 % bootstrap interval";
        area.draw(&Text::new(kind, (right, 22), anchored(13, HPos::Right, VPos::Center)))?;
        let marks: Vec<_> = (0..curves.len()).map(|at| look(at).mark()).collect();
        let entries: Vec<(&str, &dyn Fn(&Area, (i32, i32)) -> Drawn)> =
            names.iter().zip(&marks).map(|(name, mark)| (name.as_str(), mark as _)).collect();
        canvas::key(area, right, 40, &entries)
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
        assert!(curve.svg().contains("best 1.500 at step 3") && curve.svg().contains("the middle 80 % of them"));
        let many: Vec<(usize, f64)> = (0..200).map(|i| (i, f64::from(i as u32 % 10))).collect();
        let around = running(&many.iter().map(|&(step, loss)| (step as f64, loss)).collect::<Vec<_>>());
        let last = &around[199]; // ten updates, 0 to 9
        assert!(
            (last.mean, last.step) == (4.5, 199.0) && (last.low - 0.9).abs() < 1e-12 && (last.high - 8.1).abs() < 1e-12
        );
        assert!(learning_curve(&many, &[]).unwrap().svg().contains("training, mean of 10 updates"));
    }

    #[test]
    fn differences_and_confidence_are_drawn_with_their_numbers() {
        let row = |value: f64, detectable| {
            let (low, high) = (value - 0.1, value + 0.1);
            let difference = Difference { value, low, high, n: 9, detectable, ..Default::default() };
            let reading = crate::metric::Reading::Normalised;
            let row = Comparison::of("plain", "LoRA", "micro_f1", reading, Some(difference));
            Comparison { p_holm: Some(0.04), ..row }
        };
        let same = Comparison { difference: Some(Difference { n: 9, ..Default::default() }), ..row(0.0, None) };
        let drawn = paired_forest(&[row(0.3, Some(0.14)), row(-0.1, None), same], "difference (n = 9)").unwrap();
        let svg = drawn.svg();
        assert!(
            svg.contains("→ LoRA")
                && svg.contains("+0.300 [0.200, 0.400]")
                && svg.contains("0.040")
                && svg.contains("0.140")
                && svg.contains("no case differs")
        );
        assert!(svg.contains("plain"), "the first model stands in a short figure");
        let many: Vec<Comparison> = (0..=FEW_ROWS).map(|_| row(0.3, None)).collect();
        let dense = paired_forest(&many, "difference (n = 9)").unwrap();
        assert!(dense.svg().contains("→ LoRA") && !dense.svg().contains("plain"), "and in a long one it is left out");
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
        // ten bins and the key: triangles raw, squares by the temperature (and the ground), circles by Platt
        let drawn = reliability(&found).unwrap();
        let count = |svg: &str, tag: &str| svg.matches(tag).count();
        assert_eq!(["<polygon", "<rect", "<circle"].map(|tag| count(drawn.svg(), tag)), [10 + 1, 10 + 2, 10 + 1]);
        assert!(drawn.svg().contains("temperature ") && drawn.svg().contains("95 % Wilson interval"));
        let older = Calibration { temperature: None, tempered: None, ..found.clone() };
        assert_eq!(
            count(reliability(&older).unwrap().svg(), "<rect"),
            1,
            "a file of an older version has no temperature"
        );
        let three = ["LoRA", "held", "plain"].map(|name| (name.to_string(), found.clone()));
        let drawn = risk_coverage(&three).unwrap();
        assert!(drawn.svg().contains("LoRA: AURC 0.") && drawn.svg().contains("with its 95 % bootstrap interval"));
        // a point at every tenth and one in the key, of three kinds; the first line is whole, the others are in pieces
        assert_eq!(["<circle", "<polygon", "<rect"].map(|tag| count(drawn.svg(), tag)), [11, 11, 11 + 1]);
        let one = risk_coverage(&three[..1]).unwrap();
        assert!(count(drawn.svg(), "<polyline") > count(one.svg(), "<polyline") + 20);
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
