//! Supersteps as a picture: panels with one horizontal axis, for what there was to do, how long it took, and how far from the end
//! it was.

use fluvial_core::{Error, Result, SuperstepReport};
use fluvial_iterate::graph::GraphSummary;
use indicatif::HumanCount;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use std::ops::Range;

const WIDTH: u32 = 960;
const TITLE: u32 = 44;
const PANEL: u32 = 230;
const FONT: &str = "sans-serif";

const INK: RGBColor = RGBColor(40, 44, 52);
const PALE: RGBColor = RGBColor(226, 229, 234);
const WORKSET: RGBColor = RGBColor(31, 105, 178);
const SECONDS: RGBColor = RGBColor(214, 124, 28);
const CONVERGENCE: RGBColor = RGBColor(46, 139, 87);

/// Most points of a panel: of more supersteps, several are one point.
const POINTS: usize = 600;

/// Up to so many points each has a mark of its own.
const MARKED: usize = 60;

/// Places for supersteps that there are at least, so that a few do not fill the picture.
const FEWEST: f64 = 8.0;

/// Ratio of the largest value to the smallest from which an axis is logarithmic.
const WIDE: f64 = 50.0;

/// Supersteps that are one point: the last one's number, the largest workset, the mean time, the last convergence.
struct Point {
    superstep: f64,
    workset: f64,
    seconds: f64,
    convergence: Option<f64>,
}

/// The picture as SVG.
pub fn draw(name: &str, summary: &GraphSummary) -> Result<String> {
    let points = points(&summary.supersteps);
    let converges = points.iter().any(|point| point.convergence.is_some_and(|c| c > 0.0));
    let panels = if converges { 3 } else { 2 };
    let mut svg = String::new();
    let root = SVGBackend::with_string(&mut svg, (WIDTH, TITLE + panels * PANEL)).into_drawing_area();
    paint(&root, name, summary, &points, converges).map_err(|e| Error::Plan(format!("--plot: {e}")))?;
    drop(root);
    Ok(svg)
}

type Painted<'a> = std::result::Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn paint<'a>(root: &Area<'a>, name: &str, summary: &GraphSummary, points: &[Point], converges: bool) -> Painted<'a> {
    root.fill(&WHITE)?;
    let (head, body) = root.split_vertically(TITLE);
    let (vertices, edges) = (HumanCount(summary.vertices), HumanCount(summary.edges));
    let count = summary.supersteps.len() as u64;
    let supersteps = if count == 1 { "superstep" } else { "supersteps" };
    let (count, seconds) = (HumanCount(count), summary.seconds);
    let title = format!("{name}: {vertices} vertices, {edges} edges, {count} {supersteps}, {seconds:.3} s");
    head.draw(&Text::new(title, (20, 16), (FONT, 19).into_font().color(&INK)))?;
    let panels = body.split_evenly((if converges { 3 } else { 2 }, 1));
    let last = panels.len() - 1;
    let worksets = Panel { caption: "workset (vertices)", color: WORKSET, bars: false, ends: last == 0, label: counted };
    worksets.paint(&panels[0], points.iter().map(|point| (point.superstep, point.workset)).collect())?;
    let times = Panel { caption: "time of a superstep", color: SECONDS, bars: true, ends: last == 1, label: timed };
    times.paint(&panels[1], points.iter().map(|point| (point.superstep, point.seconds)).collect())?;
    if converges {
        let convergence = Panel { caption: "convergence", color: CONVERGENCE, bars: false, ends: true, label: scientific };
        let values = points.iter().filter_map(|point| Some((point.superstep, point.convergence?)));
        convergence.paint(&panels[2], values.collect())?;
    }
    root.present()
}

fn points(supersteps: &[SuperstepReport]) -> Vec<Point> {
    let together = supersteps.len().div_ceil(POINTS).max(1);
    let point = |some: &[SuperstepReport]| Point {
        superstep: some.last().map_or(0.0, |last| last.superstep as f64),
        workset: some.iter().map(|one| one.workset as f64).fold(0.0, f64::max),
        seconds: some.iter().map(|one| one.seconds).sum::<f64>() / some.len() as f64,
        convergence: some.last().and_then(|last| last.value(SuperstepReport::CONVERGENCE)),
    };
    supersteps.chunks(together).map(point).collect()
}

/// One value over the supersteps.
struct Panel {
    caption: &'static str,
    color: RGBColor,
    bars: bool,
    /// Whether it is the last one, which says what the horizontal axis is.
    ends: bool,
    label: fn(f64) -> String,
}

impl Panel {
    fn paint<'a>(&self, area: &Area<'a>, values: Vec<(f64, f64)>) -> Painted<'a> {
        let positive = || values.iter().map(|(_, value)| *value).filter(|value| *value > 0.0);
        let (least, most) = (positive().fold(f64::INFINITY, f64::min), positive().fold(0.0, f64::max));
        if !self.bars && most > least * WIDE {
            // A logarithmic axis has no zero: what is zero stands on the lowest line.
            let floor = 10f64.powf(least.log10().floor());
            let lifted = values.into_iter().map(|(superstep, value)| (superstep, value.max(floor))).collect();
            return self.paint_over(area, lifted, (floor..most * 1.5).log_scale(), floor);
        }
        self.paint_over(area, values, 0.0..if most > 0.0 { most * 1.1 } else { 1.0 }, 0.0)
    }

    fn paint_over<'a, Y>(&self, area: &Area<'a>, values: Vec<(f64, f64)>, vertical: Y, floor: f64) -> Painted<'a>
    where
        Y: AsRangedCoord<Value = f64>,
        Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let first = values.first().map_or(1.0, |(superstep, _)| *superstep);
        let last = values.last().map_or(1.0, |(superstep, _)| *superstep);
        let width = if values.len() > 1 { (last - first) / (values.len() - 1) as f64 } else { 1.0 };
        let end = last.max(first + FEWEST - 1.0);
        let horizontal: Range<f64> = first - 0.6 * width..end + 0.6 * width;
        let mut chart = ChartBuilder::on(area)
            .caption(self.caption, (FONT, 15).into_font().color(&INK))
            .margin_right(28)
            .margin_left(8)
            .x_label_area_size(if self.ends { 44 } else { 26 })
            .y_label_area_size(70)
            .build_cartesian_2d(horizontal, vertical)?;
        let label = self.label;
        let mut mesh = chart.configure_mesh();
        mesh.disable_x_mesh().bold_line_style(PALE).light_line_style(WHITE).axis_style(INK).y_labels(6).x_labels(14);
        mesh.label_style((FONT, 13).into_font().color(&INK)).axis_desc_style((FONT, 14).into_font().color(&INK));
        let (whole, valued) = (|x: &f64| if x.fract() == 0.0 { format!("{x}") } else { String::new() }, |y: &f64| label(*y));
        mesh.x_label_formatter(&whole).y_label_formatter(&valued);
        if self.ends {
            mesh.x_desc("superstep");
        }
        mesh.draw()?;
        if self.bars {
            let half = width * 0.36;
            let bar = |(x, y): (f64, f64)| Rectangle::new([(x - half, floor), (x + half, y)], self.color.mix(0.85).filled());
            chart.draw_series(values.into_iter().map(bar))?;
            return Ok(());
        }
        chart.draw_series(AreaSeries::new(values.clone(), floor, self.color.mix(0.12)))?;
        chart.draw_series(LineSeries::new(values.clone(), self.color.stroke_width(2)))?;
        if values.len() <= MARKED {
            chart.draw_series(values.into_iter().map(|at| Circle::new(at, 3, self.color.filled())))?;
        }
        Ok(())
    }
}

/// `1.5 M`.
fn counted(value: f64) -> String {
    let (scaled, unit) = match value {
        v if v >= 1e9 => (v / 1e9, " G"),
        v if v >= 1e6 => (v / 1e6, " M"),
        v if v >= 1e3 => (v / 1e3, " k"),
        v => (v, ""),
    };
    format!("{}{unit}", short(scaled))
}

/// `1.5 ms`.
fn timed(seconds: f64) -> String {
    let (scaled, unit) = match seconds {
        0.0 => return "0".into(),
        s if s < 1e-3 => (s * 1e6, "µs"),
        s if s < 1.0 => (s * 1e3, "ms"),
        s => (s, "s"),
    };
    format!("{} {unit}", short(scaled))
}

fn scientific(value: f64) -> String {
    format!("{value:.0e}")
}

/// No more than two digits behind the point, and none that say nothing.
fn short(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(supersteps: u64, convergence: bool) -> GraphSummary {
        let superstep = |n: u64| SuperstepReport {
            superstep: n,
            workset: 1_000_000 / (n * n),
            values: convergence.then(|| (SuperstepReport::CONVERGENCE.to_owned(), 0.5f64.powi(n as i32))).into_iter().collect(),
            seconds: 0.04 / n as f64,
        };
        GraphSummary {
            vertices: 1 << 20,
            edges: 1 << 24,
            seconds: 0.9,
            supersteps: (1..=supersteps).map(superstep).collect(),
            ..GraphSummary::default()
        }
    }

    #[test]
    fn any_number_of_supersteps_is_drawn() {
        for (count, convergence) in [(0, false), (1, false), (2, true), (20, true), (5000, false)] {
            let svg = draw("wcc", &summary(count, convergence)).unwrap();
            assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{count}");
            assert!(svg.contains("wcc: 1,048,576 vertices, 16,777,216 edges"), "{count}");
            assert_eq!(svg.contains("convergence"), convergence && count > 0);
            assert!(svg.len() < 1 << 20, "{count}: {} bytes", svg.len());
        }
    }

    #[test]
    fn labels_are_short() {
        assert_eq!([0.0, 20.0, 1500.0, 2e6, 3.25e9].map(counted), ["0", "20", "1.5 k", "2 M", "3.25 G"]);
        assert_eq!([0.0, 2e-6, 0.0015, 12.5].map(timed), ["0", "2 µs", "1.5 ms", "12.5 s"]);
    }
}
