// pcg4d (Jarzynski and Olano, Hash Functions for GPU Rendering, 2020)
fn hash(key: vec4<u32>) -> vec4<u32> {
    let v = stir(key * 1664525u + 1013904223u);
    return stir(v ^ (v >> vec4(16u)));
}

fn stir(key: vec4<u32>) -> vec4<u32> {
    var v = key;
    v.x += v.y * v.w;
    v.y += v.z * v.x;
    v.z += v.x * v.y;
    v.w += v.y * v.z;
    return v;
}
