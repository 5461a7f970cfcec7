// What is fixed for one step and replica.

struct Coefficients {
    step_size: f32,
    momentum: f32,
    gain: f32,
    decay: f32,
    fresh: f32,
    correction: f32,
    eps: f32,
    weight_decay: f32,
    shrink: f32,
    swa: f32,        // how much of the weights the averages take up
    ema: f32,
    lookahead: f32,
    statistics: f32, // how much of the batch the running statistics take up
    total: f32,      // what the samples of the step count
    seed: u32,       // with the step, the key of all random numbers
    step: u32,
}

@group(1) @binding(1) var<storage, read> coefficients: array<Coefficients>; // (RING_ROWS, R)
