//! Runs code with the widest vectors of the machine.

use pulp::{Arch, Simd, WithSimd};

struct Vectorised<F>(F);

impl<F: FnOnce()> WithSimd for Vectorised<F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        (self.0)();
    }
}

/// Runs a closure that is compiled for these vectors.
#[inline(always)]
pub(crate) fn vectorised(work: impl FnOnce()) {
    Arch::new().dispatch(Vectorised(work));
}
