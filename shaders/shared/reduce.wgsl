// The sum over a workgroup of LANES invocations, pair by pair: an order that depends on nothing but their number.

var<workgroup> partial: array<Partial, LANES>;

fn reduce(lane: u32, value: Partial) -> Partial {
    partial[lane] = value;
    workgroupBarrier();
    for (var width = LANES / 2u; width > 0u; width /= 2u) {
        if lane < width {
            partial[lane] += partial[lane + width];
        }
        workgroupBarrier();
    }
    let total = partial[0];
    // The next sum may not begin before all have read this one.
    workgroupBarrier();
    return total;
}
