// What multiplies the loss and the gradients of one replica.

struct Scaling {
    factor: f32, // of the step's gradients: 1 / loss, or 0 if they overflowed and the step is skipped
    clip: f32,   // of the update's gradient
    loss: f32,   // of the step's loss
    next: f32,   // of the next step's loss
    steps: u32,  // without an overflow since the factor of the loss changed
    progress: u32, // of the look for overflows
}
