// x̂ = (z − mean) / √(variance + 1e-5),  n = γ x̂ + β
//
// In training, mean and variance are those of the pass, which is the whole step; the running statistics take up the
// share `statistics` of them (the variance then divided by rows − 1), all of it to begin anew, or nothing. Otherwise
// they are the running statistics. z lies in x̂'s place.
//
// One workgroup makes COLUMNS vec4s of all rows. z: its replica.

struct Args {
    outputs: u32,       // vec4s
    params_stride: u32, // vec4s of one replica's params
    gamma: u32,         // offset in params, in vec4s
    beta: u32,          // offset in params, in vec4s
    statistics: u32,    // offset in params, in vec4s: mean, variance, number of batches
    z_stride: u32,      // vec4s of one replica's z and n
}

@group(0) @binding(0) var<storage, read> args: Args;
@group(0) @binding(1) var<storage, read_write> params: array<vec4<f32>>;  // (R, P)
@group(0) @binding(2) var<storage, read_write> xhat: array<Stored>;       // (R, room, outputs): z, then x̂
@group(0) @binding(3) var<storage, read_write> n: array<Stored>;          // (R, room, outputs)
@group(0) @binding(4) var<storage, read_write> inverse: array<vec4<f32>>; // (R, outputs): 1/√(variance + 1e-5)

override TRAINING: bool = false;
alias Partial = vec4<f32>;

@compute @workgroup_size(COLUMNS, ROW_LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>) {
    let r = group.z;
    let column = group.x * COLUMNS + lane.x;
    // Columns past the end repeat the last one, since all invocations must reach the barriers; they store nothing.
    let is_inside = column < args.outputs;
    let output = min(column, args.outputs - 1u);
    let z_at = r * args.z_stride + output;
    let params_at = r * args.params_stride + output;
    let mean_at = params_at + args.statistics;
    let variance_at = mean_at + args.outputs;
    let rows = f32(pass_.rows);

    var mean = params[mean_at];
    var variance = params[variance_at];
    if TRAINING {
        var sum = vec4<f32>();
        for (var row = lane.y; row < pass_.rows; row += ROW_LANES) {
            sum += load(xhat[z_at + row * args.outputs]);
        }
        let batch_mean = reduce(lane.xy, sum) / rows;
        sum = vec4<f32>();
        for (var row = lane.y; row < pass_.rows; row += ROW_LANES) {
            let d = load(xhat[z_at + row * args.outputs]) - batch_mean;
            sum += d * d;
        }
        let batch_variance = reduce(lane.xy, sum) / rows;
        let share = coefficients[ring_at(r)].statistics;
        if is_inside && lane.y == 0u && share > 0.0 {
            // Selected, not multiplied by 0: what begins anew may follow upon anything.
            let unbiased = batch_variance * (rows / (rows - 1.0));
            params[mean_at] = select((1.0 - share) * mean + share * batch_mean, batch_mean, share == 1.0);
            params[variance_at] = select((1.0 - share) * variance + share * unbiased, unbiased, share == 1.0);
            if output == 0u {
                let batches = variance_at + args.outputs;
                params[batches].x = select(params[batches].x + 1.0, 1.0, share == 1.0);
            }
        }
        mean = batch_mean;
        variance = batch_variance;
    }
    let scale = 1.0 / sqrt(variance + 1e-5);
    let gamma = params[params_at + args.gamma];
    let beta = params[params_at + args.beta];
    if !is_inside {
        return;
    }
    if lane.y == 0u {
        inverse[r * args.outputs + output] = scale;
    }
    for (var row = lane.y; row < pass_.rows; row += ROW_LANES) {
        let at = z_at + row * args.outputs;
        let normed = (load(xhat[at]) - mean) * scale;
        xhat[at] = store(normed);
        n[at] = store(gamma * normed + beta);
    }
}
