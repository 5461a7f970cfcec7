// The factors of linear_dx.

@group(0) @binding(1) var<storage, read> params: array<Stored>; // (R, P)
@group(0) @binding(2) var<storage, read> dz: array<Stored>;     // (R, room, outputs)
