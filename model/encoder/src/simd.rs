//! Code for the widest vectors that the machine has.

use pulp::{Arch, Simd, WithSimd};

struct Vectorised<F>(F);

impl<F: FnOnce()> WithSimd for Vectorised<F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        (self.0)();
    }
}

/// Runs a closure that was compiled for them.
#[inline(always)]
pub(crate) fn vectorised(work: impl FnOnce()) {
    Arch::new().dispatch(Vectorised(work));
}
