//! Two drawings of failures: how gold and given labels flow into what became of them, and which labels are confused.
use super::canvas::{Area, DARK, Drawn, FAINT, GREY, LIGHT, anchored, fit, font};
use super::display::Figure;
use crate::error::{Error, Result};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

/// What became of labels: a name, how many gold and how many given labels, and the text beside it.
pub struct Outlet {
    pub name: String,
    pub gold: usize,
    pub given: usize,
    pub text: String,
}

const WIDTH: i32 = 640;
const GAP: i32 = 8;
const BOX: i32 = 14;

/// Gold and given labels on the left, what became of them on the right, bands as wide as labels are many.
pub fn flow(outlets: &[Outlet]) -> Result<Figure> {
    let total: usize = outlets.iter().map(|outlet| outlet.gold + outlet.given).sum();
    if total == 0 {
        return Err(Error::input("failure flow: no labels to draw"));
    }
    let height = 330.0;
    let gaps = outlets.len() as i32 * (GAP + 8);
    let scale = height / total as f64;
    let size = (WIDTH as u32, (height as i32 + gaps + 70) as u32);
    Figure::draw(size, |area| {
        let (left, right, top) = (150, 340, 34);
        let sums = outlets.iter().fold((0, 0), |(gold, given), o| (gold + o.gold, given + o.given));
        let pixels = |count: usize| count as f64 * scale;
        let mut from = [f64::from(top), f64::from(top) + pixels(sums.0) + f64::from(gaps) / 2.0];
        for (at, (name, count)) in from.iter().zip([("gold labels", sums.0), ("given labels", sums.1)]) {
            let (y, to) = (at.round() as i32, (at + pixels(count)).round() as i32);
            area.draw(&Rectangle::new([(left - BOX, y), (left, to.max(y + 1))], BLACK.filled()))?;
            let style = anchored(13, HPos::Right, VPos::Center);
            area.draw(&Text::new(format!("{name} ({count})"), (left - BOX - 6, (y + to) / 2), style))?;
        }
        let mut y = f64::from(top);
        for outlet in outlets {
            let start = y;
            for (side, count, colour) in [(0, outlet.gold, DARK), (1, outlet.given, LIGHT)] {
                if count > 0 {
                    band(area, (left, from[side]), (right, y), pixels(count), colour)?;
                }
                from[side] += pixels(count);
                y += pixels(count);
            }
            let (a, b) = (start.round() as i32, y.round() as i32);
            area.draw(&Rectangle::new([(right, a), (right + BOX, b.max(a + 1))], BLACK.filled()))?;
            area.draw(&Text::new(
                format!("{}: {}", outlet.name, outlet.text),
                (right + BOX + 6, (a + b) / 2),
                font(12),
            ))?;
            y = (y + f64::from(GAP)).max(start + 16.0); // texts of thin bands must not touch
        }
        Ok(())
    })
}

/// A band of constant height that bends from one side to the other; gold's outlined, given's plain.
fn band(area: &Area, (x0, y0): (i32, f64), (x1, y1): (i32, f64), height: f64, colour: RGBColor) -> Drawn {
    let ease = |t: f64| t * t * (3.0 - 2.0 * t);
    let at = |t: f64| (x0 + (t * f64::from(x1 - x0)).round() as i32, y0 + ease(t) * (y1 - y0));
    let steps: Vec<(i32, f64)> = (0..=40).map(|i| at(f64::from(i) / 40.0)).collect();
    let upper = steps.iter().map(|(x, y)| (*x, y.round() as i32));
    let lower = steps.iter().rev().map(|(x, y)| (*x, (y + height).round() as i32));
    let outline: Vec<(i32, i32)> = upper.chain(lower).collect();
    let strength = if colour == DARK { 0.55 } else { 0.35 };
    area.draw(&Polygon::new(outline.clone(), colour.mix(strength).filled()))?;
    let edge = if colour == DARK { DARK.stroke_width(1) } else { GREY.stroke_width(1) };
    Ok(area.draw(&PathElement::new(outline, edge))?)
}

/// Counts as a matrix: grey by count, the number in every cell that is not empty. `rows` and `columns` say what stands on the
/// axes.
pub fn matrix(
    (row_title, rows): (&str, &[String]),
    (column_title, columns): (&str, &[String]),
    counts: &[Vec<usize>],
) -> Result<Figure> {
    let most = counts.iter().flatten().copied().max().unwrap_or(0);
    if most == 0 {
        return Err(Error::input("confusion of labels: no counts to draw"));
    }
    let (cell, left, top) = (34, 200, 176);
    let size =
        ((left + cell * columns.len() as i32 + 24).max(480) as u32, (top + cell * rows.len() as i32 + 20) as u32);
    Figure::draw(size, |area| {
        area.draw(&Text::new(format!("rows: {row_title}"), (10, 14), font(13)))?;
        area.draw(&Text::new(format!("columns: {column_title}"), (10, 32), font(13)))?;
        for (x, name) in (0..).zip(columns) {
            let style = anchored(12, HPos::Left, VPos::Center).transform(FontTransform::Rotate270);
            let at = (left + cell * x + cell / 2, top - 8);
            area.draw(&Text::new(fit(name, 12, 130), at, style))?;
        }
        for (y, (name, row)) in (0..).zip(rows.iter().zip(counts)) {
            let middle = top + cell * y + cell / 2;
            area.draw(&Text::new(fit(name, 12, 186), (left - 8, middle), anchored(12, HPos::Right, VPos::Center)))?;
            for (x, count) in (0..).zip(row) {
                let corner = (left + cell * x, top + cell * y);
                let place = [corner, (corner.0 + cell, corner.1 + cell)];
                let strength = *count as f64 / most as f64;
                let level = (255.0 - 190.0 * strength).round() as u8;
                area.draw(&Rectangle::new(place, RGBColor(level, level, level).filled()))?;
                area.draw(&Rectangle::new(place, FAINT.stroke_width(1)))?;
                if *count > 0 {
                    let colour = if strength > 0.55 { WHITE } else { BLACK };
                    let style = anchored(12, HPos::Center, VPos::Center).color(&colour);
                    area.draw(&Text::new(count.to_string(), (corner.0 + cell / 2, middle), style))?;
                }
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_drawings_show_their_numbers_and_refuse_nothing() {
        let outlet =
            |name: &str, gold, given| Outlet { name: name.into(), gold, given, text: format!("{}", gold + given) };
        let figure = flow(&[outlet("right", 30, 30), outlet("missed", 12, 0), outlet("invented", 0, 3)]).unwrap();
        let svg = figure.svg();
        assert!(svg.contains("gold labels (42)") && svg.contains("given labels (33)") && svg.contains("missed: 12"));
        assert_eq!(svg.matches("<polygon").count(), 4);
        let names = ["a".to_string(), "b".to_string()];
        let drawn = matrix(("missed", &names), ("invented", &names), &[vec![3, 0], vec![0, 1]]).unwrap();
        assert!(drawn.svg().contains("rows: missed") && drawn.svg().contains("rotate(270"), "{}", drawn.svg());
        assert!(flow(&[]).is_err() && matrix(("x", &[]), ("y", &[]), &[]).is_err());
    }
}
