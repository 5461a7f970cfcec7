//! Lines of equal height through a grid.

/// Heights at the nodes of a regular grid over a rectangle.
pub(super) struct Grid {
    /// The number of nodes along each axis, at least 2.
    nodes: usize,
    window: [[f64; 2]; 2],
    /// The heights, (nodes + 2, nodes + 2), row by row from below, with a border that is higher than every level.
    heights: Vec<f64>,
}

impl Grid {
    pub fn new(nodes: usize, window: [[f64; 2]; 2], value: &dyn Fn([f64; 2]) -> f64) -> Self {
        let mut grid = Self { nodes, window, heights: vec![f64::INFINITY; (nodes + 2) * (nodes + 2)] };
        for j in 1..=nodes {
            for i in 1..=nodes {
                let height = value(grid.place(i, j));
                if !height.is_nan() {
                    grid.heights[j * (nodes + 2) + i] = height;
                }
            }
        }
        grid
    }

    /// The heights that are finite, in increasing order.
    pub fn sorted(&self) -> Vec<f64> {
        let mut heights: Vec<f64> = self.heights.iter().copied().filter(|height| height.is_finite()).collect();
        heights.sort_by(f64::total_cmp);
        heights
    }

    /// Whether some heights are not finite.
    pub fn has_holes(&self) -> bool {
        self.sorted().len() < self.nodes * self.nodes
    }

    /// The point of a node; the border lies on the outermost nodes.
    fn place(&self, i: usize, j: usize) -> [f64; 2] {
        let along = |axis: usize, node: usize| {
            let [low, high] = self.window[axis];
            low + (high - low) * (node.clamp(1, self.nodes) - 1) as f64 / (self.nodes - 1) as f64
        };
        [along(0, i), along(1, j)]
    }

    fn height(&self, i: usize, j: usize) -> f64 {
        self.heights[j * (self.nodes + 2) + i]
    }

    /// The boundary of the region below `level`, as closed lines that have the region to their left: counterclockwise
    /// around it, clockwise around its holes (marching squares; Lorensen and Cline, 1987, in two dimensions).
    pub fn loops(&self, level: f64) -> Vec<Vec<[f64; 2]>> {
        // The segment that begins on an edge ends on the edge whose number stands at its own.
        let side = self.nodes + 2;
        let mut next = vec![None; 2 * side * side];
        for j in 0..side - 1 {
            for i in 0..side - 1 {
                self.segments(i, j, level, &mut next);
            }
        }
        let mut loops = Vec::new();
        for first in 0..next.len() {
            let mut line = Vec::new();
            let mut edge = first;
            while let Some(following) = next[edge].take() {
                line.push(self.crossing(edge, level));
                edge = following;
            }
            if !line.is_empty() {
                loops.push(line);
            }
        }
        loops
    }

    /// The segments within the cell whose lower left corner is (i, j).
    fn segments(&self, i: usize, j: usize, level: f64, next: &mut [Option<usize>]) {
        let side = self.nodes + 2;
        let corners = [(i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1)];
        let below = corners.map(|(i, j)| self.height(i, j) < level);
        let node = j * side + i;
        // Counterclockwise as the corners: below, right, above, left. Edge 2n goes right from node n, 2n + 1 up.
        let edges = [2 * node, 2 * (node + 1) + 1, 2 * (node + side), 2 * node + 1];
        // Where two opposite corners are below, the middle decides whether they are joined.
        let middle = corners.iter().map(|&(i, j)| self.height(i, j)).sum::<f64>() / 4.0 < level;
        for k in (0..4).filter(|&k| below[k] && !below[(k + 1) % 4]) {
            let enters = |&e: &usize| !below[e] && below[(e + 1) % 4];
            let around = [(k + 1) % 4, (k + 2) % 4, (k + 3) % 4];
            let end = if middle { around.iter().find(|e| enters(e)) } else { around.iter().rev().find(|e| enters(e)) };
            next[edges[k]] = end.map(|&e| edges[e]);
        }
    }

    /// The point where `level` lies on an edge.
    fn crossing(&self, edge: usize, level: f64) -> [f64; 2] {
        let side = self.nodes + 2;
        let (i, j) = (edge / 2 % side, edge / 2 / side);
        let (k, l) = if edge.is_multiple_of(2) { (i + 1, j) } else { (i, j + 1) };
        let (a, b) = (self.height(i, j), self.height(k, l));
        // From the lower end, which is finite; the other may not be.
        let ((low, from), (high, to)) = if a < b {
            ((a, self.place(i, j)), (b, self.place(k, l)))
        } else {
            ((b, self.place(k, l)), (a, self.place(i, j)))
        };
        let t = (level - low) / (high - low);
        [from[0] + t * (to[0] - from[0]), from[1] + t * (to[1] - from[1])]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Positive for a line that goes counterclockwise.
    fn area(line: &[[f64; 2]]) -> f64 {
        let next = line.iter().cycle().skip(1);
        line.iter().zip(next).map(|(a, b)| (a[0] * b[1] - a[1] * b[0]) / 2.0).sum()
    }

    #[test]
    fn a_disc_has_its_radius_and_area() {
        let grid = Grid::new(101, [[-2.0, 2.0]; 2], &|[x, y]| x * x + y * y);
        let loops = grid.loops(1.0);
        assert_eq!(loops.len(), 1);
        assert!(loops[0].iter().all(|[x, y]| (x.hypot(*y) - 1.0).abs() < 1e-3));
        assert!((area(&loops[0]) - std::f64::consts::PI).abs() < 0.01);
    }

    #[test]
    fn a_hole_goes_the_other_way_and_a_border_is_closed() {
        let grid = Grid::new(101, [[-2.0, 2.0]; 2], &|[x, y]| -(x * x + y * y));
        let mut areas: Vec<f64> = grid.loops(-1.0).iter().map(|line| area(line)).collect();
        areas.sort_by(f64::total_cmp);
        assert_eq!(areas.len(), 2);
        assert!((areas[0] + std::f64::consts::PI).abs() < 0.01, "{areas:?}");
        assert!((areas[1] - 16.0).abs() < 1e-9, "{areas:?}");
    }

    /// Opposite corners below: joined by a low middle, apart with a high one.
    #[test]
    fn the_middle_of_a_cell_decides() {
        let cell = |other: f64| Grid::new(2, [[0.0, 1.0]; 2], &|[x, y]| if x == y { 0.0 } else { other });
        assert_eq!(cell(1.5).loops(1.0).len(), 1);
        assert_eq!(cell(3.0).loops(1.0).len(), 2);
        assert!(cell(3.0).loops(1.0).iter().all(|line| area(line) > 0.0));
    }
}
