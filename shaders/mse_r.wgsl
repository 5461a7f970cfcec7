// rdz = 2 rz / (batch · outputs)
//
// How the gradient of the mean squared error moves with the outputs; rz lies in rdz's place. One invocation makes one vec4: x its
// column, y its row, z its replica.

@group(0) @binding(1) var<storage, read_write> rdz: array<Stored>; // (R, room, outputs): rz, then rdz

override LANES: u32 = 64u;

@compute @workgroup_size(LANES)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x < args.outputs && id.y < pass_.rows {
        let at = id.z * args.z_stride + id.y * args.outputs + id.x;
        rdz[at] = store(load(rdz[at]) * (2.0 / (f32(pass_.batch) * f32(args.width))));
    }
}
