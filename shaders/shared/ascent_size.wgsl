// The sizes T of weights, by which they take part in an ascent: 1, or with ADAPTIVE |w| + η.

override ADAPTIVE: bool = false;
override ETA: f32 = 0.01;

fn size(w: vec4<f32>) -> vec4<f32> {
    return select(vec4(1.0), abs(w) + ETA, ADAPTIVE);
}
