// How four vec4s of a are staged.

fn four_of_a(at: vec4<u32>, is_there: vec4<bool>) -> array<Stored, 4> {
    return array(
        of_a(at.x, is_there.x),
        of_a(at.y, is_there.y),
        of_a(at.z, is_there.z),
        of_a(at.w, is_there.w),
    );
}

fn of_a(at: u32, is_there: bool) -> Stored {
    if is_there {
        return a[at];
    }
    return Stored();
}

fn put_a(at: vec4<u32>, is_there: vec4<bool>, values: array<Stored, 4>) {
    if is_there.x {
        put_one_a(at.x, values[0]);
    }
    if is_there.y {
        put_one_a(at.y, values[1]);
    }
    if is_there.z {
        put_one_a(at.z, values[2]);
    }
    if is_there.w {
        put_one_a(at.w, values[3]);
    }
}

fn put_one_a(at: u32, value: Stored) {
    a_stage[at] = value.x;
    a_stage[at + 1u] = value.y;
    a_stage[at + 2u] = value.z;
    a_stage[at + 3u] = value.w;
}
