// Staged rows whose terms lie one after the other.

const BLOCKS: u32 = DEPTH / 4u; // vec4s of a row's terms

// Where a vec4 of a staged row lies: what lanes read at once lies in different banks.
fn place(row: u32, block: u32) -> u32 {
    return row * BLOCKS + (block ^ (row / 4u % BLOCKS));
}

// A vec4 of terms of four rows, term by term.
fn four_rows(first: u32, height: u32, block: u32) -> mat4x4<f32> {
    let at = first + place(4u * height, block);
    return transpose(mat4x4(memory[at], memory[at + BLOCKS], memory[at + 2u * BLOCKS], memory[at + 3u * BLOCKS]));
}

// Adds four terms of four rows and of four columns, term by term.
fn add_block(sums: mat4x4<f32>, a: mat4x4<f32>, b: mat4x4<f32>) -> mat4x4<f32> {
    return outer(outer(outer(outer(sums, a[0], b[0]), a[1], b[1]), a[2], b[2]), a[3], b[3]);
}
