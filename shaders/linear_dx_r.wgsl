// rdx ← rdx + da ∘ rslope
//
// The last part of how dx = da ∘ slope moves with the weights; the first, rda ∘ slope, lies in rdx. One invocation makes one
// vec4: x its column, y its row, z its replica.

@group(0) @binding(1) var<storage, read> da: array<Stored>;        // (R, room, inputs)
@group(0) @binding(2) var<storage, read> rslope: array<Stored>;    // (R, room, inputs)
@group(0) @binding(3) var<storage, read_write> rdx: array<Stored>; // (R, room, inputs)

override LANES: u32 = 64u;

@compute @workgroup_size(LANES)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x < args.outputs && id.y < pass_.rows {
        let at = id.z * args.z_stride + id.y * args.outputs + id.x;
        rdx[at] = store(load(rdx[at]) + load(da[at]) * load(rslope[at]));
    }
}
