//! Curves over updates or another measure of training.
use crate::error::{Error, Result};
use crate::metric::{Estimate, quantile};
use crate::report::kit::canvas;
use crate::report::kit::canvas::{Area, DARK, Drawn, SIZE, look};
use crate::report::kit::display::Figure;
use plotters::prelude::*;

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
        canvas::axes(&mut chart, "update", Some("loss (nats per supervised token)"))?;
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
        let ring = best.map(|(step, loss)| format!("validation part (best {loss:.3} at update {step})"));
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
pub(super) struct Running {
    pub step: f64,
    pub mean: f64,
    /// Tenth and ninetieth percentile.
    pub low: f64,
    pub high: f64,
}

/// A twentieth of the points.
fn window(points: &[(f64, f64)]) -> usize {
    (points.len() / 20).max(1)
}

/// Over a window that ends at each point.
pub(super) fn running(points: &[(f64, f64)]) -> Vec<Running> {
    let over = |i: usize| {
        let mut part: Vec<f64> = points[(i + 1).saturating_sub(window(points))..=i].iter().map(|p| p.1).collect();
        part.sort_by(f64::total_cmp);
        let mean = part.iter().sum::<f64>() / part.len() as f64;
        let (low, high) = (quantile(&part, 0.1).unwrap_or(mean), quantile(&part, 0.9).unwrap_or(mean));
        Running { step: points[i].0, mean, low, high }
    };
    (0..points.len()).map(over).collect()
}
