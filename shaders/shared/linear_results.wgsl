// What the forms of linear write.

@group(0) @binding(3) var<storage, read_write> y: array<Stored>;     // (R, room, outputs)
@group(0) @binding(4) var<storage, read_write> slope: array<Stored>; // (R, room, outputs)
