// Sums over the rows of COLUMNS vec4s, so that the rows that are read are 64 bytes long: invocation (c, i) takes every ROW_LANES-th
// row from i on, then they go pair by pair, an order that depends on nothing but the number of rows.

const COLUMNS: u32 = 4u;
const ROW_LANES: u32 = 16u;

var<workgroup> partial: array<array<Partial, COLUMNS>, ROW_LANES>;

fn reduce(lane: vec2<u32>, value: Partial) -> Partial {
    partial[lane.y][lane.x] = value;
    workgroupBarrier();
    for (var width = ROW_LANES / 2u; width > 0u; width /= 2u) {
        if lane.y < width {
            partial[lane.y][lane.x] += partial[lane.y + width][lane.x];
        }
        workgroupBarrier();
    }
    let total = partial[0][lane.x];
    // The next sum may not begin before all have read this one.
    workgroupBarrier();
    return total;
}
