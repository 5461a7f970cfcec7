// What is fixed for one step and replica; the replica's own, from `on` on, holds for evaluations as well.

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
    on: f32,         // q of the label: 1 − ε + ε/C
    off: f32,        // q of the others: ε/C
    dropped: u32,    // an output whose hash is below it is dropped
    kept: f32,       // multiplies the others
    noise: f32,      // deviation
    quantiles: u32,  // first of mixup's
    max_norm: f32,   // of a gradient
    rho: f32,        // radius of an ascent
}

@group(1) @binding(1) var<storage, read> coefficients: array<Coefficients>; // (RING_ROWS, R)
