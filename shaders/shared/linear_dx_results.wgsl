// What the forms of linear_dx read and write besides.

@group(0) @binding(3) var<storage, read> slope: array<Stored>;    // (R, room, inputs)
@group(0) @binding(4) var<storage, read> above: array<Stored>;    // (R, room, inputs)
@group(0) @binding(5) var<storage, read_write> dx: array<Stored>; // (R, room, inputs)
@group(0) @binding(6) var<storage, read_write> da: array<Stored>; // (R, room, inputs)
