//! Pictures as pixels.

use std::sync::{Arc, LazyLock};

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};

use crate::error::{Error, Result};

/// DejaVu Sans, the characters of Latin and Greek and some of mathematics, so that a picture has the same letters on every
/// machine; its licence lies beside it.
const FONT: &[u8] = include_bytes!("font/DejaVuSans.ttf");
const FAMILY: &str = "DejaVu Sans";
/// The pixels of a PNG for each of an SVG, along each side.
const SCALE: f32 = 2.0;

static FONTS: LazyLock<Arc<fontdb::Database>> = LazyLock::new(|| {
    let mut fonts = fontdb::Database::new();
    fonts.load_font_data(FONT.to_vec());
    fonts.set_sans_serif_family(FAMILY);
    Arc::new(fonts)
});

/// The bytes of a PNG of an SVG, at twice its size.
///
/// # Errors
/// Text that is no SVG, or a picture that is too large for memory.
pub fn png(svg: &str) -> Result<Vec<u8>> {
    let bad = |found: String| Error::data("picture", format!("expected an SVG that can be drawn, found {found}"));
    let options = Options { font_family: FAMILY.into(), fontdb: Arc::clone(&FONTS), ..Options::default() };
    let tree = Tree::from_str(svg, &options).map_err(|error| bad(error.to_string()))?;
    let size = tree.size().to_int_size().scale_by(SCALE).ok_or_else(|| bad("one of no size".into()))?;
    let mut pixels = Pixmap::new(size.width(), size.height()).ok_or_else(|| bad("one that is too large".into()))?;
    resvg::render(&tree, Transform::from_scale(SCALE, SCALE), &mut pixels.as_mut());
    pixels.encode_png().map_err(|error| bad(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words are drawn with the font at hand, whatever fonts the machine has.
    #[test]
    fn words_are_drawn() {
        let svg = |word: &str| {
            format!(
                "<svg xmlns='http://www.w3.org/2000/svg' width='40' height='20'><text x='2' y='15' font-family='sans-serif' font-size='14'>{word}</text></svg>"
            )
        };
        let pixels = |word: &str| Pixmap::decode_png(&png(&svg(word)).unwrap()).unwrap();
        let (none, one) = (pixels(""), pixels("λ²"));
        assert_eq!((none.width(), none.height()), (80, 40));
        assert!(none.data().iter().all(|&byte| byte == 0) && one.data().iter().any(|&byte| byte > 0));
        assert!(png("no picture").is_err());
    }
}
