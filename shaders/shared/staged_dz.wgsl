// What is staged of dz.

fn of_dz(at: u32, is_there: bool) -> vec4<f32> {
    if is_there {
        return load(dz[at]);
    }
    return vec4<f32>();
}
