// factor ← 1 / loss, next ← 2 loss after STEPS steps without an overflow; or, with one, factor ← 0, next ← loss / 2
//
// Dynamic loss scaling (Micikevicius et al., 2018), with the constants of torch.amp.GradScaler: a step whose gradients
// do not all fit into half precision is skipped. What is infinite or NaN in a layer's dz makes that row of every lower
// layer's so, since each is a product with W and a slope; so dz is that of the lowest layer, and a sum of products of
// halves does not overflow in f32. Activations that overflow are another matter: the loss is not finite then.
//
// A workgroup looks through ROWS rows of one replica; the last one to be done decides. y: its rows, z: its replica.
//
// With one workgroup to a replica, 2048 rows of 512 halves took 268 µs on an H100.

struct Args {
    columns: u32,   // vec4s of a row of dz
    dz_stride: u32, // vec4s of one replica's dz
}

// As in shared/scaling.wgsl; but for others its last field is no atomic, which they could not bind to be read alone.
struct Scaling {
    factor: f32,
    clip: f32,
    loss: f32,
    next: f32,
    steps: u32,
    progress: atomic<u32>,
}

@group(0) @binding(0) var<storage, read> args: Args;
@group(0) @binding(1) var<storage, read> dz: array<Stored>;             // (R, room, columns)
@group(0) @binding(2) var<storage, read_write> scaling: array<Scaling>; // (R)

const LANES: u32 = 256u;
const ROWS: u32 = 16u;
const FOUND: u32 = 65536u; // counts workgroups that found an overflow, above those that are done
const STEPS: u32 = 2000u;
const LEAST: f32 = 5.9604645e-8; // 2⁻²⁴
const MOST: f32 = 16777216.0;    // 2²⁴

var<workgroup> overflows: atomic<u32>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) lane: vec3<u32>,
) {
    let r = group.z;
    var overflow = false;
    let end = min((group.y + 1u) * ROWS, pass_.rows) * args.columns;
    for (var i = group.y * ROWS * args.columns + lane.x; i < end; i += LANES) {
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
    // One addition to one number both counts and tells, so that the last workgroup knows of all.
    let own = select(1u, 1u + FOUND, atomicLoad(&overflows) == 1u);
    let all = atomicAdd(&scaling[r].progress, own) + own;
    if all % FOUND < groups.y {
        return;
    }
    atomicStore(&scaling[r].progress, 0u);
    let loss = scaling[r].loss;
    if all >= FOUND {
        scaling[r].factor = 0.0;
        scaling[r].next = max(loss / 2.0, LEAST);
        scaling[r].steps = 0u;
    } else if pass_.accumulate == 0u {
        scaling[r].factor = 1.0 / loss;
        scaling[r].next = loss;
        scaling[r].steps += 1u;
        if scaling[r].steps == STEPS {
            scaling[r].next = min(2.0 * loss, MOST);
            scaling[r].steps = 0u;
        }
    }
}
