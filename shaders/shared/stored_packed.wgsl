// Rows, and the weights that products read, in halves, two in a word, for devices without such a type.

alias Stored = vec2<u32>;

fn load(v: Stored) -> vec4<f32> {
    return vec4(unpack2x16float(v.x), unpack2x16float(v.y));
}

// What no half can hold becomes infinite, whichever way the device rounds.
fn store(v: vec4<f32>) -> Stored {
    let bounded = select(v, v * 1e38, abs(v) > vec4(65504.0));
    return vec2(pack2x16float(bounded.xy), pack2x16float(bounded.zw));
}
