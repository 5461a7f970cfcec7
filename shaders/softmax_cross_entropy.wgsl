// loss = −Σ_c q_c ln softmax(z)_c,  dz = loss scale · (Σq softmax(z) − q) / total,  q = (1−ε) onehot + ε/C
// metrics[ring row, r] = (Σ_rows loss, Σ_rows correct, 0, loss scale), added to what is there from the step's earlier passes
//
// With MIXUP, q is that of the sample times its share plus that of its partner times the rest, and the answer is right if it is
// that of the larger share. With WEIGHTED, q is multiplied with the sample's weight and, class by class, with that of the class;
// Σq is 1 without. dz takes z's place.
//
// One workgroup makes all rows of one replica, and one invocation the whole of a row (shared/loss.wgsl). z: its replica.

@group(0) @binding(2) var<storage, read> targets: array<u32>; // (samples): labels; WEIGHTED: (samples), (outputs): bits of weights

// A row's loss, and whether its largest logit is the label's; leaves its dz.
fn of_row(r: u32, row: u32, loss_scale: f32) -> vec2<f32> {
    let sample = order[r * args.order_stride + pass_.first + row];
    let label = targets[sample];
    var partner = sample;
    var other = label;
    var share = 1.0;
    if MIXUP {
        let mixed = mix[r * args.room + row];
        partner = mixed.x;
        other = targets[partner];
        share = bitcast<f32>(mixed.y);
    }
    // How much the label counts, how much the other one, and both.
    var own = share;
    var rest = 1.0 - share;
    var both = 1.0;
    if WEIGHTED {
        own *= bitcast<f32>(targets[args.samples + sample]);
        rest *= bitcast<f32>(targets[args.samples + partner]);
        both = own + rest;
    }
    let at = r * args.z_stride + row * args.columns;

    var best = 0u;
    var top = load(z[at]).x;
    for (var j = 0u; j < args.columns; j++) {
        let logits = load(z[at + j]);
        for (var i = 0u; i < 4u; i++) {
            if 4u * j + i < args.outputs && logits[i] > top {
                top = logits[i];
                best = 4u * j + i;
            }
        }
    }
    var sums = vec2<f32>(); // of exp(z − top) and of w (z − top)
    var weights = 0.0;
    for (var j = 0u; j < args.columns; j++) {
        let below = select(vec4<f32>(), load(z[at + j]) - top, is_output(j));
        let powers = select(vec4<f32>(), exp(below), is_output(j));
        sums += vec2(dot(powers, vec4(1.0)), dot(below, class_weights(j)));
        if WEIGHTED {
            weights += dot(class_weights(j), vec4(1.0));
        }
    }
    let off = coefficients[ring_at(r)].off;
    let named = coefficients[ring_at(r)].on - off;
    let label_weight = own * class_weights(label / 4u)[label % 4u];
    let other_weight = rest * class_weights(other / 4u)[other % 4u];
    var whole = 1.0; // Σ_c q_c
    if WEIGHTED {
        whole = named * (label_weight + other_weight) + off * both * weights;
    }
    // −Σ_c q_c (z_c − top − ln sum)
    let of_labels = label_weight * (load(z[at + label / 4u])[label % 4u] - top) + other_weight * (load(z[at + other / 4u])[other % 4u] - top);
    let loss = whole * log(sums.x) - named * of_labels - off * both * sums.y;

    let scale = loss_scale / total(r);
    for (var j = 0u; j < args.columns; j++) {
        let c = 4u * j + vec4(0u, 1u, 2u, 3u);
        let onehot = select(vec4<f32>(), vec4(own), c == vec4(label)) + select(vec4<f32>(), vec4(rest), c == vec4(other));
        let q = class_weights(j) * (off * both + named * onehot);
        let dz = (whole * (exp(load(z[at + j]) - top) / sums.x) - q) * scale;
        z[at + j] = store(select(vec4<f32>(), dz, is_output(j)));
    }
    return vec2(loss, f32(best == select(other, label, share >= 0.5)));
}

// The weights of four classes, 0 past the last.
fn class_weights(j: u32) -> vec4<f32> {
    var weights = vec4(1.0);
    if WEIGHTED {
        for (var i = 0u; i < 4u; i++) {
            let c = 4u * j + i;
            weights[i] = 0.0;
            if c < args.outputs {
                weights[i] = bitcast<f32>(targets[2u * args.samples + c]);
            }
        }
    }
    return weights;
}
