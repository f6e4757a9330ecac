//! One look for all figures: sizes, greys, dashes and the axes. Every series differs from its neighbours in lightness, dash and marker,
//! so a figure printed in black and white still reads.
use plotters::coord::Shift;
use plotters::coord::ranged1d::{Ranged, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

pub const SIZE: (u32, u32) = (640, 400);
// printed in grey these are about 54, 153 and 100 of 255 (Rec. 601 luma), FAINT 225: fifty apart
pub const DARK: RGBColor = RGBColor(24, 60, 100);
pub const LIGHT: RGBColor = RGBColor(224, 138, 48);
pub const GREY: RGBColor = RGBColor(100, 100, 100);
pub const FAINT: RGBColor = RGBColor(225, 225, 225);

/// How a series is drawn.
#[derive(Clone, Copy)]
pub struct Look {
    pub colour: RGBColor,
    /// Pixels drawn and left out in turn; none is a whole line.
    dash: &'static [f64],
    marker: Marker,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Marker {
    Circle,
    Triangle,
    Square,
    Diamond,
}

/// Of four series no two are alike in colour, dash or marker; the fifth looks as the first.
const LOOKS: [Look; 4] = [
    Look { colour: DARK, dash: &[], marker: Marker::Circle },
    Look { colour: LIGHT, dash: &[9.0, 4.0], marker: Marker::Triangle },
    Look { colour: GREY, dash: &[2.0, 3.0], marker: Marker::Square },
    Look { colour: BLACK, dash: &[10.0, 3.0, 2.0, 3.0], marker: Marker::Diamond },
];

/// The look of the series of this number.
pub fn look(series: usize) -> Look {
    LOOKS[series % LOOKS.len()]
}

impl Look {
    /// A line through pixels.
    pub fn line(&self, area: &Area, points: &[(i32, i32)]) -> Drawn {
        for dash in dashes(points, self.dash) {
            area.draw(&PathElement::new(dash, self.colour.stroke_width(2)))?;
        }
        Ok(())
    }

    /// A point at a pixel.
    pub fn point(&self, area: &Area, (x, y): (i32, i32)) -> Drawn {
        let fill = self.colour.filled();
        Ok(match self.marker {
            Marker::Circle => area.draw(&Circle::new((x, y), 4, fill))?,
            Marker::Triangle => area.draw(&TriangleMarker::new((x, y), 6, fill))?,
            Marker::Square => area.draw(&Rectangle::new([(x - 4, y - 4), (x + 4, y + 4)], fill))?,
            Marker::Diamond => area.draw(&Polygon::new(vec![(x, y - 6), (x + 5, y), (x, y + 6), (x - 5, y)], fill))?,
        })
    }

    /// A short line for a key.
    pub fn stroke(self) -> impl for<'a> Fn(&Area<'a>, (i32, i32)) -> Drawn {
        move |area, (x, y)| self.line(area, &[(x - 15, y), (x + 15, y)])
    }

    /// A short line with a point for a key.
    pub fn mark(self) -> impl for<'a> Fn(&Area<'a>, (i32, i32)) -> Drawn {
        move |area, (x, y)| {
            self.line(area, &[(x - 15, y), (x + 15, y)])?;
            self.point(area, (x, y))
        }
    }
}

/// The pieces of a line that a pattern draws.
fn dashes(points: &[(i32, i32)], pattern: &[f64]) -> Vec<Vec<(i32, i32)>> {
    let (Some(&first), true) = (points.first(), points.len() > 1) else { return vec![] };
    if pattern.iter().sum::<f64>() <= 0.0 {
        return vec![points.to_vec()];
    }
    let round = |(x, y): (f64, f64)| (x.round() as i32, y.round() as i32);
    let float = |(x, y): (i32, i32)| (f64::from(x), f64::from(y));
    let (mut done, mut piece, mut part, mut left) = (Vec::new(), vec![first], 0, pattern[0]);
    let mut at = float(first);
    for end in points[1..].iter().copied().map(float) {
        loop {
            let length = (end.0 - at.0).hypot(end.1 - at.1);
            if length < left {
                left -= length;
                break;
            }
            let share = left / length;
            at = (at.0 + share * (end.0 - at.0), at.1 + share * (end.1 - at.1));
            piece.push(round(at));
            if part % 2 == 0 {
                done.push(std::mem::take(&mut piece));
            }
            piece = vec![round(at)];
            part = (part + 1) % pattern.len();
            left = pattern[part];
        }
        at = end;
        piece.push(round(at));
    }
    done.extend((part % 2 == 0 && piece.len() > 1).then_some(piece));
    done
}

/// Letters on paper are as much larger: the smallest (12) are 8 points high where a figure of [`SIZE`] fills a column of 166 mm.
const LARGER: f64 = 1.13;

/// Text of nominal `size`, anchored at its middle left unless said otherwise.
pub fn font(size: u32) -> TextStyle<'static> {
    ("sans-serif", f64::from(size) * LARGER).into_font().color(&BLACK).pos(Pos::new(HPos::Left, VPos::Center))
}

pub fn anchored(size: u32, horizontal: HPos, vertical: VPos) -> TextStyle<'static> {
    font(size).pos(Pos::new(horizontal, vertical))
}

/// Axes with titles and a faint grid; without `y_title` there is neither a vertical axis nor lines across.
pub fn axes<X, Y>(
    chart: &mut ChartContext<'_, SVGBackend<'_>, Cartesian2d<X, Y>>,
    x_title: &str,
    y_title: Option<&str>,
) -> Drawn
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let (text_of, mut mesh) = (|value: &f64| tick(*value), chart.configure_mesh());
    mesh.x_desc(x_title).x_label_formatter(&text_of).y_label_formatter(&text_of).x_labels(8);
    match y_title {
        Some(title) => mesh.y_desc(title),
        None => mesh.disable_y_mesh().disable_y_axis(),
    };
    mesh.light_line_style(WHITE).bold_line_style(FAINT).axis_desc_style(font(14)).label_style(font(12));
    Ok(mesh.draw()?)
}

/// Pixels that a text takes at most; the SVG's reader has other fonts than we, so rather too much.
pub fn text_width(text: &str, size: u32) -> u32 {
    (text.chars().count() as f64 * f64::from(size) * 0.56).ceil() as u32
}

/// The text, or as much of it as fits into `pixels`, ending in `…`.
pub fn fit(text: &str, size: u32, pixels: u32) -> String {
    if text_width(text, size) <= pixels {
        return text.to_string();
    }
    let keep = (f64::from(pixels) / (f64::from(size) * 0.56)).floor() as usize;
    text.chars().take(keep.saturating_sub(1)).chain(['…']).collect()
}

/// A tick's text: as many decimals as the step between ticks has.
pub fn tick(value: f64) -> String {
    let rounded = (value * 1e6).round() / 1e6;
    if rounded == 0.0 { "0".into() } else { format!("{rounded}").replace('-', "−") }
}

/// From below the smallest to above the largest value, with a margin; never empty.
pub fn span(values: impl Iterator<Item = f64>) -> Option<std::ops::Range<f64>> {
    let (low, high) = values.filter(|v| v.is_finite()).fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)));
    if low > high {
        return None;
    }
    let margin = if high > low { 0.06 * (high - low) } else { 0.5 * high.abs().max(1.0) };
    Some(low - margin..high + margin)
}

/// A key in the upper right of `area`: a mark of each series and its name. `draw` gets the middle of the mark's place.
pub fn key<'a>(
    area: &Area<'a>,
    right: i32,
    top: i32,
    entries: &[(&str, &dyn Fn(&Area<'a>, (i32, i32)) -> Drawn)],
) -> Drawn {
    let widest = entries.iter().map(|(name, _)| text_width(name, 13)).max().unwrap_or(0) as i32;
    for (line, (name, draw)) in (0..).zip(entries) {
        let y = top + 18 * line;
        draw(area, (right - widest - 20, y))?;
        area.draw(&Text::new(name.to_string(), (right - widest, y), font(13)))?;
    }
    Ok(())
}

/// A short line for a key, of a line that is no series.
pub fn stroke(style: ShapeStyle) -> impl for<'a> Fn(&Area<'a>, (i32, i32)) -> Drawn {
    move |area, (x, y)| Ok(area.draw(&PathElement::new(vec![(x - 15, y), (x + 15, y)], style))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_apart_in_grey_and_no_two_series_look_alike() {
        let luma = |c: RGBColor| 0.299 * f64::from(c.0) + 0.587 * f64::from(c.1) + 0.114 * f64::from(c.2);
        let mut greys: Vec<f64> = [BLACK, DARK, GREY, LIGHT, FAINT, WHITE].map(luma).into();
        greys.sort_by(f64::total_cmp);
        assert!(greys.windows(2).all(|pair| pair[1] - pair[0] >= 29.0), "{greys:?}");
        for (i, a) in LOOKS.iter().enumerate() {
            for b in &LOOKS[..i] {
                assert!(a.colour != b.colour && a.dash != b.dash && a.marker != b.marker);
            }
        }
    }

    #[test]
    fn a_pattern_goes_on_round_corners_and_ends_with_its_line() {
        assert_eq!(dashes(&[(0, 0), (5, 0)], &[]), [vec![(0, 0), (5, 0)]]);
        // four drawn, two left out: the second dash goes round the corner at (8, 0)
        let drawn = dashes(&[(0, 0), (8, 0), (8, 7)], &[4.0, 2.0]);
        assert_eq!(drawn, [vec![(0, 0), (4, 0)], vec![(6, 0), (8, 0), (8, 2)], vec![(8, 4), (8, 7)]]);
        assert_eq!(dashes(&[(0, 0), (5, 0)], &[4.0, 2.0]), [vec![(0, 0), (4, 0)]], "it ends in a gap");
        assert!(dashes(&[], &[4.0, 2.0]).is_empty() && dashes(&[(1, 1)], &[]).is_empty(), "a point is no line");
        assert_eq!(dashes(&[(3, 3), (3, 3)], &[4.0, 2.0]).len(), 1, "a point does not hang");
    }
}
