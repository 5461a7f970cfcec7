// As linear_dw.wgsl, but only a part of every sum; see linear_split.wgsl. The second pass is linear_dw_sum.wgsl.
//
// parts[p] = aᵀ · dz, and in a last row Σ_rows dz, over the p-th part of the samples
//
// a: (R, room, inputs), dz: (R, room, outputs), parts: (PARTS, R, inputs + 1, outputs), all in vec4s along the last axis.
//
// The tile is that of linear_dw.wgsl. y: its rows, z: its replica and part.

struct Pass {
    first: u32,
    rows: u32,
    batch: u32,
    slot: u32,
    accumulate: u32,
    streamed: u32,
    streamed_rows: u32,
    replicas: u32,
    member: u32,
    members: u32,
}

struct Args {
    inputs: u32,        // vec4s
    outputs: u32,       // vec4s
    weight: u32,        // offset in params, in vec4s
    bias: u32,          // offset in params, in vec4s
    params_stride: u32, // vec4s of one replica's params
    a_stride: u32,      // vec4s of one replica's a
    dz_stride: u32,     // vec4s of one replica's dz
    decayed: u32,       // end of the params that the weight decay acts on, in vec4s
}

@group(0) @binding(0) var<storage, read> args: Args;
@group(0) @binding(1) var<storage, read> a: array<Stored>;               // (R, room, inputs)
@group(0) @binding(2) var<storage, read> dz: array<Stored>;              // (R, room, outputs)
@group(0) @binding(3) var<storage, read_write> parts: array<vec4<f32>>;  // (PARTS, R, inputs + 1, outputs)
@group(1) @binding(0) var<uniform> pass_: Pass;

override LANES: u32 = 32u;
override PARTS: u32 = 2u;
const ROWS: u32 = 8u;
const COLUMNS: u32 = 2u;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>) {
    let first_row = group.y * ROWS;
    let first_column = group.x * LANES * COLUMNS + lane.x;
    let r = group.z / PARTS;
    let part = group.z % PARTS;

    // Rows and columns past the end repeat the last one; their results are not stored.
    var row: array<u32, ROWS>;
    for (var i = 0u; i < ROWS; i++) {
        row[i] = r * args.a_stride + min(first_row + i, args.inputs - 1u);
    }
    var column: array<u32, COLUMNS>;
    for (var j = 0u; j < COLUMNS; j++) {
        column[j] = r * args.dz_stride + min(first_column + j * LANES, args.outputs - 1u);
    }

    var sums: array<Sums, ROWS>;
    var db: array<vec4<f32>, COLUMNS>;
    let samples = (pass_.rows + PARTS - 1u) / PARTS;
    let end = min((part + 1u) * samples, pass_.rows);
    for (var sample = part * samples; sample < end; sample++) {
        var d: array<vec4<f32>, COLUMNS>;
        for (var j = 0u; j < COLUMNS; j++) {
            d[j] = load(dz[column[j] + sample * args.outputs]);
            db[j] += d[j];
        }
        for (var i = 0u; i < ROWS; i++) {
            sums[i] = accumulate(sums[i], load(a[row[i] + sample * args.inputs]), d);
        }
    }

    let inputs = args.inputs;
    let outputs = args.outputs;
    let first = (part * pass_.replicas + r) * (4u * inputs + 1u) * outputs;
    for (var j = 0u; j < COLUMNS; j++) {
        let output = first_column + j * LANES;
        if group.y == 0u && output < outputs {
            parts[first + 4u * inputs * outputs + output] = db[j];
        }
        for (var i = 0u; i < ROWS; i++) {
            let input = first_row + i;
            if input < inputs && output < outputs {
                let at = first + 4u * input * outputs + output;
                parts[at] = sums[i].dw0[j];
                parts[at + outputs] = sums[i].dw1[j];
                parts[at + 2u * outputs] = sums[i].dw2[j];
                parts[at + 3u * outputs] = sums[i].dw3[j];
            }
        }
    }
}

struct Sums {
    dw0: array<vec4<f32>, COLUMNS>,
    dw1: array<vec4<f32>, COLUMNS>,
    dw2: array<vec4<f32>, COLUMNS>,
    dw3: array<vec4<f32>, COLUMNS>,
}

fn accumulate(sums: Sums, x: vec4<f32>, d: array<vec4<f32>, COLUMNS>) -> Sums {
    var sum = sums;
    for (var j = 0u; j < COLUMNS; j++) {
        sum.dw0[j] = fma(vec4(x.x), d[j], sum.dw0[j]);
        sum.dw1[j] = fma(vec4(x.y), d[j], sum.dw1[j]);
        sum.dw2[j] = fma(vec4(x.z), d[j], sum.dw2[j]);
        sum.dw3[j] = fma(vec4(x.w), d[j], sum.dw3[j]);
    }
    return sum;
}

alias Stored = vec4<f32>;

fn load(v: Stored) -> vec4<f32> {
    return v;
}

fn store(v: vec4<f32>) -> Stored {
    return v;
}
