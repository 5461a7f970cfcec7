// How long a dispatch takes that waits for the one before it: one invocation adds to one value.

@group(0) @binding(0) var<storage, read_write> out: array<vec4<f32>>;

@compute @workgroup_size(1)
fn main() {
    out[0] += vec4(1.0);
}
