// x[r, row] = fma(raw[order[r, first + row]], scale, shift)
//
// The samples of one pass, pixels normalised (numbers are when they come, by the host in f64) and, in training, changed at random: cropped out of a border of zeros, flipped,
// a square cut out, mixed with another sample of the pass, and noise added. What is random is a hash of the replica's
// seed, the step and the sample's position, so that nothing is kept. The data set lies in one or more buffers; a
// dispatch serves one of them and leaves the rows alone whose sample lies in another. With MIXUP, dispatches with
// PARTNER add the other sample.
//
// One invocation makes one vec4 of x: x its column, y its row, z its replica. Not kept, since Mesa's software driver was no
// faster: four rows an invocation, and no bounds checks.

struct Args {
    width: u32,          // features of a sample
    columns: u32,        // vec4s in a row of x
    pixels: u32,         // features of a channel
    record_words: u32,   // u32s of a sample
    first_record: u32,   // sample at the start of this buffer
    records: u32,        // samples in this buffer
    order_stride: u32,   // entries of one replica's order; 0 if all share one
    x_stride: u32,       // vec4s of one replica's x
    room: u32,           // rows of one replica
    image_width: u32,    // pixels of a line
    pad: u32,            // pixels of the border that crops reach into
    flip: u32,           // whether half of the images are mirrored
    cutout: u32,         // side of the square
}

@group(0) @binding(0) var<storage, read> args: Args;
@group(0) @binding(1) var<storage, read> records: array<u32>;        // (records, record_words)
@group(0) @binding(2) var<storage, read> order: array<u32>;          // (R or 1, samples)
@group(0) @binding(3) var<storage, read> channels: array<vec2<f32>>; // (channels): scale, shift
@group(0) @binding(4) var<storage, read> quantiles: array<f32>;      // (R, QUANTILES) of mixup's share
@group(0) @binding(5) var<storage, read_write> x: array<Stored>;     // (R or 1, room, columns)
@group(0) @binding(6) var<storage, read_write> mix: array<vec2<u32>>; // (R, room): partner's sample, bits of the share

override BYTES: bool = true;      // u8 features, four in a word; else normalised f32
override ALIGNED: bool = false; // four features next to each other are of one channel
override STREAMED: bool = false;  // records lie in the order of the passes, not in the data set's
override AUGMENT: bool = false;
override MIXUP: bool = false;
override PARTNER: bool = false;
override LANES: u32 = 64u;
const QUANTILES: u32 = 257u;
// Purposes of random numbers; the column lies below.
const PURPOSE_BIT: u32 = 22u;
const NOISE: u32 = 0u;
const CROP: u32 = 1u;
const CUTOUT: u32 = 2u;
const MIX: u32 = 3u;

@compute @workgroup_size(LANES)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let column = id.x;
    let row = id.y;
    let r = id.z;
    if column >= args.columns || row >= pass_.rows {
        return;
    }
    let key = coefficients[ring_at(r)];
    let order_at = r * args.order_stride + pass_.first;

    var source = row; // the row whose sample is read
    var share = 1.0;
    var partner = 0u;
    if MIXUP {
        let draw = hash(vec4(key.seed, key.step, pass_.first + row, MIX << PURPOSE_BIT));
        share = quantile(key.quantiles, draw.x);
        partner = below(draw.y, pass_.rows);
    }
    if PARTNER {
        source = partner;
    }
    var record = r * pass_.streamed_rows + pass_.streamed + source;
    if !STREAMED {
        record = order[order_at + source] - args.first_record;
        // A sample before this buffer wraps around to a large number.
        if record >= args.records {
            return;
        }
    }
    let value = features(record, column, vec2(key.seed, key.step), pass_.first + source);
    let at = r * args.x_stride + row * args.columns + column;
    if PARTNER {
        x[at] = store(load(x[at]) + (1.0 - share) * value);
        return;
    }
    var sum = share * value;
    if AUGMENT && key.noise > 0.0 {
        sum += key.noise * normal(hash(vec4(key.seed, key.step, pass_.first + row, (NOISE << PURPOSE_BIT) | column)), column);
    }
    x[at] = store(sum);
    if MIXUP && column == 0u {
        mix[r * args.room + row] = vec2(order[order_at + partner], bitcast<u32>(share));
    }
}

// Four features of a record, normalised; `position` is that of its sample in the order.
fn features(record: u32, column: u32, key: vec2<u32>, position: u32) -> vec4<f32> {
    var value = vec4<f32>();
    if !AUGMENT {
        var raw = vec4<f32>();
        if BYTES {
            raw = vec4<f32>(unpack4xU8(records[record * args.record_words + column]));
            if ALIGNED {
                let channel = channels[4u * column / args.pixels];
                return normalized(raw, channel);
            }
        }
        for (var i = 0u; i < 4u; i++) {
            let feature = 4u * column + i;
            if feature < args.width {
                if BYTES {
                    value[i] = normalized(raw, channels[feature / args.pixels])[i];
                } else {
                    value[i] = bitcast<f32>(records[record * args.record_words + feature]);
                }
            }
        }
        return value;
    }
    let image_height = args.pixels / args.image_width;
    let crop = hash(vec4(key, position, CROP << PURPOSE_BIT));
    let down = below(crop.x, 2u * args.pad + 1u);
    let right = below(crop.y, 2u * args.pad + 1u);
    let mirrored = args.flip == 1u && (crop.z >> 31u) == 1u;
    let cut = hash(vec4(key, position, CUTOUT << PURPOSE_BIT));
    let cut_y = below(cut.x, image_height);
    let cut_x = below(cut.y, args.image_width);
    for (var i = 0u; i < 4u; i++) {
        let feature = 4u * column + i;
        if feature >= args.width {
            continue;
        }
        let c = feature / args.pixels;
        let y = (feature % args.pixels) / args.image_width;
        let x = feature % args.image_width;
        // The square reaches from half its side before its centre, half a pixel less if the side is odd.
        if y + args.cutout / 2u - cut_y < args.cutout && x + args.cutout / 2u - cut_x < args.cutout {
            continue;
        }
        // Above or left of the image, these wrap around to large numbers.
        let from_y = y + down - args.pad;
        let from_x = select(x, args.image_width - 1u - x, mirrored) + right - args.pad;
        value[i] = channels[c].y; // black: a raw value of 0
        if from_y < image_height && from_x < args.image_width {
            let from_ = c * args.pixels + from_y * args.image_width + from_x;
            if BYTES {
                let word = records[record * args.record_words + from_ / 4u];
                let raw = f32((word >> (8u * (from_ % 4u))) & 255u);
                value[i] = normalized(vec4(raw), channels[c]).x;
            } else {
                value[i] = bitcast<f32>(records[record * args.record_words + from_]);
            }
        }
    }
    return value;
}

// Rounded once, so that it is the same in every form of this kernel: records that are resident and those that are streamed.
fn normalized(raw: vec4<f32>, channel: vec2<f32>) -> vec4<f32> {
    return fma(raw, vec4(channel.x), vec4(channel.y));
}

// Four normal deviates out of four hashes (Box and Muller, 1958), 0 past the last feature.
fn normal(h: vec4<u32>, column: u32) -> vec4<f32> {
    let radius = sqrt(-2.0 * log(vec2(1.0 - uniform_(h.x), 1.0 - uniform_(h.z))));
    let angle = 6.283185307179586 * vec2(uniform_(h.y), uniform_(h.w)) - 3.141592653589793;
    let deviates = vec4(radius.x * cos(angle.x), radius.x * sin(angle.x), radius.y * cos(angle.y), radius.y * sin(angle.y));
    let feature = vec4(4u * column) + vec4(0u, 1u, 2u, 3u);
    return select(vec4<f32>(), deviates, feature < vec4(args.width));
}

// The quantile function between its table's points.
fn quantile(first: u32, h: u32) -> f32 {
    let at = uniform_(h) * f32(QUANTILES - 1u);
    let i = u32(at);
    return mix_(quantiles[first + i], quantiles[first + i + 1u], at - f32(i));
}

fn mix_(a: f32, b: f32, t: f32) -> f32 {
    return a + t * (b - a);
}

fn uniform_(h: u32) -> f32 {
    return f32(h >> 8u) / 16777216.0;
}

// ⌊h · n / 2³²⌋ for n below 2¹⁶
fn below(h: u32, n: u32) -> u32 {
    return ((h >> 16u) * n + (((h & 0xffffu) * n) >> 16u)) >> 16u;
}
