//! Whether probabilities are what they say.
use crate::error::{Error, Result};
use crate::metric::{Calibration, Quality};
use crate::report::kit::canvas;
use crate::report::kit::canvas::{Area, Drawn, GREY, Look, SIZE, anchored, look};
use crate::report::kit::display::{Figure, number, spread};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

/// Mean outcome against mean probability in bins of equal mass, raw, by the temperature and by Platt's scaling, with Wilson intervals; the
/// diagonal is perfect calibration. Both axes begin at the tenth below the lowest value drawn.
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
    let names: Vec<String> = series.iter().map(name).chain(["perfect calibration".to_string()]).collect();
    let (n, bins) = (found.raw.brier.n, found.raw.bins.len());
    let title = format!("probability given (n = {n}, {bins} bins, scaled on {} others)", found.fitted_on);
    let bins_of = |(_, quality, _): &(&str, &Quality, Look)| -> Vec<f64> {
        quality.bins.iter().flat_map(|bin| [bin.confidence, bin.low]).collect()
    };
    let least = series.iter().flat_map(bins_of).fold(1.0, f64::min);
    let start = ((10.0 * least).floor() / 10.0).clamp(0.0, 0.9);
    let margin = 0.03 * (1.0 - start);
    let range = start - margin..1.0 + margin;
    Figure::draw((560, 480), |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(14)
            .x_label_area_size(46)
            .y_label_area_size(60)
            .build_cartesian_2d(range.clone(), range.clone())?;
        canvas::axes(&mut chart, &title, Some("mean outcome (95 % Wilson interval)"))?;
        chart.draw_series([PathElement::new(vec![(start, start), (1.0, 1.0)], GREY.stroke_width(1))])?;
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

/// In the place of a figure that these cases do not suffice for: why there is none.
pub fn without(why: &str) -> Result<Figure> {
    Figure::draw((SIZE.0, 60), |area| {
        area.draw(&Text::new(why.to_string(), (24, 30), anchored(15, HPos::Left, VPos::Center)))?;
        Ok(())
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
