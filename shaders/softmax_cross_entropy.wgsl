// loss = −Σ_c q_c ln softmax(z)_c,  dz = loss scale · (softmax(z) − q) / batch,  q = (1−ε) onehot + ε/C
// metrics[ring row, r] = (Σ_rows loss, Σ_rows correct, 0, loss scale), added to what is there from the step's earlier passes
//
// With MIXUP, onehot is that of the sample times its share plus that of its partner times the rest, and the answer is
// right if it is that of the larger share. dz takes z's place.
//
// One workgroup makes all rows of one replica, and one invocation the whole of a row (shared/loss.wgsl). z: its replica.

@group(0) @binding(2) var<storage, read> targets: array<u32>; // (samples): labels

// A row's loss, and whether its largest logit is the label's; leaves its dz.
fn of_row(r: u32, row: u32, loss_scale: f32) -> vec2<f32> {
    let label = targets[order[r * args.order_stride + pass_.first + row]];
    var other = label;
    var share = 1.0;
    if MIXUP {
        let mixed = mix[r * args.room + row];
        other = targets[mixed.x];
        share = bitcast<f32>(mixed.y);
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
    var sums = vec2<f32>(); // of exp(z − top) and of z − top
    for (var j = 0u; j < args.columns; j++) {
        let below = select(vec4<f32>(), load(z[at + j]) - top, is_output(j));
        let powers = select(vec4<f32>(), exp(below), is_output(j));
        sums += vec2(dot(powers, vec4(1.0)), dot(below, vec4(1.0)));
    }
    // −Σ_c q_c (z_c − top − ln sum), with Σ_c q_c = 1
    let named = share * (load(z[at + label / 4u])[label % 4u] - top) + (1.0 - share) * (load(z[at + other / 4u])[other % 4u] - top);
    let loss = log(sums.x) - (args.on - args.off) * named - args.off * sums.y;

    let scale = loss_scale / f32(pass_.batch);
    for (var j = 0u; j < args.columns; j++) {
        let c = 4u * j + vec4(0u, 1u, 2u, 3u);
        let onehot = select(vec4<f32>(), vec4(share), c == vec4(label)) + select(vec4<f32>(), vec4(1.0 - share), c == vec4(other));
        let q = args.off + (args.on - args.off) * onehot;
        let dz = (exp(load(z[at + j]) - top) / sums.x - q) * scale;
        z[at + j] = store(select(vec4<f32>(), dz, is_output(j)));
    }
    return vec2(loss, f32(best == select(other, label, share >= 0.5)));
}
