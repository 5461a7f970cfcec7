// x[r, row] = raw[order[r, first + row]] * scale + shift
//
// The samples of one pass, normalised. The data set lies in one or more buffers; a dispatch serves one of them and
// leaves the rows alone whose sample lies in another.
//
// One invocation makes one vec4 of x: x its column, y its row, z its replica.

struct Pass {
    first: u32,        // position of the first sample in the order
    rows: u32,
    batch: u32,        // samples of the whole step
    slot: u32,         // row of `metrics` and of `coefficients`
    accumulate: u32,   // 0 for the first pass of a step
    streamed: u32,     // first row of the pass in the streamed records
    streamed_rows: u32, // rows of one replica in the streamed records
    replicas: u32,
}

struct Args {
    width: u32,          // features of a sample
    columns: u32,        // vec4s in a row of x
    pixels: u32,         // features of a channel
    record_words: u32,   // u32s of a sample
    first_record: u32,   // sample at the start of this buffer
    records: u32,        // samples in this buffer
    order_stride: u32,   // entries of one replica's order; 0 if all share one
    x_stride: u32,       // vec4s of one replica's x
}

@group(0) @binding(0) var<storage, read> args: Args;
@group(0) @binding(1) var<storage, read> records: array<u32>;        // (records, record_words)
@group(0) @binding(2) var<storage, read> order: array<u32>;          // (R or 1, samples)
@group(0) @binding(3) var<storage, read> channels: array<vec2<f32>>; // (channels): scale, shift
@group(0) @binding(4) var<storage, read_write> x: array<vec4<f32>>;  // (R or 1, room, columns)
@group(1) @binding(0) var<uniform> pass_: Pass;

override BYTES: bool = true;      // u8 features, four in a word; else f32
override STREAMED: bool = false;  // records lie in the order of the passes, not in the data set's
override LANES: u32 = 64u;

@compute @workgroup_size(LANES)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let column = id.x;
    let row = id.y;
    let r = id.z;
    if column >= args.columns || row >= pass_.rows {
        return;
    }
    var record = r * pass_.streamed_rows + pass_.streamed + row;
    if !STREAMED {
        record = order[r * args.order_stride + pass_.first + row] - args.first_record;
        // A sample before this buffer wraps around to a large number.
        if record >= args.records {
            return;
        }
    }
    var raw = vec4<f32>();
    if BYTES {
        raw = vec4<f32>(unpack4xU8(records[record * args.record_words + column]));
    }
    var value = vec4<f32>();
    for (var i = 0u; i < 4u; i++) {
        let feature = 4u * column + i;
        if feature < args.width {
            if !BYTES {
                raw[i] = bitcast<f32>(records[record * args.record_words + feature]);
            }
            let channel = channels[feature / args.pixels];
            value[i] = raw[i] * channel.x + channel.y;
        }
    }
    x[r * args.x_stride + row * args.columns + column] = value;
}
