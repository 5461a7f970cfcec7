// The second pass of linear_dx_split.wgsl: adds the parts of every sum up in their order, and finishes as linear_dx.wgsl.
//
// da = Σ_p parts[p] (+ above if RESIDUAL),  dx = da ∘ slope
//
// parts: (PARTS, R, rows, inputs), slope, above, dx and da: (R, room, inputs), all in vec4s along the last axis.
//
// One invocation makes one vec4. y: its row, z: its replica.

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
    params_stride: u32, // vec4s of one replica's params
    dz_stride: u32,     // vec4s of one replica's dz
    dx_stride: u32,     // vec4s of one replica's dx and slope
}

@group(0) @binding(0) var<storage, read> args: Args;
@group(0) @binding(1) var<storage, read> parts: array<vec4<f32>>;    // (PARTS, R, rows, inputs)
@group(0) @binding(2) var<storage, read> slope: array<Stored>;       // (R, room, inputs)
@group(0) @binding(3) var<storage, read> above: array<Stored>;       // (R, room, inputs)
@group(0) @binding(4) var<storage, read_write> dx: array<Stored>;    // (R, room, inputs)
@group(0) @binding(5) var<storage, read_write> da: array<Stored>;    // (R, room, inputs)
@group(1) @binding(0) var<uniform> pass_: Pass;

override LANES: u32 = 32u;
override PARTS: u32 = 2u;
override RESIDUAL: bool = false;
override KEEP: bool = false;

@compute @workgroup_size(LANES)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let column = id.x;
    let row = id.y;
    let r = id.z;
    if column >= args.inputs || row >= pass_.rows {
        return;
    }
    var sum = vec4<f32>();
    for (var part = 0u; part < PARTS; part++) {
        sum += parts[((part * pass_.replicas + r) * pass_.rows + row) * args.inputs + column];
    }
    let at = r * args.dx_stride + row * args.inputs + column;
    if RESIDUAL {
        sum += load(above[at]);
    }
    if KEEP {
        da[at] = store(sum);
    }
    dx[at] = store(sum * load(slope[at]));
}

alias Stored = vec4<f32>;

fn load(v: Stored) -> vec4<f32> {
    return v;
}

fn store(v: vec4<f32>) -> Stored {
    return v;
}
