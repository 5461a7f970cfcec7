// How four vec4s of W are staged.

fn four_of_w(at: vec4<u32>, is_there: vec4<bool>) -> array<Stored, 4> {
    return array(
        of_w(at.x, is_there.x),
        of_w(at.y, is_there.y),
        of_w(at.z, is_there.z),
        of_w(at.w, is_there.w),
    );
}

fn of_w(at: u32, is_there: bool) -> Stored {
    if is_there {
        return params[at];
    }
    return Stored();
}

fn put_w(at: vec4<u32>, is_there: vec4<bool>, values: array<Stored, 4>) {
    if is_there.x {
        put_one_w(at.x, values[0]);
    }
    if is_there.y {
        put_one_w(at.y, values[1]);
    }
    if is_there.z {
        put_one_w(at.z, values[2]);
    }
    if is_there.w {
        put_one_w(at.w, values[3]);
    }
}

fn put_one_w(at: u32, value: Stored) {
    w_stage[at] = value.x;
    w_stage[at + 1u] = value.y;
    w_stage[at + 2u] = value.z;
    w_stage[at + 3u] = value.w;
}
