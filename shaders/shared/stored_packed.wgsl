// Rows, and the weights that products read, in halves, two in a word, for devices without such a type.

alias Stored = vec2<u32>;

fn load(v: Stored) -> vec4<f32> {
    return vec4(unpack2x16float(v.x), unpack2x16float(v.y));
}

// What no half can hold becomes infinite, and NaN stays NaN: told and written by their bits, since what the packing of either
// gives is the device's choice.
fn store(v: vec4<f32>) -> Stored {
    let bits = bitcast<vec4<u32>>(v);
    let size = bits & vec4(0x7fffffffu);
    let fits = size <= vec4(0x477fe000u); // 65504
    let beyond = ((bits >> vec4(16u)) & vec4(0x8000u)) | select(vec4(0x7c00u), vec4(0x7e00u), size > vec4(0x7f800000u));
    let bounded = select(vec4(0.0), v, fits);
    let put = select(beyond, vec4(0u), fits);
    return vec2(
        pack2x16float(bounded.xy) | put.x | (put.y << 16u),
        pack2x16float(bounded.zw) | put.z | (put.w << 16u),
    );
}
