//! Whether there is an adapter to test on, which `tests/run.sh` asks first.

use crate::common;

#[test]
fn there_is_one() {
    common::gpu();
}
