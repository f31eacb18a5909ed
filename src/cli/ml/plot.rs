//! Lines over windows, as SVG.

use super::report::{self, Figures};
use fluvial_core::{Error, Result};
use plotters::prelude::*;
use std::path::Path;

/// A figure, window by window.
pub struct Series {
    name: &'static str,
    values: Vec<f64>,
}

impl Series {
    /// Those of these figures that are drawn.
    pub fn of(windows: &[Figures]) -> Vec<Self> {
        let one = |name: &'static str| {
            let values: Vec<f64> = windows.iter().filter_map(|w| w.get(name).copied()).collect();
            (!values.is_empty() && values.len() == windows.len()).then_some(Self { name, values })
        };
        // Shares have one scale; of what has none, the loss alone.
        let shares: Vec<Self> = ["accuracy", "kappa"].into_iter().filter_map(one).collect();
        if shares.is_empty() { ["rmse", "loss"].into_iter().filter_map(one).take(1).collect() } else { shares }
    }
}

const SIZE: (u32, u32) = (960, 480);
/// Told apart also without colours: see the legend's order.
const COLOURS: [RGBColor; 3] = [RGBColor(31, 119, 180), RGBColor(214, 96, 31), RGBColor(60, 140, 60)];

/// Draws lines over the number of the record.
pub fn draw(path: &Path, title: &str, series: &[Series], window: u64) -> Result<()> {
    let mut svg = String::new();
    draw_to(&mut svg, title, series, window)
        .map_err(|e| Error::File { path: path.to_owned(), message: format!("cannot draw: {e}") })?;
    report::write_whole(path, svg.as_bytes())
}

fn draw_to(svg: &mut String, title: &str, series: &[Series], window: u64) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let values = || series.iter().flat_map(|s| s.values.iter().copied()).filter(|v| v.is_finite());
    let (least, most) = (values().fold(0.0, f64::min), values().fold(f64::MIN_POSITIVE, f64::max));
    let records = series.iter().map(|s| s.values.len()).max().unwrap_or(0) as f64 * window as f64;
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 18))
        .margin(16)
        .x_label_area_size(36)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..records.max(1.0), least..(most * 1.02))?;
    chart.configure_mesh().x_desc("records").light_line_style(TRANSPARENT).draw()?;
    for (series, colour) in series.iter().zip(COLOURS) {
        let points = series.values.iter().enumerate().map(|(i, v)| ((i as f64 + 1.0) * window as f64, *v));
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
            .label(series.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .border_style(BLACK.mix(0.3))
        .background_style(WHITE)
        .draw()?;
    root.present()?;
    Ok(())
}
