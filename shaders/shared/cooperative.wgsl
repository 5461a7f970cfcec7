enable subgroups;
enable wgpu_cooperative_matrix;

// What the cooperative products have: a tile of HEIGHT rows and COLUMNS vec4s of each, cut into fragments of SIDE x SIDE, of
// which each of four subgroups makes two by two, in slices of the sum where the tile has fewer.

override LANES: u32 = 32u; // of a subgroup
const SIDE: u32 = 8u; // of a fragment, as in coop_mat8x8
const SUBGROUPS: u32 = 4u;
const DOWN: u32 = HEIGHT / (2u * SIDE);
const ACROSS: u32 = 2u * COLUMNS / SIDE;
const SLICES: u32 = SUBGROUPS / (DOWN * ACROSS);
const DEPTH: u32 = max(2u, SLICES) * SIDE; // of the sum, staged at a time
const QUARTER: u32 = HEIGHT * COLUMNS / 4u; // vec4s of a quarter of the tile, a fragment of each subgroup

// Row and column, in vec4s, of vec4 i of a quarter of the tile: its fragments' upper left ones, upper right ones, and so on.
fn in_tile(quarter: u32, i: u32) -> vec2<u32> {
    let fragment = i / (SIDE * SIDE / 4u);
    let within = vec2(i / (SIDE / 4u) % SIDE, i % (SIDE / 4u));
    let corner = vec2(2u * (fragment / ACROSS) + quarter / 2u, 2u * (fragment % ACROSS) + quarter % 2u);
    return corner * vec2(SIDE, SIDE / 4u) + within;
}

// What all slices summed up of vec4 i of a quarter.
fn sum(i: u32) -> vec4<f32> {
    var total = vec4<f32>();
    for (var s = 0u; s < SLICES; s++) {
        total += slice_at(s * QUARTER + i);
    }
    return total;
}

fn slice_at(i: u32) -> vec4<f32> {
    return vec4(slices[4u * i], slices[4u * i + 1u], slices[4u * i + 2u], slices[4u * i + 3u]);
}
