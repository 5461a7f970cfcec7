// The factors of linear_dw.

@group(0) @binding(1) var<storage, read> a: array<Stored>;  // (R, room, inputs)
@group(0) @binding(2) var<storage, read> dz: array<Stored>; // (R, room, outputs)
