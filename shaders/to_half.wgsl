// working ← w, in half precision
//
// What the matrix products of mixed precision read. The updates write it beside the weights; this does it where the
// weights came by another way. One invocation takes one vec4 of one replica.

@group(0) @binding(1) var<storage, read> params: array<vec4<f32>>;     // (R, P)
@group(0) @binding(2) var<storage, read_write> working: array<Stored>; // (R, P)

fn take(r: u32, i: u32, at: u32) {
    working[at] = store(params[at]);
}
