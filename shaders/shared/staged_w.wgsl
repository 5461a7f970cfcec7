// What is staged of W.

fn of_w(at: u32, is_there: bool) -> vec4<f32> {
    if is_there {
        return load(params[at]);
    }
    return vec4<f32>();
}
