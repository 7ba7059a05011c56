//! Charts as SVG. Each is readable alone, in light and in dark: it brings its styles, and asks the reader's system for the
//! colours. No chart needs a script or a font.

use std::fmt::Write as _;

/// Width of a chart, and height of its plot, in pixels.
pub(super) const WIDTH: f64 = 720.0;
const PLOT_HEIGHT: f64 = 200.0;
/// Room for names at the left, and for the last tick's name at the right.
const LEFT: f64 = 150.0;
const RIGHT: f64 = 28.0;
/// Height of the title with the legend, of the names below, and of a row.
const TOP: f64 = 52.0;
const BOTTOM: f64 = 44.0;
const ROW: f64 = 24.0;
/// About how many ticks an axis has.
const TICKS: f64 = 5.0;

/// The style of all charts. The classes `s0` and `s1` are the first and the second simulation.
pub(super) const STYLE: &str = "\
svg.chart{font:13px system-ui,sans-serif;fill:#1b1f24}\
.chart .t{font-weight:600;font-size:15px}.chart .g{stroke:#d0d7de;stroke-width:1}.chart .m{fill:#57606a}\
.chart .l{fill:none;stroke-width:2}.chart .s0{stroke:#0969da;fill:#0969da}.chart .s1{stroke:#bc4c00;fill:#bc4c00}\
.chart .l.s0,.chart .l.s1{fill:none}.chart .b{fill:#fff}\
@media(prefers-color-scheme:dark){svg.chart{fill:#e6edf3}.chart .g{stroke:#3d444d}.chart .m{fill:#9198a1}\
.chart .s0{stroke:#4493f8;fill:#4493f8}.chart .s1{stroke:#f0883e;fill:#f0883e}.chart .b{fill:#0d1117}}";

/// A chart: its SVG without the outer element, and its height.
pub(super) struct Chart {
    pub(super) title: &'static str,
    pub(super) body: String,
    pub(super) height: f64,
}

/// Values of one simulation.
pub(super) struct Series {
    pub(super) name: String,
    /// x and y, x ascending.
    pub(super) points: Vec<(f64, f64)>,
}

/// A row of a chart of ranges: its name, the simulation (a position), and three ascending values.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) of: usize,
    pub(super) values: Option<[f64; 3]>,
}

impl Chart {
    /// The chart as a document of its own, or as a part of a page.
    pub(super) fn svg(&self, y: f64) -> String {
        format!(
            "<svg class=\"chart\" xmlns=\"http://www.w3.org/2000/svg\" y=\"{y:.0}\" width=\"{WIDTH:.0}\" height=\"{0:.0}\" \
             viewBox=\"0 0 {WIDTH:.0} {0:.0}\" role=\"img\" aria-label=\"{1}\">{2}</svg>\n",
            self.height,
            escape(self.title),
            self.body
        )
    }
}

/// Lines over a common axis. `steps`: a value holds until the next one.
pub(super) fn lines(
    title: &'static str,
    x_name: &str,
    series: &[Series],
    steps: bool,
    y_max: Option<f64>,
) -> Chart {
    let points = || series.iter().flat_map(|series| &series.points);
    let x_max = points().map(|(x, _)| *x).fold(0.0, f64::max);
    let y_max = y_max.unwrap_or_else(|| points().map(|(_, y)| *y).fold(1.0, f64::max));
    let (x_axis, y_axis) = (Axis::to(x_max), Axis::to(y_max));
    let height = TOP + PLOT_HEIGHT + BOTTOM;
    let mut body = start(title, series.iter().map(|series| series.name.as_str()));
    let y_at = |y: f64| TOP + PLOT_HEIGHT * (1.0 - y / y_axis.end);
    for tick in y_axis.ticks() {
        let y = y_at(tick);
        let _ = write!(body, "<path class=\"g\" d=\"M{LEFT} {y:.1}H{:.1}\"/>", WIDTH - RIGHT);
        text(&mut body, "m", LEFT - 8.0, y + 4.0, "end", &y_axis.name(tick));
    }
    x_names(&mut body, &x_axis, TOP + PLOT_HEIGHT, x_name);
    for (at, series) in series.iter().enumerate().filter(|(_, series)| !series.points.is_empty()) {
        let mut path = String::new();
        let mut last_y = 0.0;
        for (at, (x, y)) in series.points.iter().enumerate() {
            let (x, y) = (x_axis.x(*x), y_at(*y));
            let _ = match (at, steps) {
                (0, _) => write!(path, "M{x:.1} {y:.1}"),
                (_, true) => write!(path, "H{x:.1}V{y:.1}"),
                (_, false) => write!(path, "L{x:.1} {y:.1}"),
            };
            last_y = y;
        }
        if steps {
            // The last value holds to the end of the axis.
            let _ = write!(path, "V{last_y:.1}H{:.1}", WIDTH - RIGHT);
        }
        let _ = write!(body, "<path class=\"l s{at}\" d=\"{path}\"/>");
    }
    Chart { title, body, height }
}

/// A row for each range: from the first value (a dot) over the second (a ring) to the third (a bar).
pub(super) fn ranges(title: &'static str, x_name: &str, names: &[&str], rows: &[Row]) -> Chart {
    let most = rows.iter().filter_map(|row| row.values).map(|[_, _, last]| last).fold(0.0, f64::max);
    let axis = Axis::to(most);
    let plot = ROW * rows.len() as f64;
    let mut body = start(title, names.iter().copied());
    for tick in axis.ticks() {
        let _ = write!(body, "<path class=\"g\" d=\"M{:.1} {TOP}V{:.1}\"/>", axis.x(tick), TOP + plot);
    }
    for (at, row) in rows.iter().enumerate() {
        let y = TOP + ROW * (at as f64 + 0.5);
        if at == 0 || rows[at - 1].name != row.name {
            text(&mut body, "", LEFT - 10.0, y + 4.0, "end", &row.name);
        }
        let Some(values) = row.values else {
            text(&mut body, "m", LEFT + 6.0, y + 4.0, "start", "no match");
            continue;
        };
        let [low, middle, high] = values.map(|value| axis.x(value));
        let _ = write!(
            body,
            "<g class=\"s{}\"><title>{}: {:.1}, {:.1}, {:.1}</title><path class=\"l s{0}\" d=\"M{low:.1} {y:.1}H{high:.1}M{high:.1} \
             {:.1}v12\"/><circle cx=\"{middle:.1}\" cy=\"{y:.1}\" r=\"4\" class=\"s{0} b\" stroke-width=\"2\"/>\
             <circle cx=\"{low:.1}\" cy=\"{y:.1}\" r=\"5\"/></g>",
            row.of,
            escape(&row.name),
            values[0],
            values[1],
            values[2],
            y - 6.0,
        );
    }
    x_names(&mut body, &axis, TOP + plot, x_name);
    Chart { title, body, height: TOP + plot + BOTTOM }
}

/// Columns side by side, for each name one of each series.
pub(super) fn columns(
    title: &'static str,
    x_name: &str,
    names: &[String],
    series: &[(String, Vec<f64>)],
) -> Chart {
    let most = series.iter().flat_map(|(_, values)| values).copied().fold(0.0, f64::max);
    let axis = Axis::to(most);
    let mut body = start(title, series.iter().map(|(name, _)| name.as_str()));
    let y_at = |value: f64| TOP + PLOT_HEIGHT * (1.0 - value / axis.end);
    for tick in axis.ticks() {
        let y = y_at(tick);
        let _ = write!(body, "<path class=\"g\" d=\"M{LEFT} {y:.1}H{:.1}\"/>", WIDTH - RIGHT);
        text(&mut body, "m", LEFT - 8.0, y + 4.0, "end", &axis.name(tick));
    }
    let step = (WIDTH - LEFT - RIGHT) / names.len().max(1) as f64;
    let width = step * 0.8 / series.len().max(1) as f64;
    for (at, name) in names.iter().enumerate() {
        let x = LEFT + step * at as f64;
        text(&mut body, "m", x + step / 2.0, TOP + PLOT_HEIGHT + 18.0, "middle", name);
        for (of, (_, values)) in series.iter().enumerate() {
            let value = values.get(at).copied().unwrap_or_default();
            let (left, y) = (x + step * 0.1 + width * of as f64, y_at(value));
            let _ = write!(
                body,
                "<rect class=\"s{of}\" x=\"{left:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{:.1}\"><title>{}: {value:.1}</title></rect>",
                TOP + PLOT_HEIGHT - y,
                escape(name),
            );
        }
    }
    text(&mut body, "m", LEFT + (WIDTH - LEFT - RIGHT) / 2.0, TOP + PLOT_HEIGHT + 36.0, "middle", x_name);
    Chart { title, body, height: TOP + PLOT_HEIGHT + BOTTOM }
}

/// An axis from 0 to a round number.
struct Axis {
    step: f64,
    end: f64,
}

impl Axis {
    fn to(most: f64) -> Self {
        let most = if most > 0.0 { most } else { 1.0 };
        let rough = most / TICKS;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .map(|factor| factor * power)
            .into_iter()
            .find(|step| *step >= rough * 0.999_999);
        let step = step.unwrap_or(10.0 * power);
        Self { step, end: (most / step - 1e-9).ceil().max(1.0) * step }
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        let count = (self.end / self.step).round() as usize;
        (0..=count).map(|at| at as f64 * self.step)
    }

    fn name(&self, tick: f64) -> String {
        // Logarithms are not exact.
        let decimals = (-(self.step.log10() + 1e-9).floor()).max(0.0) as usize;
        format!("{tick:.decimals$}")
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * value / self.end
    }
}

fn x_names(body: &mut String, axis: &Axis, y: f64, name: &str) {
    for tick in axis.ticks() {
        text(body, "m", axis.x(tick), y + 18.0, "middle", &axis.name(tick));
    }
    text(body, "m", LEFT + (WIDTH - LEFT - RIGHT) / 2.0, y + 36.0, "middle", name);
}

/// The title, and the names of the simulations if there are several.
fn start<'a>(title: &str, names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.collect();
    let mut body = String::new();
    text(&mut body, "t", 0.0, 18.0, "start", title);
    if names.len() > 1 {
        let step = (WIDTH - LEFT - RIGHT) / names.len() as f64;
        for (at, name) in names.iter().enumerate() {
            let x = LEFT + step * at as f64;
            let _ = write!(body, "<rect class=\"s{at}\" x=\"{x:.1}\" y=\"30\" width=\"12\" height=\"12\"/>");
            text(&mut body, "", x + 18.0, 41.0, "start", name);
        }
    }
    body
}

fn text(body: &mut String, class: &str, x: f64, y: f64, anchor: &str, text: &str) {
    let text = escape(text);
    let _ = write!(
        body,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
    );
}

/// A text that means itself in XML and HTML.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        for (most, ticks) in [
            (0.0, "0.0 0.2 0.4 0.6 0.8 1.0"),
            (1.0, "0.0 0.2 0.4 0.6 0.8 1.0"),
            (100.0, "0 20 40 60 80 100"),
            (101.0, "0 50 100 150"),
            (7.3, "0 2 4 6 8"),
            (0.03, "0.00 0.01 0.02 0.03"),
        ] {
            let axis = Axis::to(most);
            let names: Vec<_> = axis.ticks().map(|tick| axis.name(tick)).collect();
            assert_eq!(names.join(" "), ticks, "{most}");
        }
    }

    #[test]
    fn texts_cannot_break_a_chart() {
        let rows = [Row { name: "<a&\"b\">".into(), of: 0, values: Some([0.0, 1.0, 2.0]) }];
        let svg = ranges("title", "seconds", &["one", "<other>"], &rows).svg(0.0);
        assert!(svg.contains("&lt;a&amp;&quot;b&quot;&gt;") && !svg.contains("<a&"), "{svg}");
        assert!(svg.contains("&lt;other&gt;") && !svg.contains("<other"), "{svg}");
    }
}
