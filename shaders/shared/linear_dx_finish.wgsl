// da = sum (+ above if RESIDUAL),  dx = da ∘ slope
//
// `above` is the gradient of the layer's output, which a residual connection hands down; KEEP writes da, for the layer
// below to do so in turn.

override RESIDUAL: bool = false;
override KEEP: bool = false;

// Stores the gradient of four inputs of a row.
fn finish(r: u32, row: u32, input: u32, sum: vec4<f32>) {
    let at = r * args.dx_stride + row * args.inputs + input;
    var total = sum;
    if RESIDUAL {
        total += load(above[at]);
    }
    if KEEP {
        da[at] = store(total);
    }
    dx[at] = store(total * load(slope[at]));
}
