//! The types that a tensor of a GGUF file can have: ggml's numbers, block sizes and where a block keeps its scales.
//!
//! A quantised row is a run of blocks; a block is `block` numbers in `bytes` bytes, each `scale · q` or `scale · q +
//! min`. Only what candle computes with is here: importance-weighted types (IQ…), ternary and 4-bit float ones are
//! refused by name.
use crate::error::{Error, Result};
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{CpuStorage, DType, Device, Storage, Tensor};
use half::{bf16, f16};
use rayon::prelude::*;
use std::borrow::Cow;

/// Numbers quantised by one core at a time: whole blocks of every type.
const PIECE: usize = 1 << 16;

/// One type of ggml.
#[derive(Debug, PartialEq)]
pub struct Kind {
    /// As in llama.cpp: `Q4_K`.
    pub name: &'static str,
    /// ggml's number for it.
    pub(super) id: u32,
    dtype: GgmlDType,
    /// Numbers in a block.
    pub block: usize,
    /// Bytes of a block.
    pub(super) bytes: usize,
    /// Where a block's f16 scales stand; of all that is in a block only these can be NaN.
    scales: &'static [usize],
}

const fn kind(
    name: &'static str,
    id: u32,
    dtype: GgmlDType,
    block: usize,
    bytes: usize,
    scales: &'static [usize],
) -> Kind {
    Kind { name, id, dtype, block, bytes, scales }
}

pub static F32: Kind = kind("F32", 0, GgmlDType::F32, 1, 4, &[]);
pub static F16: Kind = kind("F16", 1, GgmlDType::F16, 1, 2, &[]);
pub static BF16: Kind = kind("BF16", 30, GgmlDType::BF16, 1, 2, &[]);
pub static Q8_0: Kind = kind("Q8_0", 8, GgmlDType::Q8_0, 32, 34, &[0]);
pub static Q4_K: Kind = kind("Q4_K", 12, GgmlDType::Q4K, 256, 144, &[0, 2]);
pub static Q6_K: Kind = kind("Q6_K", 14, GgmlDType::Q6K, 256, 210, &[208]);
static Q4_0: Kind = kind("Q4_0", 2, GgmlDType::Q4_0, 32, 18, &[0]);
static Q4_1: Kind = kind("Q4_1", 3, GgmlDType::Q4_1, 32, 20, &[0, 2]);
static Q5_0: Kind = kind("Q5_0", 6, GgmlDType::Q5_0, 32, 22, &[0]);
static Q5_1: Kind = kind("Q5_1", 7, GgmlDType::Q5_1, 32, 24, &[0, 2]);
static Q2_K: Kind = kind("Q2_K", 10, GgmlDType::Q2K, 256, 84, &[80, 82]);
static Q3_K: Kind = kind("Q3_K", 11, GgmlDType::Q3K, 256, 110, &[108]);
static Q5_K: Kind = kind("Q5_K", 13, GgmlDType::Q5K, 256, 176, &[0, 2]);

static ALL: [&Kind; 13] = [&F32, &F16, &BF16, &Q8_0, &Q4_K, &Q6_K, &Q4_0, &Q4_1, &Q5_0, &Q5_1, &Q2_K, &Q3_K, &Q5_K];

/// Types of ggml that are not computed here (ggml.h, `enum ggml_type`).
const OTHERS: [(u32, &str); 24] = [
    (9, "Q8_1"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (31, "Q4_0_4_4"),
    (32, "Q4_0_4_8"),
    (33, "Q4_0_8_8"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
    (40, "NVFP4"),
    (41, "Q1_0"),
];

impl Kind {
    /// By ggml's number; an error says `IQ4_NL is not supported`.
    pub(super) fn of(id: u32) -> Result<&'static Kind, String> {
        let other = || {
            let name = OTHERS.iter().find(|(other, _)| *other == id).map(|(_, name)| name.to_string());
            let name = name.unwrap_or_else(|| format!("ggml's type {id}"));
            format!("{name} is not supported; dxlab reads {}", ALL.map(|k| k.name).join(", "))
        };
        ALL.iter().find(|k| k.id == id).copied().ok_or_else(other)
    }

    /// One of the three float types.
    pub(crate) fn of_dtype(dtype: DType) -> Result<&'static Kind> {
        match dtype {
            DType::F32 => Ok(&F32),
            DType::F16 => Ok(&F16),
            DType::BF16 => Ok(&BF16),
            other => Err(Error::failed(format!("weights are written as F32, F16 or BF16, not as {other:?}"))),
        }
    }

    /// Plain numbers, not blocks.
    pub fn is_float(&self) -> bool {
        self.block == 1
    }

    /// Blocks that the forward widens as it goes ([`Weight::Quantised`](crate::model::Weight)).
    pub(super) fn widens(&self) -> bool {
        [&Q8_0, &Q4_K, &Q6_K].contains(&self)
    }

    /// Bytes of a tensor of this type; None if a row is not a whole number of blocks, or the count runs over.
    pub(super) fn size(&self, shape: &[usize]) -> Option<u64> {
        let row = shape.last().filter(|row| **row % self.block == 0)?;
        let rows = shape[..shape.len() - 1].iter().try_fold(1u64, |n, d| n.checked_mul(*d as u64))?;
        rows.checked_mul((*row / self.block) as u64)?.checked_mul(self.bytes as u64)
    }

    /// The first number that is NaN or infinite, as its index among the numbers (or that of its block's first number).
    pub(super) fn not_finite(&self, data: &[u8]) -> Option<usize> {
        let half = |b: &[u8], at: usize| f16::from_le_bytes([b[at], b[at + 1]]).is_finite();
        let fine = |b: &[u8]| match self.dtype {
            GgmlDType::F32 => f32::from_le_bytes([b[0], b[1], b[2], b[3]]).is_finite(),
            GgmlDType::F16 => half(b, 0),
            GgmlDType::BF16 => bf16::from_le_bytes([b[0], b[1]]).is_finite(),
            _ => self.scales.iter().all(|&at| half(b, at)),
        };
        data.chunks_exact(self.bytes).position(|b| !fine(b)).map(|i| i * self.block)
    }

    /// Plain numbers as a tensor of their own type; `data` is as `size` says.
    pub(super) fn tensor(&self, data: &[u8], shape: &[usize]) -> Result<Tensor> {
        let pairs = || data.chunks_exact(2).map(|b| [b[0], b[1]]);
        let cpu = &Device::Cpu;
        Ok(match self.dtype {
            GgmlDType::F32 => {
                let all = data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
                Tensor::from_vec(all.collect(), shape, cpu)?
            }
            GgmlDType::F16 => Tensor::from_vec(pairs().map(f16::from_le_bytes).collect(), shape, cpu)?,
            GgmlDType::BF16 => Tensor::from_vec(pairs().map(bf16::from_le_bytes).collect(), shape, cpu)?,
            _ => self.blocks(data, shape)?.dequantize(cpu)?,
        })
    }

    /// Blocks as they are; `data` is as `size` says. candle reads them as structures in place: `data` has to be aligned
    /// to 4 bytes.
    pub(super) fn blocks(&self, data: &[u8], shape: &[usize]) -> Result<QTensor> {
        let storage = QStorage::from_data(Cow::Borrowed(data), &Device::Cpu, self.dtype)?;
        Ok(QTensor::new(storage, shape)?)
    }

    /// A tensor of any float type as bytes of this type. Numbers that this type cannot hold are an error.
    pub(crate) fn encode(&self, tensor: &Tensor) -> Result<Vec<u8>> {
        let tensor = tensor.to_dtype(DType::F32)?.contiguous()?;
        let bytes = match self.dtype {
            GgmlDType::F32 => self.floats(&tensor, |x| x.to_le_bytes())?,
            GgmlDType::F16 => self.floats(&tensor, |x| f16::from_f32(x).to_le_bytes())?,
            GgmlDType::BF16 => self.floats(&tensor, |x| bf16::from_f32(x).to_le_bytes())?,
            _ => self.quantised(&tensor)?,
        };
        match self.not_finite(&bytes) {
            Some(at) => Err(Error::input(format!("number {at} is NaN, infinite or too large for {}", self.name))),
            None => Ok(bytes),
        }
    }

    /// Blocks know nothing of each other: pieces of the tensor on all cores.
    fn quantised(&self, tensor: &Tensor) -> Result<Vec<u8>> {
        let piece = |numbers: &[f32]| -> Result<Vec<u8>> {
            let tensor = Tensor::from_slice(numbers, numbers.len(), &Device::Cpu)?;
            Ok(QTensor::quantize(&tensor, self.dtype)?.data()?.into_owned())
        };
        let (storage, layout) = tensor.storage_and_layout();
        let (Storage::Cpu(CpuStorage::F32(all)), Some((start, end))) = (&*storage, layout.contiguous_offsets()) else {
            return Err(Error::failed("a tensor to quantise has to lie on the cpu"));
        };
        let pieces = all[start..end].par_chunks(PIECE).map(piece).collect::<Result<Vec<_>>>()?;
        Ok(pieces.concat())
    }

    fn floats<const N: usize>(&self, tensor: &Tensor, bytes: impl Fn(f32) -> [u8; N]) -> Result<Vec<u8>> {
        let all = tensor.flatten_all()?.to_vec1::<f32>()?;
        Ok(all.into_iter().flat_map(bytes).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_sizes_are_candles() {
        for kind in ALL {
            assert_eq!((kind.block, kind.bytes), (kind.dtype.block_size(), kind.dtype.type_size()), "{}", kind.name);
            assert_eq!(Kind::of(kind.id).unwrap(), kind);
        }
        assert!(Kind::of(16).unwrap_err().starts_with("IQ2_XXS is not supported"));
        assert!(Kind::of(99).unwrap_err().starts_with("ggml's type 99 is not supported"));
        assert!(OTHERS.iter().all(|(id, _)| ALL.iter().all(|kind| kind.id != *id)));
    }

    #[test]
    fn sizes_that_run_over_or_break_a_block_are_none() {
        assert_eq!(Q8_0.size(&[3, 64]), Some(3 * 2 * 34));
        assert_eq!((Q8_0.size(&[3, 33]), Q4_K.size(&[3, 128]), F32.size(&[])), (None, None, None));
        assert_eq!(F32.size(&[usize::MAX, 2]), None);
    }

    #[test]
    fn scales_that_are_not_finite_are_found_wherever_a_block_keeps_them() {
        for kind in ALL {
            let mut data = vec![0; 3 * kind.bytes];
            assert_eq!(kind.not_finite(&data), None);
            let at = 2 * kind.bytes + kind.scales.last().copied().unwrap_or(0);
            data[at..at + 2].copy_from_slice(&[0xff, 0x7f]); // NaN in f16 and bf16, and in f32 with the next two
            if kind.name == "F32" {
                data[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
            }
            assert_eq!(kind.not_finite(&data), Some(2 * kind.block), "{}", kind.name);
            let dense = kind.tensor(&data, &[3 * kind.block]).unwrap().to_dtype(DType::F32).unwrap();
            assert!(dense.to_vec1::<f32>().unwrap().iter().any(|x| !x.is_finite()), "{}", kind.name);
        }
    }

    #[test]
    fn what_is_encoded_comes_back_within_a_step_of_its_type() {
        let values: Vec<f32> = (0..512).map(|i| ((i * 37 % 101) as f32 / 50.0 - 1.0) * 0.3).collect();
        let tensor = Tensor::from_vec(values.clone(), (2, 256), &Device::Cpu).unwrap();
        for (kind, step) in [(&F32, 0.0), (&F16, 2e-4), (&BF16, 1.2e-3), (&Q8_0, 1.3e-3), (&Q6_K, 6e-3), (&Q4_K, 3e-2)]
        {
            let bytes = kind.encode(&tensor).unwrap();
            assert_eq!(bytes.len() as u64, kind.size(&[2, 256]).unwrap());
            let back = kind.tensor(&bytes, &[2, 256]).unwrap().to_dtype(DType::F32).unwrap();
            let back = back.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let far = back.iter().zip(&values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(far <= step, "{}: {far}", kind.name);
        }
        let many = Tensor::rand(-1f32, 1.0, (300, 512), &Device::Cpu).unwrap(); // more than one piece
        let whole = QTensor::quantize(&many, GgmlDType::Q4K).unwrap();
        assert_eq!(Q4_K.encode(&many).unwrap(), whole.data().unwrap().into_owned());
        let large = Tensor::new(&[1e6f32, 0.0], &Device::Cpu).unwrap();
        assert!(F16.encode(&large).unwrap_err().to_string().contains("F16") && BF16.encode(&large).is_ok());
    }
}
