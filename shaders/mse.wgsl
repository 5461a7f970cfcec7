// loss = mean_j (z_j − y_j)²,  dz = loss scale · 2 (z − y) / (total · outputs)
// metrics[ring row, r] = (Σ_rows loss, Σ_rows correct, 0, loss scale), added to what is there from the step's earlier passes
//
// With MIXUP, y is the sample's target times its share plus its partner's times the rest. With WEIGHTED, loss and dz are multiplied
// with the sample's weight, mixed alike. An answer is right if the largest output is where the largest target is. dz takes z's place.
//
// One workgroup makes all rows of one replica, and one invocation the whole of a row (shared/loss.wgsl). z: its replica.

@group(0) @binding(2) var<storage, read> targets: array<f32>; // (samples, outputs); WEIGHTED: (samples): weights

// A row's loss, and whether its largest output is where the largest target is; leaves its dz.
fn of_row(r: u32, row: u32, loss_scale: f32) -> vec2<f32> {
    let at = r * args.z_stride + row * args.columns;
    let sample = order[r * args.order_stride + pass_.first + row];
    var partner = sample;
    var share = 1.0;
    if MIXUP {
        let mixed = mix[r * args.room + row];
        partner = mixed.x;
        share = bitcast<f32>(mixed.y);
    }
    var weight = 1.0;
    if WEIGHTED {
        let first = args.samples * args.outputs;
        weight = share * targets[first + sample] + (1.0 - share) * targets[first + partner];
    }
    let y_at = sample * args.outputs;
    let other_at = partner * args.outputs;
    let scale = loss_scale * 2.0 / (total(r) * f32(args.outputs)) * weight;

    var sum = 0.0;
    var best_z = 0u;
    var top_z = 0.0;
    var best_y = 0u;
    var top_y = 0.0;
    for (var j = 0u; j < args.columns; j++) {
        let outputs = load(z[at + j]);
        var error = vec4<f32>();
        for (var i = 0u; i < 4u; i++) {
            let c = 4u * j + i;
            if c < args.outputs {
                let y = share * targets[y_at + c] + (1.0 - share) * targets[other_at + c];
                error[i] = outputs[i] - y;
                if c == 0u || outputs[i] > top_z {
                    best_z = c;
                    top_z = outputs[i];
                }
                if c == 0u || y > top_y {
                    best_y = c;
                    top_y = y;
                }
            }
        }
        sum += dot(error, error);
        z[at + j] = store(error * scale);
    }
    return vec2(sum / f32(args.outputs) * weight, f32(best_z == best_y));
}
