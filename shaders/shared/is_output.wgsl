// Which of four outputs are there.
fn is_output(j: u32) -> vec4<bool> {
    return 4u * j + vec4(0u, 1u, 2u, 3u) < vec4(args.outputs);
}
