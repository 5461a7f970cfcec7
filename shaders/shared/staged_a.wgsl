// What is staged of a.

fn of_a(at: u32, is_there: bool) -> vec4<f32> {
    if is_there {
        return load(a[at]);
    }
    return vec4<f32>();
}
