//! What of a run is looked at, and what keys do.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::facts::Facts;
use super::ticks::Scale;

/// A chart that can be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chart {
    Loss,
    Accuracy,
    Rate,
    Gradient,
    Throughput,
}

impl Chart {
    /// The charts that a run has, in the order of their keys.
    pub fn all(facts: &Facts) -> Vec<Self> {
        let all = [
            (Self::Loss, true),
            (Self::Accuracy, facts.is_classification),
            (Self::Rate, true),
            (Self::Gradient, facts.has_gradients || facts.has_curvature),
            (Self::Throughput, true),
        ];
        all.into_iter().filter_map(|(chart, is_there)| is_there.then_some(chart)).collect()
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Accuracy => "accuracy",
            Self::Rate => "rate",
            Self::Gradient => "gradient",
            Self::Throughput => "throughput",
        }
    }
}

/// What a key asks for, beside another view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Nothing beyond the view.
    None,
    /// The run is to end after the step under way.
    Stop,
    /// A checkpoint is to be taken.
    Save,
    /// What SIGINT does.
    Interrupt,
    /// The job is to be stopped, as by a shell's Ctrl-Z.
    Suspend,
    /// Everything is to be drawn anew.
    Redraw,
}

/// What is looked at.
pub struct View {
    pub charts: Vec<Chart>,
    pub selected: usize,
    pub scale: Scale,
    pub has_help: bool,
    /// Whether the key that stops the run was pressed once.
    pub is_stop_pending: bool,
}

impl View {
    pub fn new(facts: &Facts) -> Self {
        let charts = Chart::all(facts);
        Self { charts, selected: 0, scale: Scale::default(), has_help: false, is_stop_pending: false }
    }

    /// The chart that is `offset` behind the selected one.
    pub fn chart(&self, offset: usize) -> Chart {
        self.charts[(self.selected + offset) % self.charts.len()]
    }

    /// Does what a key stands for in the view; returns what it asks for beside.
    pub fn press(&mut self, key: KeyEvent) -> Wish {
        let was_pending = std::mem::take(&mut self.is_stop_pending);
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => Wish::Interrupt,
                KeyCode::Char('z') => Wish::Suspend,
                KeyCode::Char('l') => Wish::Redraw,
                _ => Wish::None,
            };
        }
        let n = self.charts.len();
        match key.code {
            KeyCode::Char(digit @ '1'..='9') if (digit as usize - '1' as usize) < n => {
                self.selected = digit as usize - '1' as usize;
            }
            KeyCode::Tab | KeyCode::Right | KeyCode::Down => self.selected = (self.selected + 1) % n,
            KeyCode::BackTab | KeyCode::Left | KeyCode::Up => self.selected = (self.selected + n - 1) % n,
            KeyCode::Char('l') => self.scale = if self.scale == Scale::Log { Scale::Linear } else { Scale::Log },
            KeyCode::Char('?' | 'h') => self.has_help = !self.has_help,
            KeyCode::Esc => self.has_help = false,
            KeyCode::Char('c') => return Wish::Save,
            KeyCode::Char('s' | 'q') if was_pending => return Wish::Stop,
            KeyCode::Char('s' | 'q') => self.is_stop_pending = true,
            _ => {}
        }
        Wish::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stopping_takes_two_keys_in_a_row() {
        let charts = vec![Chart::Loss, Chart::Rate, Chart::Throughput];
        let mut view = View { charts, selected: 0, scale: Scale::Linear, has_help: false, is_stop_pending: false };
        let mut press = |keys: &str| -> Vec<Wish> {
            keys.chars().map(|key| view.press(KeyEvent::new(KeyCode::Char(key), KeyModifiers::NONE))).collect()
        };
        assert_eq!(press("sls"), [Wish::None; 3]);
        assert_eq!(press("qq"), [Wish::Stop, Wish::None]);
        assert_eq!(press("9c"), [Wish::None, Wish::Save]);
        // A chart that is not there is not selected.
        press("3");
        assert_eq!((view.chart(0), view.chart(1)), (Chart::Throughput, Chart::Loss));
        view.press(KeyEvent::new(KeyCode::Tab, KeyModifiers::NONE));
        assert_eq!(view.chart(0), Chart::Loss);
        view.press(KeyEvent::new(KeyCode::Left, KeyModifiers::NONE));
        assert_eq!(view.chart(0), Chart::Throughput);
    }
}
