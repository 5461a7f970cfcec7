// What the staged products have: workgroup memory for two stages of both factors, then for the sums of as many slices as fit.

override LANES: u32 = 64u; // of a slice: each makes eight rows and two vec4s of each
override SLICES: u32 = 2u;
const TILE: u32 = 4u * HEIGHT * COLUMNS; // vec4s; HEIGHT: vec4s along the tile's rows
const STAGE: u32 = 512u; // vec4s: half of the memory that every device has
const DEPTH: u32 = STAGE / (HEIGHT + COLUMNS) / 16u * 16u; // terms staged at a time
const TILES: u32 = 2u * STAGE / TILE; // that the memory holds

// Two stages, what is left of each unused; then (TILES, 4 HEIGHT, COLUMNS).
var<workgroup> memory: array<vec4<f32>, 2u * STAGE>;

// Where an invocation's sums begin in the tile: the first of four rows, in vec4s, and the column. Sixteen lanes make a square
// of four by four, and so read least.
fn corner_of(lane: u32) -> vec2<u32> {
    let across = lane / 2u % 4u + lane / 16u % max(COLUMNS / 8u, 1u) * 4u;
    let down = lane % 2u + lane / 8u % 2u * 2u + lane / (2u * COLUMNS) * 4u;
    return vec2(down, across);
}

fn outer(sums: mat4x4<f32>, a: vec4<f32>, b: vec4<f32>) -> mat4x4<f32> {
    return mat4x4(
        fma(vec4(a.x), b, sums[0]),
        fma(vec4(a.y), b, sums[1]),
        fma(vec4(a.z), b, sums[2]),
        fma(vec4(a.w), b, sums[3]),
    );
}

// Adds up all slices, as many at once as there is memory for, of four rows and a vec4 of each by the first and the second half of
// the tile's rows, and of its columns.
fn add_slices(
    slice: u32,
    corner: vec2<u32>,
    sums00: mat4x4<f32>,
    sums01: mat4x4<f32>,
    sums10: mat4x4<f32>,
    sums11: mat4x4<f32>,
) {
    let at = slice % TILES * TILE + 4u * corner.x * COLUMNS + corner.y;
    for (var i = 0u; i < SLICES; i += TILES) {
        if slice / TILES * TILES == i {
            add(at, sums00, i == 0u);
            add(at + COLUMNS / 2u, sums01, i == 0u);
            add(at + TILE / 2u, sums10, i == 0u);
            add(at + TILE / 2u + COLUMNS / 2u, sums11, i == 0u);
        }
        workgroupBarrier();
    }
}

// Puts four rows of a part's sums, or adds them to an earlier part's.
fn add(at: u32, sums: mat4x4<f32>, is_first: bool) {
    if is_first {
        memory[at] = sums[0];
        memory[at + COLUMNS] = sums[1];
        memory[at + 2u * COLUMNS] = sums[2];
        memory[at + 3u * COLUMNS] = sums[3];
    } else {
        memory[at] += sums[0];
        memory[at + COLUMNS] += sums[1];
        memory[at + 2u * COLUMNS] += sums[2];
        memory[at + 3u * COLUMNS] += sums[3];
    }
}

// What all slices summed up of vec4 i of the tile.
fn sum(i: u32) -> vec4<f32> {
    var total = memory[i];
    for (var at = i + TILE; at < 2u * STAGE; at += TILE) {
        total += memory[at];
    }
    return total;
}
