//! GGUF's quantised blocks turned into f32 (ggml's `dequantize_row_*`).
//!
//! | kind | numbers a block | bytes | number |
//! |---|---|---|---|
//! | Q8_0 | 32 | 34 | d·q |
//! | Q4_K | 256 | 144 | d·s·q − m·t, with 6-bit s and t for every 32 |
//! | Q6_K | 256 | 210 | d·s·(q − 32), with an 8-bit s for every 16 |
use super::lanes::{dispatch, nearest};
use candle_core::quantized::GgmlDType;
use candle_core::{Result, bail};
use half::f16;

/// The bytes of a matrix, row after row, every row a whole number of blocks.
#[derive(Clone, Copy)]
pub struct Blocks<'a> {
    bytes: &'a [u8],
    /// Numbers and bytes of a block.
    size: (usize, usize),
    widen: fn(&[u8], &mut [f32]),
    /// From the blocks straight to bf16, 32 numbers at a time to places that lie a step apart; None: widened first.
    narrow: Option<fn(&[u8], &mut [u16], usize)>,
}

impl<'a> Blocks<'a> {
    pub fn new(kind: GgmlDType, bytes: &'a [u8]) -> Result<Self> {
        let (size, widen): (_, fn(&[u8], &mut [f32])) = match kind {
            GgmlDType::Q8_0 => ((32, 34), q8_0),
            GgmlDType::Q4K => ((256, 144), q4_k),
            GgmlDType::Q6K => ((256, 210), q6_k),
            other => bail!("no loop widens blocks of {other:?}"),
        };
        let narrow = (kind == GgmlDType::Q8_0).then(q8_0_narrow);
        Ok(Self { bytes, size, widen, narrow })
    }

    /// The `n` numbers from `first` on as the nearest bf16 numbers, each 32 of them `step` after those before; false where this kind of
    /// block has to be widened first. Both ends lie between two blocks.
    pub fn narrow(&self, first: usize, n: usize, out: &mut [u16], step: usize) -> bool {
        let (numbers, bytes) = self.size;
        let at = first / numbers * bytes;
        self.narrow.is_some_and(|narrow| {
            narrow(&self.bytes[at..at + n / numbers * bytes], out, step);
            true
        })
    }

    /// Numbers `first .. first + out.len()` of the whole matrix; both ends lie between two blocks.
    pub fn widen(&self, first: usize, out: &mut [f32]) {
        let (numbers, bytes) = self.size;
        let at = first / numbers * bytes;
        (self.widen)(&self.bytes[at..at + out.len() / numbers * bytes], out);
    }
}

fn half(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

dispatch! {
    fn q8_0(bytes: &[u8], out: &mut [f32]) {
        for (block, out) in bytes.chunks_exact(34).zip(out.chunks_exact_mut(32)) {
            let d = half(block, 0);
            let q = &block[2..34];
            for i in 0..32 {
                out[i] = d * (q[i] as i8) as f32;
            }
        }
    }
}

/// RotaryEmbedding blocks of Q8_0 into the nearest bf16 numbers, by the processor's own rounding where it has one.
fn q8_0_narrow() -> fn(&[u8], &mut [u16], usize) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512bf16") && is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("f16c")
    {
        // SAFETY: the processor has just said that it has these instructions.
        return |bytes, out, step| unsafe { q8_0_narrow_avx512(bytes, out, step) };
    }
    q8_0_narrow_plain
}

dispatch! {
    fn q8_0_narrow_plain(bytes: &[u8], out: &mut [u16], step: usize) {
        for (block, out) in bytes.chunks_exact(34).zip(out.chunks_mut(step)) {
            let d = half(block, 0);
            let (q, out) = (&block[2..34], &mut out[..32]);
            for i in 0..32 {
                out[i] = (nearest(d * (q[i] as i8) as f32) >> 16) as u16;
            }
        }
    }
}

/// Bytes between asking for a block and using it.
#[cfg(target_arch = "x86_64")]
const AHEAD: usize = 2048;

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16,f16c")]
fn q8_0_narrow_avx512(bytes: &[u8], out: &mut [u16], step: usize) {
    use std::arch::x86_64::*;
    for (block, out) in bytes.chunks_exact(34).zip(out.chunks_mut(step)) {
        let d = _mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(u16::from_le_bytes([block[0], block[1]]))));
        let (d, q, out) = (_mm512_broadcastss_ps(d), &block[2..34], &mut out[..32]);
        // only a hint, so it may lie past the end: memory is far away
        _mm_prefetch::<_MM_HINT_T0>(block.as_ptr().wrapping_add(AHEAD).cast());
        // SAFETY: 32 bytes are read and 32 numbers written, which the two slices have.
        unsafe {
            let wide = |at: usize| _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(q.as_ptr().add(at).cast())));
            let both = _mm512_cvtne2ps_pbh(_mm512_mul_ps(d, wide(16)), _mm512_mul_ps(d, wide(0)));
            _mm512_storeu_si512(out.as_mut_ptr().cast(), std::mem::transmute::<__m512bh, __m512i>(both));
        }
    }
}

/// The j-th of eight 6-bit scales and minima that twelve bytes hold.
#[inline(always)]
fn scale_and_min(j: usize, s: &[u8]) -> (u8, u8) {
    if j < 4 {
        (s[j] & 63, s[j + 4] & 63)
    } else {
        ((s[j + 4] & 15) | ((s[j - 4] >> 6) << 4), (s[j + 4] >> 4) | ((s[j] >> 6) << 4))
    }
}

dispatch! {
    fn q4_k(bytes: &[u8], out: &mut [f32]) {
        for (block, out) in bytes.chunks_exact(144).zip(out.chunks_exact_mut(256)) {
            let (d, min) = (half(block, 0), half(block, 2));
            let (scales, quants) = (&block[4..16], &block[16..144]);
            for (pair, (q, out)) in quants.chunks_exact(32).zip(out.chunks_exact_mut(64)).enumerate() {
                let (s, m) = scale_and_min(2 * pair, scales);
                let (low, low_min) = (d * s as f32, min * m as f32);
                let (s, m) = scale_and_min(2 * pair + 1, scales);
                let (high, high_min) = (d * s as f32, min * m as f32);
                for i in 0..32 {
                    out[i] = low * (q[i] & 15) as f32 - low_min;
                    out[32 + i] = high * (q[i] >> 4) as f32 - high_min;
                }
            }
        }
    }
}

dispatch! {
    fn q6_k(bytes: &[u8], out: &mut [f32]) {
        for (block, out) in bytes.chunks_exact(210).zip(out.chunks_exact_mut(256)) {
            let d = half(block, 208);
            for (part, out) in out.chunks_exact_mut(128).enumerate() {
                let low = &block[64 * part..64 * part + 64];
                let high = &block[128 + 32 * part..128 + 32 * part + 32];
                let scales = &block[192 + 8 * part..192 + 8 * part + 8];
                for i in 0..32 {
                    let s = |j: usize| d * scales[i / 16 + 2 * j] as i8 as f32;
                    let bits = |j: usize| (high[i] >> (2 * j)) & 3;
                    out[i] = s(0) * (((low[i] & 15) | (bits(0) << 4)) as i8 - 32) as f32;
                    out[32 + i] = s(1) * (((low[32 + i] & 15) | (bits(1) << 4)) as i8 - 32) as f32;
                    out[64 + i] = s(2) * (((low[i] >> 4) | (bits(2) << 4)) as i8 - 32) as f32;
                    out[96 + i] = s(3) * (((low[32 + i] >> 4) | (bits(3) << 4)) as i8 - 32) as f32;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::quantized::QTensor;
    use candle_core::{Device, Tensor};

    #[test]
    fn every_kind_is_widened_as_candle_widens_it() {
        let numbers: Vec<f32> = (0..3 * 512).map(|i| (i as f32 * 0.37).sin() * (1.0 + i as f32 / 300.0)).collect();
        let t = Tensor::from_vec(numbers, (3, 512), &Device::Cpu).unwrap();
        for kind in [GgmlDType::Q8_0, GgmlDType::Q4K, GgmlDType::Q6K] {
            let q = QTensor::quantize(&t, kind).unwrap();
            let want: Vec<f32> = q.dequantize(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            let bytes = q.data().unwrap();
            let blocks = Blocks::new(kind, &bytes).unwrap();
            let mut all = vec![0f32; want.len()];
            blocks.widen(0, &mut all);
            assert_eq!(all, want, "{kind:?}");
            let mut part = vec![0f32; 256];
            blocks.widen(512 + 256, &mut part);
            assert_eq!(part, want[768..1024], "{kind:?}: from the middle");
        }
    }

    #[test]
    fn blocks_of_q8_0_become_the_nearest_bf16_numbers_wherever_they_are_put() {
        let numbers: Vec<f32> = (0..3 * 96).map(|i| (i as f32 * 0.37).sin() * (1.0 + i as f32 / 30.0)).collect();
        let t = Tensor::from_vec(numbers, (3, 96), &Device::Cpu).unwrap();
        let q = QTensor::quantize(&t, GgmlDType::Q8_0).unwrap();
        let wide: Vec<f32> = q.dequantize(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let want: Vec<u16> = wide[96..192].iter().map(|&v| half::bf16::from_f32(v).to_bits()).collect();
        let bytes = q.data().unwrap();
        for narrow in [q8_0_narrow_plain, q8_0_narrow()] {
            let blocks = Blocks { narrow: Some(narrow), ..Blocks::new(GgmlDType::Q8_0, &bytes).unwrap() };
            for step in [32, 40, 512] {
                let mut out = vec![7u16; 2 * step + 32];
                assert!(blocks.narrow(96, 96, &mut out, step));
                let got: Vec<u16> = out.chunks(step).flat_map(|part| part[..32].to_vec()).collect();
                assert_eq!(got, want, "step {step}");
                assert!(out.chunks(step).all(|part| part[32..].iter().all(|&v| v == 7)));
            }
        }
        let q =
            QTensor::quantize(&Tensor::zeros((1, 256), candle_core::DType::F32, &Device::Cpu).unwrap(), GgmlDType::Q4K);
        let q = q.unwrap();
        assert!(!Blocks::new(GgmlDType::Q4K, &q.data().unwrap()).unwrap().narrow(0, 256, &mut [0; 256], 32));
    }
}
