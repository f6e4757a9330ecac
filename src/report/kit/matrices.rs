//! Matrices as pictures: the root mean square of every block of numbers as a grey, so that size and pattern can be seen at a glance.
use super::canvas::{Area, Drawn, anchored};
use super::display::{Figure, number};
use crate::error::{Error, Result};
use candle_core::{DType, Tensor};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

/// Most blocks of a picture's side.
const BLOCKS: usize = 36;
/// Pixels of a picture's longer side, and of what stands above it.
const SIDE: u32 = 180;
const TITLE: u32 = 44;
const GAP: u32 = 20;

/// Matrices of one row of a figure, each with its name: white is 0, black the largest block of that row. Under a name stand the shape and
/// the root mean square of all numbers. Fails for what is no matrix.
pub fn matrices(rows: &[Vec<(&str, &Tensor)>]) -> Result<Figure> {
    let rows =
        rows.iter().map(|row| row.iter().map(|(name, x)| picture(name, x)).collect()).collect::<Result<Vec<_>>>()?;
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0) as u32;
    if columns == 0 {
        return Err(Error::input("matrices: nothing to draw"));
    }
    let size = (columns * (SIDE + GAP) + GAP, rows.len() as u32 * (SIDE + TITLE + GAP));
    Figure::draw(size, |area| {
        for (at, row) in rows.iter().enumerate() {
            let most = row.iter().flat_map(|picture| &picture.blocks).flatten().copied().fold(0.0, f32::max);
            for (column, picture) in row.iter().enumerate() {
                let corner = ((GAP + column as u32 * (SIDE + GAP)) as i32, (at as u32 * (SIDE + TITLE + GAP)) as i32);
                picture.draw(area, corner, most)?;
            }
        }
        Ok(())
    })
}

struct Picture {
    name: String,
    shape: (usize, usize),
    rms: f32,
    /// Root mean squares, by rows.
    blocks: Vec<Vec<f32>>,
}

fn picture(name: &str, x: &Tensor) -> Result<Picture> {
    let shape = x.dims2().map_err(|_| Error::input(format!("{name}: of shape {:?}, expected a matrix", x.dims())))?;
    let numbers: Vec<Vec<f32>> = x.to_dtype(DType::F32)?.to_vec2()?;
    let cuts = |n: usize| -> Vec<std::ops::Range<usize>> {
        let parts = n.min(BLOCKS);
        (0..parts).map(|i| i * n / parts..(i + 1) * n / parts).collect()
    };
    let rms = |rows: std::ops::Range<usize>, columns: std::ops::Range<usize>| {
        let block = numbers[rows.clone()].iter().flat_map(|row| &row[columns.clone()]);
        (block.map(|x| x * x).sum::<f32>() / (rows.len() * columns.len()).max(1) as f32).sqrt()
    };
    let blocks = cuts(shape.0).into_iter().map(|r| cuts(shape.1).into_iter().map(|c| rms(r.clone(), c)).collect());
    Ok(Picture { name: name.into(), shape, rms: rms(0..shape.0, 0..shape.1), blocks: blocks.collect() })
}

impl Picture {
    fn draw(&self, area: &Area, (x, y): (i32, i32), most: f32) -> Drawn {
        let (down, across) = (self.blocks.len(), self.blocks.first().map_or(0, Vec::len));
        let (n, k) = self.shape;
        let facts = format!("{n} × {k}, rms {}", number(f64::from(self.rms)));
        area.draw_text(&self.name, &anchored(14, HPos::Left, VPos::Top), (x, y + 4))?;
        area.draw_text(&facts, &anchored(12, HPos::Left, VPos::Top), (x, y + 24))?;
        let top = y + TITLE as i32;
        // the longer side is whole; a thin matrix stays thin, but can be seen
        let share = |part: usize, whole: usize| ((SIDE as usize * part / whole.max(1)) as i32).max(16);
        let (height, width) = (share(n, n.max(k)), share(k, n.max(k)));
        let edge = |i: usize, parts: usize, size: i32| (i as i32 * size) / parts.max(1) as i32;
        for (i, row) in self.blocks.iter().enumerate() {
            for (j, value) in row.iter().enumerate() {
                let shade = 255 - (255.0 * (value / most.max(f32::MIN_POSITIVE)).sqrt()).round() as u8;
                let corners = [
                    (x + edge(j, across, width), top + edge(i, down, height)),
                    (x + edge(j + 1, across, width), top + edge(i + 1, down, height)),
                ];
                area.draw(&Rectangle::new(corners, RGBColor(shade, shade, shade).filled()))?;
            }
        }
        Ok(area.draw(&Rectangle::new([(x, top), (x + width, top + height)], BLACK.stroke_width(1)))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn blocks_are_root_mean_squares_and_the_largest_is_black() {
        let x = Tensor::from_vec(vec![3.0f32, 4.0, 0.0, 0.0, 0.0, 0.0], (2, 3), &Device::Cpu).unwrap();
        let made = picture("A", &x).unwrap();
        assert_eq!((made.blocks.clone(), made.shape), (vec![vec![3.0, 4.0, 0.0], vec![0.0; 3]], (2, 3)));
        assert!((made.rms - (25.0f32 / 6.0).sqrt()).abs() < 1e-6);
        let large = Tensor::ones((100, 400), DType::F32, &Device::Cpu).unwrap();
        let blocks = picture("W", &large).unwrap().blocks;
        assert!(
            blocks.len() == BLOCKS && blocks.iter().all(|row| row.len() == BLOCKS && row.iter().all(|b| *b == 1.0))
        );
        let figure = matrices(&[vec![("A", &x), ("zero", &x.zeros_like().unwrap())]]).unwrap();
        assert!(figure.svg().contains("#000000") && figure.svg().contains("2 × 3, rms 2.04"), "{}", figure.svg());
        let flat = Tensor::ones(3, DType::F32, &Device::Cpu).unwrap();
        assert!(matrices(&[vec![("v", &flat)]]).is_err() && matrices(&[]).is_err());
    }
}
