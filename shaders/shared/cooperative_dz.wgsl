// How four vec4s of dz are staged.

fn four_of_dz(at: vec4<u32>, is_there: vec4<bool>) -> array<Stored, 4> {
    return array(
        of_dz(at.x, is_there.x),
        of_dz(at.y, is_there.y),
        of_dz(at.z, is_there.z),
        of_dz(at.w, is_there.w),
    );
}

fn of_dz(at: u32, is_there: bool) -> Stored {
    if is_there {
        return dz[at];
    }
    return Stored();
}

fn put_dz(at: vec4<u32>, is_there: vec4<bool>, values: array<Stored, 4>) {
    if is_there.x {
        put_one_dz(at.x, values[0]);
    }
    if is_there.y {
        put_one_dz(at.y, values[1]);
    }
    if is_there.z {
        put_one_dz(at.z, values[2]);
    }
    if is_there.w {
        put_one_dz(at.w, values[3]);
    }
}

fn put_one_dz(at: u32, value: Stored) {
    dz_stage[at] = value.x;
    dz_stage[at + 1u] = value.y;
    dz_stage[at + 2u] = value.z;
    dz_stage[at + 3u] = value.w;
}
