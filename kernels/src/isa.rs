//! Which vector instructions this machine has, and how a body is compiled for each of them.
//!
//! **Invariant:** a vector path runs only after its instructions were detected here.

use std::sync::OnceLock;

/// A family of vector instructions that the kernels have a path for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// No vector instructions assumed; a fused multiply-add may be a library call.
    Scalar,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ and VL.
    Avx512,
    /// aarch64, where NEON is always there.
    Neon,
}

impl Isa {
    /// The best family of this machine.
    pub fn detected() -> Self {
        static DETECTED: OnceLock<Isa> = OnceLock::new();
        *DETECTED.get_or_init(detect)
    }

    /// Every family that runs on this machine.
    ///
    /// Order: [`Isa::Scalar`] first, the detected one last.
    pub fn available() -> Vec<Self> {
        [Self::Scalar, Self::Avx2, Self::Avx512, Self::Neon]
            .into_iter()
            .filter(|isa| isa.is_available())
            .collect()
    }

    /// Whether this family runs on this machine.
    pub fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            // Each x86 family contains the one before it, so the best one tells of all.
            Self::Avx2 | Self::Avx512 => cfg!(target_arch = "x86_64") && self <= Self::detected(),
            Self::Neon => Self::detected() == Self::Neon,
        }
    }

    /// This family where it is available, the scalar one otherwise.
    pub(crate) fn or_scalar(self) -> Self {
        if self.is_available() { self } else { Self::Scalar }
    }
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Isa {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    match (avx2, avx512) {
        (true, true) => Isa::Avx512,
        (true, false) => Isa::Avx2,
        (false, _) => Isa::Scalar,
    }
}

#[cfg(target_arch = "aarch64")]
fn detect() -> Isa {
    Isa::Neon
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn detect() -> Isa {
    Isa::Scalar
}

/// Defines a function that compiles one `#[inline(always)]` body for every family and runs the one
/// asked for. The body has no vector code of its own: the compiler vectorizes it, and as it may not
/// reorder floating point, the bits are those of the body as written.
macro_rules! on_every_isa {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:path;) => {
        $(#[$meta])*
        #[allow(unsafe_code, reason = "calls a path compiled for detected instructions")]
        $vis fn $name(isa: $crate::Isa, $($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $ty),*) $(-> $ret)? {
                $body($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            fn avx512($($arg: $ty),*) $(-> $ret)? {
                $body($($arg),*)
            }
            match isa.or_scalar() {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `or_scalar` returned it, so AVX2 and FMA were detected.
                $crate::Isa::Avx2 => unsafe { avx2($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `or_scalar` returned it, so these AVX-512 parts were detected.
                $crate::Isa::Avx512 => unsafe { avx512($($arg),*) },
                // On aarch64 every function is compiled for NEON already.
                _ => $body($($arg),*),
            }
        }
    };
}
