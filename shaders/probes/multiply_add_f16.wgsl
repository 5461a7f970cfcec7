enable f16;

// How many multiply-adds a second in half precision: as multiply_add.wgsl, with vec4s of f16.

@group(0) @binding(0) var<storage, read_write> out: array<vec4<f32>>;

override ROUNDS: u32 = 256u;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let x = vec4<f16>(0.999h) - vec4<f16>(f16(id.x & 1u)) * 1e-3h;
    let y = vec4<f16>(1e-3h);
    var a = vec4<f16>(f16(id.x & 15u));
    var b = a + 1.0h;
    var c = a + 2.0h;
    var d = a + 3.0h;
    var e = a + 4.0h;
    var f = a + 5.0h;
    var g = a + 6.0h;
    var h = a + 7.0h;
    for (var i = 0u; i < ROUNDS; i += 4u) {
        a = fma(a, x, y); b = fma(b, x, y); c = fma(c, x, y); d = fma(d, x, y);
        e = fma(e, x, y); f = fma(f, x, y); g = fma(g, x, y); h = fma(h, x, y);
        a = fma(a, x, y); b = fma(b, x, y); c = fma(c, x, y); d = fma(d, x, y);
        e = fma(e, x, y); f = fma(f, x, y); g = fma(g, x, y); h = fma(h, x, y);
        a = fma(a, x, y); b = fma(b, x, y); c = fma(c, x, y); d = fma(d, x, y);
        e = fma(e, x, y); f = fma(f, x, y); g = fma(g, x, y); h = fma(h, x, y);
        a = fma(a, x, y); b = fma(b, x, y); c = fma(c, x, y); d = fma(d, x, y);
        e = fma(e, x, y); f = fma(f, x, y); g = fma(g, x, y); h = fma(h, x, y);
    }
    out[id.x] = vec4<f32>(a + b + c + d + e + f + g + h);
}
