//! One look for all figures: sizes, greys, dashes and the axes. Every series differs from its neighbours in lightness and in
//! dash or marker, so a figure printed in black and white still reads.
use plotters::coord::Shift;
use plotters::coord::ranged1d::{Ranged, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

pub const SIZE: (u32, u32) = (640, 400);
pub const DARK: RGBColor = RGBColor(24, 60, 100);
pub const LIGHT: RGBColor = RGBColor(224, 138, 48);
pub const GREY: RGBColor = RGBColor(150, 150, 150);
pub const FAINT: RGBColor = RGBColor(225, 225, 225);

/// Text of `size` pixels, anchored at its middle left unless said otherwise.
pub fn font(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&BLACK).pos(Pos::new(HPos::Left, VPos::Center))
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

/// A short line for a key.
pub fn stroke(style: ShapeStyle) -> impl for<'a> Fn(&Area<'a>, (i32, i32)) -> Drawn {
    move |area, (x, y)| Ok(area.draw(&PathElement::new(vec![(x - 12, y), (x + 12, y)], style))?)
}
