//! A frame of the dashboard.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Paragraph, Wrap};

use super::charts::Panel;
use super::facts::Facts;
use super::plot::Plot;
use super::ticks::Scale;
use super::view::View;
use crate::cli::{percent, speed, thousands};

/// The least terminal on which there is a chart.
const LEAST: (u16, u16) = (50, 14);
/// The width from which on two charts stand side by side.
const WIDE: u16 = 120;
/// The characters that news are to have beside the table of averages.
pub const NEWS: usize = 22;
/// The word in front of all others.
const NAME: &str = "thalweg";

/// What the drawing thread has taken of the run's state for one frame.
pub struct Moment {
    pub step: u64,
    pub steps: u64,
    pub epoch: u64,
    pub epochs: u64,
    /// Seconds since the first step of this process, and those that the rest will take.
    pub passed: f64,
    pub left: Option<f64>,
    /// The loss and the rate of the last step.
    pub loss: Option<f64>,
    pub lr: Option<f64>,
    pub momentum: Option<f64>,
    pub samples_per_second: f64,
    pub averages: Vec<String>,
    /// What happened, the newest first.
    pub news: Vec<String>,
    /// The panels of the charts that are looked at.
    pub charts: Vec<Vec<Panel>>,
}

/// The number of charts that a terminal of this width shows at once.
pub fn charts_of(width: u16, view: &View) -> usize {
    if width >= WIDE { view.charts.len().min(2) } else { 1 }
}

pub fn draw(frame: &mut Frame, facts: &Facts, view: &View, moment: &Moment) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        return draw_small(frame, facts, moment);
    }
    let words = head_lines(facts, moment, area.width as usize, if area.height < 20 { 2 } else { 4 });
    let below = (moment.averages.len() as u16).clamp(2, (area.height - 6) / 3);
    let heights = [words.len() as u16, 1, 1].map(Constraint::Length);
    let heights = [&heights[..], &[Constraint::Min(5), Constraint::Length(below), Constraint::Length(1)]].concat();
    let [head, progress, tabs, middle, low, foot] = Layout::vertical(heights).areas(area);
    frame.render_widget(Text::from_iter(words), head);
    frame.render_widget(progress_line(facts, moment, progress.width as usize), progress);
    frame.render_widget(tab_line(view), tabs);
    draw_charts(frame, view, moment, middle);
    if view.has_help {
        frame.render_widget(Text::from_iter(HELP), low);
    } else {
        let table = Text::from_iter(cut(&moment.averages, low.height as usize));
        let width = (table.width() as u16).min(low.width);
        let [left, right] = Layout::horizontal([Constraint::Length(width), Constraint::Fill(1)]).spacing(2).areas(low);
        frame.render_widget(table, left);
        let news = Text::from_iter(moment.news.iter().map(String::as_str));
        frame.render_widget(Paragraph::new(news).wrap(Wrap { trim: false }), right);
    }
    frame.render_widget(foot_line(view), foot);
}

/// The numbers alone.
fn draw_small(frame: &mut Frame, facts: &Facts, moment: &Moment) {
    let area = frame.area();
    let loss = moment.loss.map_or(String::new(), |loss| format!("loss {loss:.4}"));
    let lines = [
        format!(
            "epoch {}/{}  step {}/{}",
            moment.epoch,
            moment.epochs,
            thousands(moment.step),
            thousands(moment.steps)
        ),
        format!("{loss}  {}", times(facts, moment)),
        format!(
            "Too small for charts: {}x{}, expected {}x{}. The run goes on.",
            area.width, area.height, LEAST.0, LEAST.1
        ),
        "c checkpoint  s stop".into(),
    ];
    frame.render_widget(Paragraph::new(Text::from_iter(lines)).wrap(Wrap { trim: true }), area);
}

/// The lines above all: what the run is, and how it is now. There are at most `most`.
fn head_lines(facts: &Facts, moment: &Moment, width: usize, most: usize) -> Vec<Line<'static>> {
    let rate = moment.lr.map(|lr| format!("lr {lr:.3e}, momentum {}", moment.momentum.unwrap_or_default()));
    let words = [speed(facts.pace, moment.samples_per_second)].into_iter().chain(rate).chain([facts.memory.clone()]);
    let now = packed(words, width);
    let mut lines = packed([NAME.to_string()].into_iter().chain(facts.words.iter().cloned()), width);
    lines.truncate(most.saturating_sub(now.len()).max(1));
    lines.extend(now);
    lines.truncate(most);
    let bold = |name: &str| Span::styled(name.to_string(), Modifier::BOLD);
    let line = |line: String| match line.strip_prefix(NAME) {
        Some(rest) => Line::from_iter([bold(NAME), Span::raw(rest.to_string())]),
        None => Line::from(line),
    };
    lines.into_iter().map(line).collect()
}

/// Phrases in as few lines as hold them.
fn packed(phrases: impl Iterator<Item = String>, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for phrase in phrases {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 3 + phrase.chars().count() <= width => {
                *line += &format!(" · {phrase}")
            }
            _ => lines.push(phrase),
        }
    }
    lines
}

fn times(facts: &Facts, moment: &Moment) -> String {
    let most = if facts.may_end_early { "at most " } else { "" };
    let left = moment.left.map_or(String::new(), |left| format!(", {most}{} left", clock(left)));
    format!("{} passed{left}", clock(moment.passed))
}

/// `1:02:03`, `2:03`.
fn clock(seconds: f64) -> String {
    let seconds = seconds as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// Where the run is, as numbers and as a bar.
fn progress_line(facts: &Facts, moment: &Moment, width: usize) -> Line<'static> {
    let share = moment.step as f64 / moment.steps.max(1) as f64;
    let left = format!(
        "epoch {}/{}  step {}/{} ",
        moment.epoch,
        moment.epochs,
        thousands(moment.step),
        thousands(moment.steps)
    );
    let right = format!(" {}  {}", percent(share), times(facts, moment));
    let room = width.saturating_sub(left.chars().count() + right.chars().count());
    let filled = ((share * room as f64) as usize).min(room);
    Line::from(left + &"█".repeat(filled) + &"░".repeat(room - filled) + &right)
}

fn tab_line(view: &View) -> Line<'static> {
    let mut line = Line::default();
    for (i, chart) in view.charts.iter().enumerate() {
        let style = if i == view.selected { Modifier::REVERSED } else { Modifier::empty() };
        line.push_span(Span::styled(format!(" {} {} ", i + 1, chart.name()), Style::new().add_modifier(style)));
    }
    line.push_span(if view.scale == Scale::Log { "  log scale" } else { "" });
    line
}

fn draw_charts(frame: &mut Frame, view: &View, moment: &Moment, area: Rect) {
    let n = moment.charts.len();
    let columns = Layout::horizontal(vec![Constraint::Fill(1); n]).spacing(2).split(area);
    for (panels, column) in moment.charts.iter().zip(columns.iter()) {
        // Panels of one chart stand beside each other where there is room, else one above the other.
        let shares = vec![Constraint::Fill(1); panels.len()];
        let layout = if column.width >= 60 { Layout::horizontal(shares).spacing(2) } else { Layout::vertical(shares) };
        for (panel, place) in panels.iter().zip(layout.split(*column).iter()) {
            let plot = Plot {
                title: panel.title,
                curves: &panel.curves,
                scale: view.scale,
                end: panel.end,
                cursor: panel.has_cursor.then_some(moment.step),
                empty: panel.empty,
            };
            frame.render_widget(&plot, *place);
        }
    }
}

/// The first lines, and how many more there are.
fn cut(lines: &[String], height: usize) -> Vec<Line<'static>> {
    let mut shown: Vec<Line> = lines.iter().take(height).cloned().map(Line::from).collect();
    if lines.len() > height && height > 0 {
        shown[height - 1] = Line::from(format!("... {} more in a taller terminal", lines.len() - height + 1));
    }
    if let Some(heading) = shown.first_mut() {
        heading.style = Style::new().add_modifier(Modifier::BOLD);
    }
    shown
}

const HELP: [&str; 5] = [
    "1 ... 5, Tab, arrows  another chart",
    "l  logarithmic scale, with outliers   c  take a checkpoint now",
    "s, q  end the run after the step under way, with an evaluation",
    "Ctrl-C  leave the run with a checkpoint, to be resumed; twice: at once",
    "Ctrl-Z  stop the program; in the background the run goes on without charts",
];

fn foot_line(view: &View) -> Line<'static> {
    if view.is_stop_pending {
        let words = "Press s again to end the run after the step under way; any other key goes on.";
        return Line::from(Span::styled(words, Modifier::BOLD));
    }
    let help = if view.has_help { "? close" } else { "? help" };
    Line::from(format!("1-{} Tab chart  l log  c checkpoint  s stop  {help}", view.charts.len()))
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use thalweg::run::Pace;

    use super::super::charts::Panel;
    use super::super::plot::Curve;
    use super::*;

    fn facts(words: &[&str]) -> Facts {
        Facts {
            words: words.iter().map(ToString::to_string).collect(),
            memory: "memory 1.0 MiB".into(),
            is_classification: true,
            replicas: 1,
            has_gradients: true,
            has_curvature: true,
            may_end_early: true,
            metric: None,
            pace: Pace::default(),
            course: None,
        }
    }

    fn moment(values: &[f64]) -> Moment {
        let points: Vec<(f64, f64)> = values.iter().enumerate().map(|(i, &value)| (i as f64, value)).collect();
        let curve = |name: &str, has_marks| Curve {
            name: name.into(),
            mark: 't',
            has_marks,
            color: ratatui::style::Color::Green,
            points: points.clone(),
            dots: points.clone(),
        };
        let panel = || Panel {
            title: "loss",
            curves: vec![curve("steps", false), curve("test", true)],
            end: values.len() as u64,
            has_cursor: true,
            empty: "nothing",
        };
        Moment {
            step: values.len() as u64,
            steps: u64::MAX,
            epoch: 1,
            epochs: u64::MAX,
            passed: 1e9,
            left: Some(f64::INFINITY),
            loss: values.last().copied(),
            lr: Some(1e-30),
            momentum: None,
            samples_per_second: 0.0,
            averages: (0..30).map(|i| format!("part {i}  0.1234")).collect(),
            news: (0..30).map(|i| format!("{i:>6} something with a long name happened")).collect(),
            charts: vec![vec![panel(), panel()], vec![panel()]],
        }
    }

    fn drawn(facts: &Facts, moment: &Moment, [width, height]: [u16; 2], scale: Scale) -> String {
        let view = View { scale, has_help: width % 2 == 1, ..View::new(facts) };
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, facts, &view, moment)).unwrap();
        terminal.backend().to_string()
    }

    /// Whatever the numbers and the terminal, there is a picture and no panic.
    #[test]
    fn every_run_fits_every_terminal() {
        let name = "a name that is longer than any terminal is wide ".repeat(9);
        let long: Vec<f64> = (0..1600).map(|i| 1e30 / f64::from(i + 1)).collect();
        let all: [&[f64]; 6] = [&[], &[0.5], &[f64::NAN; 3], &[f64::INFINITY, -1e300, 1e300], &[0.0, 0.0], &long];
        for words in [&[][..], &[name.as_str()], &["", "\u{1b}[31m", "名前"]] {
            let facts = facts(words);
            for moment in all.map(moment) {
                for size in [[1, 1], [7, 2], [40, 10], [50, 14], [51, 15], [80, 24], [119, 20], [120, 50], [301, 90]] {
                    for scale in [Scale::Linear, Scale::Log] {
                        let text = drawn(&facts, &moment, size, scale);
                        assert!(!text.contains('\u{1b}'), "{text}");
                    }
                }
            }
        }
    }

    #[test]
    fn outliers_are_seen_by_their_logarithm() {
        let mut values = vec![1.0; 500];
        values[0] = 1e6;
        let ticks = |scale| {
            let text = drawn(&facts(&[]), &moment(&values), [80, 24], scale);
            text.lines().any(|line| line.trim_start_matches(['"', ' ']).starts_with("1e6"))
        };
        assert_eq!([Scale::Linear, Scale::Log].map(ticks), [false, true]);
    }
}
