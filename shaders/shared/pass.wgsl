// Which pass this is: a part of a step's, or of an evaluation's, samples.

struct Pass {
    first: u32,         // position of its first sample in the order
    rows: u32,          // its samples
    batch: u32,         // samples of its step
    ring_row: u32,      // its step's row of the coefficients and the metrics
    accumulate: u32,    // 1 if the step has earlier passes, whose gradients and sums it adds to
    streamed: u32,      // its first record in a replica's part of the stream
    streamed_rows: u32, // records of such a part
    replicas: u32,
    member: u32,        // of an ensemble of so many members
    members: u32,
}

@group(1) @binding(0) var<uniform> pass_: Pass;

// Where replica r's entry lies in a ring of (RING_ROWS, R).
fn ring_at(r: u32) -> u32 {
    return pass_.ring_row * pass_.replicas + r;
}
