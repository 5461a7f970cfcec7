// The second pass of linear_dx_split.wgsl: adds the parts of every sum up in their order, and finishes as linear_dx.wgsl.
//
// da = Σ_p parts[p] (+ above if RESIDUAL),  dx = da ∘ slope
//
// parts: (PARTS, R, rows, inputs), slope, above, dx and da: (R, room, inputs), all in vec4s along the last axis.
//
// One invocation makes one vec4. y: its row, z: its replica.

@group(0) @binding(1) var<storage, read> parts: array<vec4<f32>>; // (PARTS, R, rows, inputs)
@group(0) @binding(2) var<storage, read> slope: array<Stored>;    // (R, room, inputs)
@group(0) @binding(3) var<storage, read> above: array<Stored>;    // (R, room, inputs)
@group(0) @binding(4) var<storage, read_write> dx: array<Stored>; // (R, room, inputs)
@group(0) @binding(5) var<storage, read_write> da: array<Stored>; // (R, room, inputs)

override LANES: u32 = 32u;
override PARTS: u32 = 2u;

@compute @workgroup_size(LANES)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let input = id.x;
    let row = id.y;
    let r = id.z;
    if input >= args.inputs || row >= pass_.rows {
        return;
    }
    var sum = vec4<f32>();
    for (var part = 0u; part < PARTS; part++) {
        sum += parts[((part * pass_.replicas + r) * pass_.rows + row) * args.inputs + input];
    }
    finish(r, row, input, sum);
}
