//! A slice of which several threads write different parts, such as columns of the same rows.

use std::marker::PhantomData;

pub(super) struct Parts<'a, T> {
    values: *mut T,
    len: usize,
    borrowed: PhantomData<&'a mut [T]>,
}

// SAFETY: whoever takes a part promises that no other thread has any of it.
unsafe impl<T: Send> Sync for Parts<'_, T> {}

impl<'a, T> Parts<'a, T> {
    pub fn new(values: &'a mut [T]) -> Self {
        Self { values: values.as_mut_ptr(), len: values.len(), borrowed: PhantomData }
    }

    /// Returns `ROWS` rows of so many columns, from `at` on and `stride` apart.
    ///
    /// # Safety
    /// Nobody else has any of them.
    #[allow(clippy::mut_from_ref, reason = "the promise")]
    #[inline(always)]
    pub unsafe fn rows<const ROWS: usize>(&self, at: usize, stride: usize, columns: usize) -> [&mut [T]; ROWS] {
        assert!(columns <= stride && at + (ROWS - 1) * stride + columns <= self.len, "the rows lie inside their slice");
        // SAFETY: apart and inside, and by the promise nobody else's.
        std::array::from_fn(|i| unsafe { std::slice::from_raw_parts_mut(self.values.add(at + i * stride), columns) })
    }
}
