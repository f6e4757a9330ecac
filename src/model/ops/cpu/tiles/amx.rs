//! AMX: eight registers of 16 rows of 64 bytes. Four hold sums, two the left and two the right operand. The instructions are written as
//! assembly, as Rust's intrinsics for them are not stable yet.
use super::{Side, Sums, Unit};

/// True where the processor has AMX-BF16 and the system has let this process use it (Linux asks to be asked).
pub fn granted() -> bool {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    {
        use std::arch::x86_64::{__cpuid, __cpuid_count};
        const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
        const XTILEDATA: libc::c_long = 18;
        const TILES_AND_BF16: u32 = 1 << 24 | 1 << 22;
        let present = __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & TILES_AND_BF16 == TILES_AND_BF16;
        // SAFETY: the call changes nothing but what this process may use.
        let allowed = || unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XTILEDATA) } == 0;
        return present && is_x86_feature_detected!("avx512f") && allowed();
    }
    #[allow(unreachable_code)]
    false
}

/// This thread's tile registers, shaped while it lives. Of other units it is nothing.
pub struct Session(bool);

impl Session {
    pub fn open(unit: Unit) -> Self {
        #[cfg(target_arch = "x86_64")]
        if unit == Unit::Amx {
            #[repr(C, align(64))]
            struct Shapes([u8; 64]);
            let mut shapes = Shapes([0; 64]);
            shapes.0[0] = 1; // palette
            for tile in 0..8 {
                shapes.0[16 + 2 * tile] = 64; // bytes a row, two bytes each
                shapes.0[48 + tile] = 16; // rows
            }
            // SAFETY: `Unit::Amx` is only made where `granted` was true; the shapes are 64 bytes.
            unsafe { std::arch::asm!("ldtilecfg [{}]", in(reg) &raw const shapes, options(nostack, readonly)) };
        }
        Self(unit == Unit::Amx)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        #[cfg(target_arch = "x86_64")]
        if self.0 {
            // SAFETY: as in `open`.
            unsafe { std::arch::asm!("tilerelease", options(nostack, nomem)) };
        }
    }
}

#[cfg(target_arch = "x86_64")]
macro_rules! tile {
    (zero $t:literal) => { std::arch::asm!(concat!("tilezero tmm", $t), options(nostack, nomem)) };
    (load $t:literal, $side:expr, $at:expr) => {
        std::arch::asm!(concat!("tileloadd tmm", $t, ", [{} + {}*1]"), in(reg) $side.start.add($at), in(reg) 2 * $side.row, options(nostack, readonly))
    };
    (add $sums:literal, $a:literal, $b:literal) => {
        std::arch::asm!(concat!("tdpbf16ps tmm", $sums, ", tmm", $a, ", tmm", $b), options(nostack, nomem))
    };
    (store $t:literal, $out:expr, $stride:expr) => {
        std::arch::asm!(concat!("tilestored [{} + {}*1], tmm", $t), in(reg) $out, in(reg) 4 * $stride, options(nostack))
    };
}

/// # Safety
/// In a [`Session`] of AMX; every side covers `steps` tiles of every part.
#[cfg(target_arch = "x86_64")]
pub unsafe fn block(a: [Side; 2], b: [Side; 2], [steps, parts]: [usize; 2], soon: Option<*const u16>, out: &mut Sums) {
    // SAFETY: promised by the caller; a tile of sums is 16 rows of 64 bytes.
    unsafe {
        tile!(zero "0");
        tile!(zero "1");
        tile!(zero "2");
        tile!(zero "3");
        for step in 0..steps {
            if let Some(soon) = soon {
                ahead(soon, step);
            }
            for part in 0..parts {
                let at = |side: &Side| step * side.step + part * side.part;
                if part == 0 || a[0].part > 0 {
                    tile!(load "4", a[0], at(&a[0]));
                    tile!(load "5", a[1], at(&a[1]));
                }
                if part == 0 || b[0].part > 0 {
                    tile!(load "6", b[0], at(&b[0]));
                    tile!(load "7", b[1], at(&b[1]));
                }
                tile!(add "0", "4", "6");
                tile!(add "1", "4", "7");
                tile!(add "2", "5", "6");
                tile!(add "3", "5", "7");
            }
        }
        tile!(store "0", out.0[0][0].as_mut_ptr(), super::SIDE);
        tile!(store "1", out.0[0][1].as_mut_ptr(), super::SIDE);
        tile!(store "2", out.0[1][0].as_mut_ptr(), super::SIDE);
        tile!(store "3", out.0[1][1].as_mut_ptr(), super::SIDE);
    }
}

/// Sums of the six largest products of three parts with three, the smallest first: 32 × 32 of them in rows that are `stride` apart.
///
/// # Safety
/// In a [`Session`] of AMX; every side covers `steps` tiles of three parts; the rows may be written.
#[cfg(target_arch = "x86_64")]
pub unsafe fn exact(a: [Side; 2], b: [Side; 2], steps: usize, out: *mut f32, stride: usize) {
    macro_rules! left {
        ($part:literal, $step:expr) => {
            tile!(load "4", a[0], $step * a[0].step + $part * a[0].part);
            tile!(load "5", a[1], $step * a[1].step + $part * a[1].part);
        };
    }
    macro_rules! right {
        ($part:literal, $step:expr) => {
            tile!(load "6", b[0], $step * b[0].step + $part * b[0].part);
            tile!(load "7", b[1], $step * b[1].step + $part * b[1].part);
        };
    }
    macro_rules! multiply {
        () => {
            tile!(add "0", "4", "6");
            tile!(add "1", "4", "7");
            tile!(add "2", "5", "6");
            tile!(add "3", "5", "7");
        };
    }
    // SAFETY: promised by the caller; a tile of sums is 16 rows of 64 bytes.
    unsafe {
        let below = out.add(super::SIDE * stride);
        let [s0, s1, s2, s3] = [out, out.add(super::SIDE), below, below.add(super::SIDE)];
        tile!(zero "0");
        tile!(zero "1");
        tile!(zero "2");
        tile!(zero "3");
        let (mut line, lines) = (out, (2 * super::SIDE).div_ceil(steps));
        for step in 0..steps {
            for _ in 0..lines {
                // what is written in the end comes from afar too
                std::arch::asm!("prefetchw [{0}]", "prefetchw [{0} + 64]", in(reg) line, options(nostack, readonly));
                line = line.wrapping_add(stride);
            }
            // each product but the last shares one of its operands with the one before
            left!(2, step);
            right!(0, step);
            multiply!();
            left!(1, step);
            multiply!();
            right!(1, step);
            multiply!();
            left!(0, step);
            multiply!();
            right!(2, step);
            multiply!();
            right!(0, step);
            multiply!();
        }
        tile!(store "0", s0, stride);
        tile!(store "1", s1, stride);
        tile!(store "2", s2, stride);
        tile!(store "3", s3, stride);
    }
}

/// # Safety
/// None is needed: there is no such unit here, and nothing makes one.
#[cfg(not(target_arch = "x86_64"))]
pub unsafe fn exact(_: [Side; 2], _: [Side; 2], _: usize, _: *mut f32, _: usize) {
    unreachable!("AMX on another processor")
}

/// Asks for as many bytes as a step reads of two blocks, which lie one after the other: memory is far away.
#[cfg(target_arch = "x86_64")]
fn ahead(from: *const u16, step: usize) {
    use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
    for row in 0..2 * super::SIDE {
        let line = from.wrapping_add((step * 2 * super::SIDE + row) * super::STEP);
        // SAFETY: only a hint, so it may lie past the end.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.cast()) };
    }
}

/// # Safety
/// None is needed: there is no such unit here, and nothing makes one.
#[cfg(not(target_arch = "x86_64"))]
pub unsafe fn block(_: [Side; 2], _: [Side; 2], _: [usize; 2], _: Option<*const u16>, _: &mut Sums) {
    unreachable!("AMX on another processor")
}
