//! What several shaders have: the texts of `shaders/shared`, which the rows of the table name.

/// A text that is joined to a kernel's own.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// The name of the part, as `shaders/shared/NAME.wgsl`; of an optimizer's update, `shaders/NAME.wgsl`.
    pub name: &'static str,
    /// The text.
    pub text: &'static str,
}

impl Part {
    /// Whether it says where weight gradients go, in whose place an optimizer's update may stand.
    pub(crate) fn is_gradient(&self) -> bool {
        self.name == gradient.name
    }

    /// Whether it makes an update by a gradient that lies in memory, which an optimizer's kernel does.
    pub(super) fn is_optimizer(&self) -> bool {
        self.name == optimizer.name
    }
}

macro_rules! parts {
    ($($name:ident)*) => {
        $(
            #[allow(non_upper_case_globals, reason = "a part has the name of its file")]
            pub(super) const $name: Part = Part {
                name: stringify!($name),
                text: include_str!(concat!("../../../shaders/shared/", stringify!($name), ".wgsl")),
            };
        )*
    };
}

parts! {
    pass coefficients scaling hash activation finish is_output reduce reduce_rows
    stored_f32 stored_f16 stored_packed
    linear_args linear_results linear_tile
    linear_dx_args linear_dx_factors linear_dx_results linear_dx_tile linear_dx_finish
    linear_dw_args linear_dw_factors linear_dw_results linear_dw_tile linear_dw_sums linear_dw_rows linear_dw_put_tile
    linear_dw_bias gradient update keep
    staged staged_rows staged_a staged_w staged_dz
    cooperative cooperative_a cooperative_w cooperative_dz
    vector optimizer norm_args loss norm ascent_size tangent_args second
}
