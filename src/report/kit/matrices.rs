//! Matrices as pictures: the root mean square of every block of numbers as a grey, so that size and pattern can be seen at a glance.
use super::canvas::{Area, Drawn, SIZE, anchored};
use super::display::{Figure, number};
use crate::error::{Error, Result};
use candle_core::{DType, Tensor};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

/// Most blocks of a picture's side.
const BLOCKS: usize = 36;
/// Most pixels of a picture's height, and those of what stands above it; its width is its share of the figure's.
const HEIGHT: u32 = 200;
const TITLE: u32 = 44;
const GAP: u32 = 20;

/// Rows of matrices, each with its name: white is 0, black the largest block of that matrix. Under a name stand the shape and the root mean
/// square of all its numbers, by which matrices can be compared. Fails for what is no matrix.
pub fn matrices(rows: &[Vec<(&str, &Tensor)>]) -> Result<Figure> {
    let rows =
        rows.iter().map(|row| row.iter().map(|(name, x)| picture(name, x)).collect()).collect::<Result<Vec<_>>>()?;
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0) as u32;
    if columns == 0 {
        return Err(Error::input("matrices: nothing to draw"));
    }
    let side = (SIZE.0 - GAP) / columns - GAP;
    let heights: Vec<u32> = rows.iter().map(|row| row.iter().map(|one| one.size(side).1).max().unwrap_or(0)).collect();
    let size = (SIZE.0, heights.iter().map(|height| height + TITLE + GAP).sum());
    Figure::draw(size, |area| {
        let mut top = 0;
        for (row, height) in rows.iter().zip(heights) {
            for (column, picture) in row.iter().enumerate() {
                picture.draw(area, ((GAP + column as u32 * (side + GAP)) as i32, top as i32), picture.size(side))?;
            }
            top += height + TITLE + GAP;
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
    /// Width and height in pixels: as large as fits; a thin matrix stays thin, but can be seen.
    fn size(&self, side: u32) -> (u32, u32) {
        let (n, k) = (self.shape.0.max(1) as f64, self.shape.1.max(1) as f64);
        let scale = (f64::from(side) / k).min(f64::from(HEIGHT) / n);
        (((k * scale) as u32).max(16), ((n * scale) as u32).max(16))
    }

    fn draw(&self, area: &Area, (x, y): (i32, i32), (width, height): (u32, u32)) -> Drawn {
        let most = self.blocks.iter().flatten().copied().fold(0.0, f32::max);
        let (down, across) = (self.blocks.len(), self.blocks.first().map_or(0, Vec::len));
        let (n, k) = self.shape;
        let facts = format!("{n} × {k}, rms {}", number(f64::from(self.rms)));
        area.draw_text(&self.name, &anchored(14, HPos::Left, VPos::Top), (x, y + 4))?;
        area.draw_text(&facts, &anchored(12, HPos::Left, VPos::Top), (x, y + 24))?;
        let (top, width, height) = (y + TITLE as i32, width as i32, height as i32);
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
