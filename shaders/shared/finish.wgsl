// y = dropout(activation(z)) (+ a if RESIDUAL),  slope = activation'(z), 0 where y is dropped; no slope unless SLOPE
//
// `a` is the layer's input, which has as many columns as y where there is a residual connection.

override RESIDUAL: bool = false;
override DROPOUT: bool = false;
override SLOPE: bool = true;
override CLEARED: bool = false; // the padding of a row, which the activation does not leave at 0

// Stores four outputs of a row.
fn finish(r: u32, row: u32, output: u32, z: vec4<f32>) {
    var result = activate(z);
    if CLEARED {
        let is_there = 4u * output + vec4(0u, 1u, 2u, 3u) < vec4(args.width);
        result.value = select(vec4<f32>(), result.value, is_there);
    }
    if DROPOUT {
        let factor = dropout(r, row, output);
        result.value *= factor;
        result.slope *= factor;
    }
    if RESIDUAL {
        result.value += load(a[r * args.a_stride + row * args.outputs + output]);
    }
    let at = r * args.y_stride + row * args.outputs + output;
    y[at] = store(result.value);
    if SLOPE {
        slope[at] = store(result.slope);
    }
}

// What multiplies four outputs of a row.
fn dropout(r: u32, row: u32, output: u32) -> vec4<f32> {
    let key = coefficients[ring_at(r)];
    let h = hash(vec4(key.seed, key.step, pass_.first + row, (args.purpose << 22u) | output));
    return select(vec4(key.kept), vec4<f32>(), h < vec4(key.dropped));
}
