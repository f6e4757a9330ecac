//! A distribution that was drawn by chance, as a reader computes it in a cell: resamples of a score, differences under exchange.
use super::canvas::{self, DARK, FAINT, GREY, LIGHT, SIZE, anchored, tick};
use super::display::Figure;
use crate::error::{Error, Result};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

const BINS: usize = 40;

/// Values as bars, with lines at `marks`, each with its name; those between `low` and `high` are dark, the others pale. `title` names what
/// is on the axis. Fails without values, or where one is not finite.
pub fn histogram(values: &[f64], [low, high]: [f64; 2], marks: &[(&str, f64)], title: &str) -> Result<Figure> {
    let all = || values.iter().copied().chain(marks.iter().map(|(_, at)| *at));
    let (least, most) = all().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(x), b.max(x)));
    if values.is_empty() || !all().all(f64::is_finite) {
        return Err(Error::input("histogram: no values to draw, or one is not a number"));
    }
    let width = ((most - least) / BINS as f64).max(1e-9);
    let mut counts = [(0usize, 0usize); BINS + 1];
    for value in values {
        let bin = &mut counts[(((value - least) / width) as usize).min(BINS)];
        if (low..=high).contains(value) { bin.0 += 1 } else { bin.1 += 1 }
    }
    let top = counts.iter().map(|(inside, outside)| inside + outside).max().unwrap_or(1) as f64;
    Figure::draw((SIZE.0, 300), |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(14)
            .margin_right(30)
            .x_label_area_size(46)
            .y_label_area_size(60)
            .build_cartesian_2d(least - width..most + 2.0 * width, 0.0..top * 1.25)?;
        canvas::axes(&mut chart, title, Some("number"))?;
        for (i, (inside, outside)) in counts.into_iter().enumerate() {
            let (left, right) = (least + i as f64 * width, least + (i + 1) as f64 * width);
            let bar = |from: usize, to: usize, colour: RGBColor| {
                Rectangle::new([(left, from as f64), (right, to as f64)], colour.filled())
            };
            chart.draw_series([bar(0, inside, DARK), bar(inside, inside + outside, FAINT)])?;
            let outline =
                [(left, 0.0), (left, (inside + outside) as f64), (right, (inside + outside) as f64), (right, 0.0)];
            chart.draw_series([PathElement::new(outline.to_vec(), GREY.stroke_width(1))])?;
        }
        for (at, (name, value)) in marks.iter().enumerate() {
            chart.draw_series([PathElement::new(vec![(*value, 0.0), (*value, top * 1.12)], LIGHT.stroke_width(2))])?;
            let (x, y) = chart.backend_coord(&(*value, top * 1.12));
            let text = format!("{name} {}", tick((value * 1000.0).round() / 1000.0));
            area.draw_text(&text, &anchored(13, HPos::Center, VPos::Bottom), (x, y - 2 - 15 * (at as i32 % 2)))?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_one_bar_and_marks_have_their_names() {
        let values: Vec<f64> = (0..100).map(|i| f64::from(i) / 100.0).collect();
        let figure = histogram(&values, [0.025, 0.975], &[("observed", 0.5)], "micro-F1").unwrap();
        assert!(figure.svg().contains("observed 0.5") && figure.svg().contains(">\nnumber"), "{}", figure.svg());
        assert!(histogram(&[1.0; 3], [0.0, 2.0], &[], "same").is_ok());
        assert!(histogram(&[], [0.0, 1.0], &[], "none").is_err());
        assert!(histogram(&[f64::NAN], [0.0, 1.0], &[], "none").is_err());
    }
}
