// factor ← 1 / loss, next ← 2 loss after STEPS steps without an overflow; or, with one, factor ← 0, next ← loss / 2
//
// Dynamic loss scaling (Micikevicius et al., 2018), with the constants of torch.amp.GradScaler: a step whose gradients
// do not all fit into half precision is skipped. What is infinite or NaN in a layer's dz makes that row of every lower
// layer's so, since each is a product with W and a slope; so dz is that of the lowest layer, and a sum of products of
// halves does not overflow in f32. Activations that overflow are another matter: the loss is not finite then.
//
// One workgroup looks through all rows of one replica. z: its replica.

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

struct Scaling {
    factor: f32, // of the step's gradients: 1 / loss, or 0 if they overflowed and the step is skipped
    clip: f32,   // of the update's gradient
    loss: f32,   // of the step's loss
    next: f32,   // of the next step's loss
    steps: u32,  // without an overflow since the factor of the loss changed
}

struct Args {
    columns: u32,   // vec4s of a row of dz
    dz_stride: u32, // vec4s of one replica's dz
}

@group(0) @binding(0) var<storage, read> args: Args;
@group(0) @binding(1) var<storage, read> dz: array<Stored>;             // (R, room, columns)
@group(0) @binding(2) var<storage, read_write> scaling: array<Scaling>; // (R)
@group(1) @binding(0) var<uniform> pass_: Pass;

const LANES: u32 = 256u;
const STEPS: u32 = 2000u;
const LEAST: f32 = 5.9604645e-8; // 2⁻²⁴
const MOST: f32 = 16777216.0;    // 2²⁴

var<workgroup> overflows: atomic<u32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>) {
    let r = group.z;
    var overflow = false;
    for (var i = lane.x; i < pass_.rows * args.columns; i += LANES) {
        // Told by its bits, since drivers may take NaN for a number in comparisons.
        let exponent = bitcast<vec4<u32>>(load(dz[r * args.dz_stride + i])) & vec4(0x7f800000u);
        overflow |= any(exponent == vec4(0x7f800000u));
    }
    if lane.x == 0u {
        atomicStore(&overflows, 0u);
    }
    workgroupBarrier();
    if overflow {
        atomicOr(&overflows, 1u);
    }
    workgroupBarrier();
    if lane.x > 0u {
        return;
    }
    var s = scaling[r];
    let is_first = pass_.accumulate == 0u;
    if atomicLoad(&overflows) == 1u {
        s.factor = 0.0;
        s.next = max(s.loss / 2.0, LEAST);
        s.steps = 0u;
    } else if is_first {
        s.factor = 1.0 / s.loss;
        s.next = s.loss;
        s.steps += 1u;
        if s.steps == STEPS {
            s.next = min(2.0 * s.loss, MOST);
            s.steps = 0u;
        }
    }
    scaling[r] = s;
}

alias Stored = vec4<f32>;

fn load(v: Stored) -> vec4<f32> {
    return v;
}

fn store(v: vec4<f32>) -> Stored {
    return v;
}
