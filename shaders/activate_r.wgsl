// ry = activation'(n) ∘ rn (+ ra if RESIDUAL),  rslope = activation''(n) ∘ rn
//
// How a hidden layer's output and its slope move with the weights; rn lies in ry, or with SUM is the sum of that and `other`. One
// invocation makes one vec4: x its column, y its row, z its replica.

@group(0) @binding(1) var<storage, read> n: array<Stored>;            // (R, room, outputs)
@group(0) @binding(2) var<storage, read> ra: array<Stored>;           // (R, room, outputs), read if RESIDUAL
@group(0) @binding(3) var<storage, read> other: array<Stored>;        // (R, room, outputs), read if SUM
@group(0) @binding(4) var<storage, read_write> ry: array<Stored>;     // (R, room, outputs): rn, then ry
@group(0) @binding(5) var<storage, read_write> rslope: array<Stored>; // (R, room, outputs)

override RESIDUAL: bool = false;
override SUM: bool = false;
override LANES: u32 = 64u;

@compute @workgroup_size(LANES)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= args.outputs || id.y >= pass_.rows {
        return;
    }
    let at = id.z * args.z_stride + id.y * args.outputs + id.x;
    var rn = load(ry[at]);
    if SUM {
        rn += load(other[at]);
    }
    let z = load(n[at]);
    let activated = activate(z);
    rslope[at] = store(second(z, activated) * rn);
    var moved = activated.slope * rn;
    if RESIDUAL {
        moved += load(ra[at]);
    }
    ry[at] = store(moved);
}
