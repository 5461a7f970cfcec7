//! Functions of two parameters on which descent can be watched.

use std::f64::consts::PI;
use std::fmt;
use std::str::FromStr;

use serde::de::{IntoDeserializer, value};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A function of `w = (x, y)`, to be made small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Surface {
    /// The bowl `(x² + y²)/2`: curvature 1 everywhere, so that plain descent takes a rate below 2.
    Bowl,
    /// The straight valley `(x² + 100 y²)/2`: a condition number of 100. A rate that does not bounce across the valley
    /// (below 2/100) creeps along it (Polyak, 1964, whose momentum answers this).
    Valley,
    /// The curved valley `(1 − x)² + 100 (y − x²)²`, easy to find and slow to follow (Rosenbrock, 1960).
    Rosenbrock,
    /// The function `x²/2 + (y² − 1)²/4`: a saddle between two minima. Descent that starts on the ridge `y = 0` ends on
    /// the saddle, and noise frees it (Ge, Huang, Jin and Yuan, 2015).
    Saddle,
    /// Himmelblau's function `(x² + y − 11)² + (x + y² − 7)²`: four minima of one depth (Himmelblau, 1972).
    Himmelblau,
    /// Rastrigin's function `20 + Σ (w² − 10 cos 2πw)`: a local minimum near every point of whole numbers (Rastrigin,
    /// 1974).
    Rastrigin,
    /// Two wells of one depth, a flat one at x = −1 (curvature 0.29) and a sharp one at x = 1 (curvature 5.49):
    /// `(x² − 1)² ((x + 1.3)² + 0.2)/8 + y²/2`. A rate above 2/5.49 cannot stay in the sharp one.
    Wells,
    /// The loss of a regression, `Σ (x + y·tᵢ − sᵢ)²/2n`: the line through n = 11 examples, a sum that batch,
    /// mini-batch and stochastic descent take differently. The examples are the first of Anscombe's quartet (1973),
    /// with `t = (x − 9)/5`.
    Regression,
}

/// The examples `(tᵢ, sᵢ)` of [`Surface::Regression`], of which t is still to be centred and scaled.
const EXAMPLES: [(f64, f64); 11] = [
    (10.0, 8.04),
    (8.0, 6.95),
    (13.0, 7.58),
    (9.0, 8.81),
    (11.0, 8.33),
    (14.0, 9.96),
    (6.0, 7.24),
    (4.0, 4.26),
    (12.0, 10.84),
    (7.0, 4.82),
    (5.0, 5.68),
];

/// The residual, how far the line of `w` is above example `i`, and the example's t.
fn residual(i: usize, [x, y]: [f64; 2]) -> (f64, f64) {
    let [t, s] = Surface::example(i);
    (x + y * t - s, t)
}

impl Surface {
    /// Every surface.
    pub const ALL: [Self; 8] = [
        Self::Bowl,
        Self::Valley,
        Self::Rosenbrock,
        Self::Saddle,
        Self::Himmelblau,
        Self::Rastrigin,
        Self::Wells,
        Self::Regression,
    ];

    /// The formula of the surface, as it stands over a picture.
    pub fn formula(self) -> &'static str {
        match self {
            Self::Bowl => "(x² + y²)/2",
            Self::Valley => "(x² + 100 y²)/2",
            Self::Rosenbrock => "(1 − x)² + 100 (y − x²)²",
            Self::Saddle => "x²/2 + (y² − 1)²/4",
            Self::Himmelblau => "(x² + y − 11)² + (x + y² − 7)²",
            Self::Rastrigin => "20 + x² − 10 cos 2πx + y² − 10 cos 2πy",
            Self::Wells => "(x² − 1)² ((x + 1.3)² + 0.2)/8 + y²/2",
            Self::Regression => "mean of (x + y·t − s)²/2 over 11 examples (t, s)",
        }
    }

    /// The value of the surface at `w`, its height there.
    ///
    /// ```
    /// use thalweg::explore::Surface;
    /// assert_eq!(Surface::Rosenbrock.value([1.0, 1.0]), 0.0);
    /// assert_eq!(Surface::Bowl.value([3.0, 4.0]), 12.5);
    /// ```
    pub fn value(self, w: [f64; 2]) -> f64 {
        let [x, y] = w;
        match self {
            Self::Bowl => (x * x + y * y) / 2.0,
            Self::Valley => (x * x + 100.0 * y * y) / 2.0,
            Self::Rosenbrock => (1.0 - x).powi(2) + 100.0 * (y - x * x).powi(2),
            Self::Saddle => x * x / 2.0 + (y * y - 1.0).powi(2) / 4.0,
            Self::Himmelblau => (x * x + y - 11.0).powi(2) + (x + y * y - 7.0).powi(2),
            Self::Rastrigin => 20.0 + w.map(|w| w * w - 10.0 * libm::cos(2.0 * PI * w)).iter().sum::<f64>(),
            Self::Wells => (x * x - 1.0).powi(2) * ((x + 1.3).powi(2) + 0.2) / 8.0 + y * y / 2.0,
            Self::Regression => {
                let sum: f64 = (0..EXAMPLES.len()).map(|i| residual(i, w).0.powi(2) / 2.0).sum();
                sum / EXAMPLES.len() as f64
            }
        }
    }

    /// The gradient at `w`: the derivatives by x and by y.
    pub fn gradient(self, w: [f64; 2]) -> [f64; 2] {
        let [x, y] = w;
        match self {
            Self::Bowl => [x, y],
            Self::Valley => [x, 100.0 * y],
            Self::Rosenbrock => {
                let above = y - x * x;
                [-2.0 * (1.0 - x) - 400.0 * x * above, 200.0 * above]
            }
            Self::Saddle => [x, y * (y * y - 1.0)],
            Self::Himmelblau => {
                let (a, b) = (x * x + y - 11.0, x + y * y - 7.0);
                [4.0 * x * a + 2.0 * b, 2.0 * a + 4.0 * y * b]
            }
            Self::Rastrigin => w.map(|w| 2.0 * w + 20.0 * PI * libm::sin(2.0 * PI * w)),
            Self::Wells => {
                let (q, sharpness) = (x * x - 1.0, (x + 1.3).powi(2) + 0.2);
                [q * (4.0 * x * sharpness + 2.0 * q * (x + 1.3)) / 8.0, y]
            }
            Self::Regression => {
                let gradients = (0..EXAMPLES.len()).map(|i| self.example_gradient(i, w));
                let sum = gradients.fold([0.0; 2], |sum, g| [sum[0] + g[0], sum[1] + g[1]]);
                sum.map(|sum| sum / EXAMPLES.len() as f64)
            }
        }
    }

    /// The number of examples over which the surface is a mean; 1 where it is none.
    pub fn examples(self) -> usize {
        if self == Self::Regression { EXAMPLES.len() } else { 1 }
    }

    /// The example `i` of [`Regression`](Self::Regression), `[t, s]`.
    pub(crate) fn example(i: usize) -> [f64; 2] {
        let (t, s) = EXAMPLES[i];
        [(t - 9.0) / 5.0, s]
    }

    /// The gradient of the loss of example `i`; their mean is [`gradient`](Self::gradient).
    ///
    /// # Panics
    /// If `i` is not below [`examples`](Self::examples).
    pub fn example_gradient(self, i: usize, w: [f64; 2]) -> [f64; 2] {
        assert!(i < self.examples(), "example {i} of {}", self.examples());
        match self {
            Self::Regression => {
                let (residual, t) = residual(i, w);
                [residual, residual * t]
            }
            _ => self.gradient(w),
        }
    }

    /// The points where the surface is lowest; those of [`Himmelblau`](Self::Himmelblau) to six places, but for the first.
    pub fn minima(self) -> &'static [[f64; 2]] {
        match self {
            Self::Bowl | Self::Valley | Self::Rastrigin => &[[0.0, 0.0]],
            Self::Rosenbrock => &[[1.0, 1.0]],
            Self::Saddle => &[[0.0, -1.0], [0.0, 1.0]],
            Self::Himmelblau => {
                &[[3.0, 2.0], [-2.805_118, 3.131_313], [-3.779_310, -3.283_186], [3.584_428, -1.848_127]]
            }
            Self::Wells => &[[-1.0, 0.0], [1.0, 0.0]],
            // By the normal equations, which are diagonal since the mean of t is 0.
            Self::Regression => &[[82.51 / 11.0, 55.01 / 22.0]],
        }
    }

    /// The saddles of the surface, to six places; those between the local minima of [`Rastrigin`](Self::Rastrigin) are
    /// left out.
    pub fn saddles(self) -> &'static [[f64; 2]] {
        match self {
            Self::Saddle => &[[0.0, 0.0]],
            Self::Himmelblau => {
                &[[3.385_154, 0.073_852], [0.086_678, 2.884_255], [-3.073_026, -0.081_353], [-0.127_961, -1.953_715]]
            }
            Self::Wells => &[[0.272_368, 0.0]],
            _ => &[],
        }
    }

    /// The least value of the surface.
    pub fn lowest(self) -> f64 {
        self.value(self.minima()[0])
    }

    /// The distance of `w` to the nearest of the [`minima`](Self::minima).
    pub fn distance(self, w: [f64; 2]) -> f64 {
        let distances = self.minima().iter().map(|m| (w[0] - m[0]).hypot(w[1] - m[1]));
        distances.fold(f64::INFINITY, f64::min)
    }

    /// The point where a descent starts unless told otherwise.
    pub fn start(self) -> [f64; 2] {
        match self {
            Self::Bowl => [-2.0, 1.5],
            Self::Valley => [-2.5, 1.0],
            Self::Rosenbrock => [-1.2, 1.0],
            Self::Saddle => [-1.5, 0.0],
            Self::Himmelblau => [0.0, 0.0],
            Self::Rastrigin => [-1.7, 2.3],
            Self::Wells => [1.2, 0.8],
            Self::Regression => [5.5, 0.5],
        }
    }

    /// A learning rate with which plain descent goes down from [`start`](Self::start).
    pub fn lr(self) -> f64 {
        match self {
            Self::Bowl | Self::Saddle | Self::Wells | Self::Regression => 0.1,
            Self::Valley => 0.018,
            Self::Rosenbrock => 0.001,
            Self::Himmelblau => 0.01,
            Self::Rastrigin => 0.002,
        }
    }

    /// The window that a picture shows, `[[left, right], [bottom, top]]`; always a square.
    pub fn window(self) -> [[f64; 2]; 2] {
        match self {
            Self::Bowl | Self::Valley => [[-3.0, 3.0]; 2],
            Self::Rosenbrock => [[-2.0, 2.0], [-1.0, 3.0]],
            Self::Saddle | Self::Wells => [[-2.0, 2.0]; 2],
            Self::Himmelblau => [[-5.5, 5.5]; 2],
            Self::Rastrigin => [[-3.2, 3.2]; 2],
            Self::Regression => [[5.0, 10.0], [0.0, 5.0]],
        }
    }

    /// The side of the [`window`](Self::window).
    pub fn width(self) -> f64 {
        let [[left, right], _] = self.window();
        right - left
    }
}

impl fmt::Display for Surface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl FromStr for Surface {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::deserialize(text.into_deserializer())
            .map_err(|error: value::Error| Error::config("surface", error.to_string()))
    }
}
