//! **Owns** drawing: lines and bars as SVG.
//! **Lives on** any thread: pure.
//! **Invariants** (1) What comes out is well-formed XML, whatever the names say. (2) The same figures give the same bytes.
//! **Not here** which figures are drawn (`report`).

use std::fmt::Write as _;

/// How values lie along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Evenly, from zero.
    Linear,
    /// By their logarithm.
    Log,
    /// Percentiles by their distance from 100: 90, 99, 99.9 … are equally far apart.
    Nines,
}

/// Lines over an axis.
#[derive(Clone, Debug)]
pub struct Lines {
    /// Above.
    pub title: String,
    /// Below, and how.
    pub x: (String, Scale),
    /// At the left, and how.
    pub y: (String, Scale),
    /// Each with its name.
    pub series: Vec<(String, Vec<(f64, f64)>)>,
    /// A span of x that does not count, from its begin.
    pub grey_until: Option<f64>,
}

/// Bars in groups.
#[derive(Clone, Debug)]
pub struct Bars {
    /// Above.
    pub title: String,
    /// Of all values.
    pub unit: String,
    /// The names of a group's bars.
    pub names: Vec<String>,
    /// From top to bottom.
    pub groups: Vec<Group>,
}

/// Bars that belong together.
#[derive(Clone, Debug)]
pub struct Group {
    /// At the left.
    pub label: String,
    /// In the order of the names.
    pub bars: Vec<Option<Bar>>,
    /// At the right.
    pub note: String,
}

/// A bar with its spread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bar {
    /// How long it is.
    pub value: f64,
    /// The least and the most of what was measured.
    pub spread: Option<(f64, f64)>,
}

impl Lines {
    /// Draws; none when there is nothing to draw.
    pub fn draw(&self) -> Option<String> {
        let points = || {
            self.series
                .iter()
                .flat_map(|(_, points)| points)
                .filter(|(x, y)| x.is_finite() && y.is_finite() && self.fits(*y))
        };
        points().next()?;
        let x = Axis::over(points().map(|point| point.0), self.x.1, LEFT, WIDTH - RIGHT);
        let bottom = HEIGHT - BELOW;
        let y = Axis::over(points().map(|point| point.1), self.y.1, bottom, TOP);
        let mut svg = Svg::new(WIDTH, HEIGHT);
        svg.text(LEFT, 24.0, "start", 16, &self.title);
        if let Some(until) = self.grey_until.filter(|until| *until > x.low) {
            let to = x.place(until.min(x.high));
            svg.push(format_args!(
                "<rect x=\"{LEFT:.1}\" y=\"{TOP:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"#f1f1f1\"/>",
                to - LEFT,
                bottom - TOP
            ));
        }
        for (value, label) in y.ticks() {
            let at = y.place(value);
            svg.line((LEFT, at), (WIDTH - RIGHT, at), "#dddddd");
            svg.text(LEFT - 6.0, at + 4.0, "end", 11, &label);
        }
        for (value, label) in x.ticks() {
            let at = x.place(value);
            svg.line((at, bottom), (at, bottom + 4.0), "#888888");
            svg.text(at, bottom + 18.0, "middle", 11, &label);
        }
        svg.line((LEFT, bottom), (WIDTH - RIGHT, bottom), "#888888");
        svg.text(
            f64::midpoint(LEFT, WIDTH - RIGHT),
            HEIGHT - 6.0,
            "middle",
            12,
            &self.x.0,
        );
        svg.text(LEFT, TOP - 8.0, "start", 12, &self.y.0);
        for (index, (name, points)) in self.series.iter().enumerate() {
            let color = COLORS[index % COLORS.len()];
            let mut path = String::new();
            for (px, py) in points
                .iter()
                .filter(|(px, py)| px.is_finite() && py.is_finite() && self.fits(*py))
            {
                let verb = if path.is_empty() { 'M' } else { 'L' };
                // Writing to a string cannot fail.
                let _ = write!(path, "{verb}{:.1} {:.1} ", x.place(*px), y.place(*py));
            }
            svg.push(format_args!(
                "<path d=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"1.8\" stroke-linejoin=\"round\"/>",
                path.trim_end()
            ));
            svg.legend(index, color, name);
        }
        Some(svg.end())
    }

    /// A logarithm wants something above zero.
    fn fits(&self, y: f64) -> bool {
        self.y.1 != Scale::Log || y > 0.0
    }
}

impl Bars {
    /// Draws; none when there is nothing to draw.
    pub fn draw(&self) -> Option<String> {
        let each = || {
            self.groups
                .iter()
                .flat_map(|group| group.bars.iter().flatten())
        };
        let values: Vec<f64> = each()
            .map(|bar| {
                bar.spread
                    .map_or(bar.value, |spread| spread.1.max(bar.value))
            })
            .filter(|value| value.is_finite())
            .collect();
        if values.is_empty() {
            return None;
        }
        let names = precise(self.names.len());
        let group_height = names * BAR + BAR_GAP;
        let height = TOP + precise(self.groups.len()) * group_height + 44.0;
        let x = Axis::over(
            values.into_iter(),
            Scale::Linear,
            BAR_LEFT,
            WIDTH - BAR_RIGHT,
        );
        let mut svg = Svg::new(WIDTH, height);
        svg.text(12.0, 24.0, "start", 16, &self.title);
        for (index, name) in self.names.iter().enumerate() {
            svg.legend(index, COLORS[index % COLORS.len()], name);
        }
        let bottom = height - 40.0;
        for (value, label) in x.ticks() {
            let at = x.place(value);
            svg.line((at, TOP), (at, bottom), "#e4e4e4");
            svg.text(at, bottom + 16.0, "middle", 11, &label);
        }
        svg.text(
            f64::midpoint(BAR_LEFT, WIDTH - BAR_RIGHT),
            height - 6.0,
            "middle",
            12,
            &self.unit,
        );
        for (row, group) in self.groups.iter().enumerate() {
            let top = TOP + precise(row) * group_height + BAR_GAP / 2.0;
            svg.text(
                BAR_LEFT - 8.0,
                top + names * BAR / 2.0 + 4.0,
                "end",
                11,
                &group.label,
            );
            let mut end = BAR_LEFT;
            for (index, bar) in group.bars.iter().enumerate() {
                let Some(bar) = bar.filter(|bar| bar.value.is_finite()) else {
                    continue;
                };
                let at = top + precise(index) * BAR;
                let to = x.place(bar.value.max(0.0));
                svg.push(format_args!(
                    "<rect x=\"{BAR_LEFT:.1}\" y=\"{at:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{}\"/>",
                    (to - BAR_LEFT).max(0.5),
                    BAR - 2.0,
                    COLORS[index % COLORS.len()]
                ));
                let mut right = to;
                if let Some((low, high)) = bar.spread {
                    let middle = at + BAR / 2.0 - 1.0;
                    right = x.place(high.max(bar.value));
                    svg.line((x.place(low.max(0.0)), middle), (right, middle), "#333333");
                }
                svg.text(right + 4.0, at + BAR - 4.0, "start", 10, &short(bar.value));
                end = end.max(right);
            }
            svg.text(
                WIDTH - 8.0,
                top + names * BAR / 2.0 + 4.0,
                "end",
                11,
                &group.note,
            );
        }
        Some(svg.end())
    }
}

struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// Over all values, drawn between two places.
    fn over(values: impl Iterator<Item = f64>, scale: Scale, from: f64, to: f64) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values {
            low = low.min(value);
            high = high.max(value);
        }
        match scale {
            Scale::Linear => {
                low = low.min(0.0);
                let step = nice((high - low) / 5.0);
                high = ((high / step).ceil() * step).max(step);
            }
            Scale::Log => {
                low = 10_f64.powf(low.log10().floor());
                high = 10_f64.powf(high.log10().ceil()).max(low * 10.0);
            }
            Scale::Nines => low = 0.0,
        }
        Self {
            scale,
            low,
            high,
            from,
            to,
        }
    }

    fn place(&self, value: f64) -> f64 {
        let share = (self.bend(value) - self.bend(self.low))
            / (self.bend(self.high) - self.bend(self.low)).max(1e-12);
        self.from + share * (self.to - self.from)
    }

    fn bend(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => value,
            Scale::Log => value.log10(),
            Scale::Nines => -((100.0 - value).max(1e-5) / 100.0).log10(),
        }
    }

    fn ticks(&self) -> Vec<(f64, String)> {
        let mut ticks = Vec::new();
        match self.scale {
            Scale::Linear => {
                let step = nice((self.high - self.low) / 5.0);
                let mut value = self.low;
                while value <= self.high + step * 0.001 && ticks.len() < 20 {
                    ticks.push((value, short(value)));
                    value += step;
                }
            }
            Scale::Log => {
                let mut value = self.low;
                while value <= self.high * 1.001 && ticks.len() < 20 {
                    ticks.push((value, short(value)));
                    value *= 10.0;
                }
            }
            Scale::Nines => {
                let all = [0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999, 99.9999];
                ticks.extend(
                    all.into_iter()
                        .filter(|value| *value <= self.high)
                        .map(|value| (value, format!("{value}"))),
                );
            }
        }
        ticks
    }
}

/// 1, 2 or 5 times a power of ten, not below `step`.
fn nice(step: f64) -> f64 {
    if step <= 0.0 || !step.is_finite() {
        return 1.0;
    }
    let power = 10_f64.powf(step.log10().floor());
    let digit = step / power;
    let digit = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|nice| digit <= *nice + 1e-9);
    digit.unwrap_or(10.0) * power
}

/// A number as people read it.
pub fn short(value: f64) -> String {
    let size = value.abs();
    match () {
        () if size == 0.0 => "0".to_owned(),
        () if size >= 1e9 => format!("{}G", trimmed(value / 1e9)),
        () if size >= 1e6 => format!("{}M", trimmed(value / 1e6)),
        () if size >= 1e4 => format!("{}k", trimmed(value / 1e3)),
        () if size >= 100.0 => format!("{value:.0}"),
        () if size >= 0.01 => trimmed(value),
        () => format!("{value:.1e}"),
    }
}

fn trimmed(value: f64) -> String {
    let text = if value.abs() >= 100.0 {
        format!("{value:.0}")
    } else if value.abs() >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.3}")
    };
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

struct Svg {
    text: String,
}

impl Svg {
    fn new(width: f64, height: f64) -> Self {
        let mut svg = Self {
            text: String::new(),
        };
        svg.push(format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
             font-family=\"system-ui, sans-serif\" fill=\"#222222\">"
        ));
        svg.push(format_args!(
            "<rect width=\"{width:.0}\" height=\"{height:.0}\" fill=\"#ffffff\"/>"
        ));
        svg
    }

    fn push(&mut self, piece: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{piece}");
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64), color: &str) {
        self.push(format_args!(
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{color}\"/>",
            from.0, from.1, to.0, to.1
        ));
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, size: u32, text: &str) {
        self.push(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" text-anchor=\"{anchor}\">{}</text>",
            escaped(text)
        ));
    }

    fn legend(&mut self, index: usize, color: &str, name: &str) {
        let column = precise(index % 4);
        let (x, y) = (
            WIDTH - RIGHT - 660.0 + column * 170.0,
            36.0 + precise(index / 4) * 14.0,
        );
        self.push(format_args!(
            "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"10\" height=\"10\" fill=\"{color}\"/>",
            y - 9.0
        ));
        self.text(x + 14.0, y, "start", 11, name);
    }

    fn end(mut self) -> String {
        self.text.push_str("</svg>\n");
        self.text
    }
}

/// Text within XML. Control characters have no place there at all.
fn escaped(text: &str) -> String {
    let mut safe = String::new();
    for character in text.chars() {
        match character {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '"' => safe.push_str("&quot;"),
            character if character.is_control() => safe.push(' '),
            character => safe.push(character),
        }
    }
    safe
}

/// Small counts.
fn precise(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 76.0;
const BELOW: f64 = 48.0;
const BAR: f64 = 15.0;
const BAR_GAP: f64 = 12.0;
const BAR_LEFT: f64 = 400.0;
const BAR_RIGHT: f64 = 170.0;
/// Told apart also by who does not see red and green alike (Okabe and Ito).
const COLORS: [&str; 8] = [
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#666666",
];
