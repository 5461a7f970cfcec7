// What the forms of linear_dw read and write besides.

@group(0) @binding(3) var<storage, read> scaling: array<Scaling>;        // (R)
@group(0) @binding(4) var<storage, read_write> params: array<vec4<f32>>; // (R, P); without an update, their gradient
@group(0) @binding(5) var<storage, read_write> state: array<vec4<f32>>;  // (vectors, R, P): the optimizer's, and the EMA
@group(0) @binding(6) var<storage, read_write> working: array<Stored>;   // (R, P), if MIXED
