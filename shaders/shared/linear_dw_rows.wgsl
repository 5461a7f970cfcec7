// What becomes of an invocation's sums.

// Puts db, which the workgroups of the first rows have.
fn put_bias(r: u32, first_column: u32, factor: f32, c: Coefficients, db: array<vec4<f32>, COLUMNS>) {
    let own = of_bias(c);
    let bias = r * args.params_stride + args.bias;
    for (var j = 0u; j < COLUMNS; j++) {
        let output = first_column + j * LANES;
        if output < args.outputs {
            put(own, factor * db[j], bias + output);
        }
    }
}

// Puts four rows of dW, of which the first begins at `first`.
fn put_rows(first: u32, outputs: u32, first_column: u32, factor: f32, c: Coefficients, sums: Sums) {
    for (var j = 0u; j < COLUMNS; j++) {
        let output = first_column + j * LANES;
        if output < outputs {
            let at = first + output;
            put(c, factor * sums.dw0[j], at);
            put(c, factor * sums.dw1[j], at + outputs);
            put(c, factor * sums.dw2[j], at + 2u * outputs);
            put(c, factor * sums.dw3[j], at + 3u * outputs);
        }
    }
}
