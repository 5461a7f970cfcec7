//! A surface for ParaView.

use std::fmt::Write;

/// The text of a surface over the nodes of a grid, VTK's PolyData in XML (`.vtp`): a point for each node, at `(x, y, height)`, a
/// quadrangle for each cell, and named values of the points. Values have the order of `y`, then `x`. Numbers that are not
/// finite, which the format does not know, become the highest of theirs that is.
pub(super) fn surface(x: &[f64], y: &[f64], height: &[f64], values: &[(&str, Vec<f64>)]) -> String {
    let (columns, rows) = (x.len(), y.len());
    let cells = (columns - 1) * (rows - 1);
    let heights = finite(height);
    let nodes = y.iter().flat_map(|y| x.iter().map(move |x| (x, y))).zip(&heights);
    let points = nodes.map(|((x, y), height)| format!("{x:?} {y:?} {height:?}"));
    let corners = (0..rows - 1).flat_map(|j| (0..columns - 1).map(move |i| j * columns + i));
    let quadrangles = corners.map(|n| format!("{n} {} {} {}", n + 1, n + columns + 1, n + columns));
    let mut text = format!(
        "<?xml version=\"1.0\"?>\n<VTKFile type=\"PolyData\" version=\"1.0\" byte_order=\"LittleEndian\">\n<PolyData>\n\
         <Piece NumberOfPoints=\"{}\" NumberOfVerts=\"0\" NumberOfLines=\"0\" NumberOfStrips=\"0\" NumberOfPolys=\"{cells}\">\n",
        columns * rows
    );
    let first = values.first().map_or("", |(name, _)| name);
    let _ = writeln!(text, "<PointData Scalars=\"{first}\">");
    for (name, values) in values {
        array(
            &mut text,
            "Float64",
            &format!("Name=\"{name}\""),
            finite(values).iter().map(|value| format!("{value:?}")),
        );
    }
    text += "</PointData>\n<Points>\n";
    array(&mut text, "Float64", "Name=\"points\" NumberOfComponents=\"3\"", points);
    text += "</Points>\n<Polys>\n";
    array(&mut text, "Int64", "Name=\"connectivity\"", quadrangles);
    array(&mut text, "Int64", "Name=\"offsets\"", (1..=cells).map(|cell| (4 * cell).to_string()));
    text + "</Polys>\n</Piece>\n</PolyData>\n</VTKFile>\n"
}

fn array(text: &mut String, kind: &str, attributes: &str, lines: impl Iterator<Item = String>) {
    let _ = writeln!(text, "<DataArray type=\"{kind}\" {attributes} format=\"ascii\">");
    lines.for_each(|line| _ = writeln!(text, "{line}"));
    text.push_str("</DataArray>\n");
}

/// The values, the highest that is finite in the place of those that are not.
fn finite(values: &[f64]) -> Vec<f64> {
    let highest = values.iter().copied().filter(|value| value.is_finite()).fold(f64::NEG_INFINITY, f64::max);
    let highest = if highest.is_finite() { highest } else { 0.0 };
    values.iter().map(|&value| if value.is_finite() { value } else { highest }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_surface_has_a_point_a_node_and_a_quadrangle_a_cell() {
        let height = [1.0, 2.0, f64::INFINITY, 4.0, 5.5, f64::NAN];
        let text = surface(&[-1.0, 0.0, 1.0], &[0.0, 0.5], &height, &[("loss", height.to_vec())]);
        assert!(text.contains("NumberOfPoints=\"6\"") && text.contains("NumberOfPolys=\"2\""), "{text}");
        assert!(text.contains("\n-1.0 0.0 1.0\n0.0 0.0 2.0\n1.0 0.0 5.5\n-1.0 0.5 4.0\n"), "{text}");
        assert!(text.contains("\n0 1 4 3\n1 2 5 4\n</DataArray>"), "{text}");
        assert!(text.contains("\n4\n8\n</DataArray>") && text.contains("\n1.0\n2.0\n5.5\n4.0\n5.5\n5.5\n"), "{text}");
    }
}
