//! The ratios as a picture: one bar for each, on a scale where twice as much is one step.

use crate::results::{Line, Results};
use crate::subject::Variant;

/// Where the bars begin, how wide they all may be, how high one is, in pixels.
const LEFT: f64 = 250.0;
const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 30.0;
const TOP: f64 = 84.0;

/// Colours for paper and for the night; the same names in both.
const STYLE: &str = "\
<style>
  svg { color-scheme: light dark }
  text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .ground { fill: #ffffff }
  .small { font-size: 11px; fill: #59636e }
  .grid { stroke: #d1d9e0 }
  .one { stroke: #59636e; stroke-width: 1.5 }
  .ours { fill: #0969da }
  .other { fill: #bf8700 }
  .noise { fill: #818b98; fill-opacity: 0.4 }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc }
    .ground { fill: #0d1117 }
    .small { fill: #9198a1 }
    .grid { stroke: #3d444d }
    .one { stroke: #9198a1 }
    .ours { fill: #4493f8 }
    .other { fill: #d29922 }
  }
</style>
";

/// Where a ratio stands.
struct Scale {
    /// The powers of two at both ends.
    from: f64,
    to: f64,
}

impl Scale {
    fn of(ratios: impl Iterator<Item = f64>) -> Self {
        let mut scale = Self {
            from: -1.0,
            to: 2.0,
        };
        for ratio in ratios {
            scale.from = scale.from.min(ratio.log2().floor()).max(-8.0);
            scale.to = scale.to.max(ratio.log2().ceil()).min(10.0);
        }
        scale
    }

    fn at(&self, ratio: f64) -> f64 {
        let step = ratio.log2().clamp(self.from, self.to);
        LEFT + (step - self.from) / (self.to - self.from) * WIDTH
    }
}

/// Draws it.
pub(crate) fn picture(results: &Results) -> String {
    let lines: Vec<&Line> = results
        .lines
        .iter()
        .filter(|line| line.drawn && line.ratio(Variant::Dashgate).is_some())
        .collect();
    let ratios = lines.iter().flat_map(|line| {
        let of = [Variant::Dashgate, Variant::Other, Variant::Again];
        of.map(|variant| line.ratio(variant))
    });
    let scale = Scale::of(ratios.flatten());
    let bottom = TOP + HEIGHT * lines.len() as f64;
    let (width, height) = (LEFT + WIDTH + 90.0, bottom + 30.0);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
         aria-label=\"dashgate beside a bare gateway\">\n{STYLE}\
         <rect class=\"ground\" width=\"100%\" height=\"100%\"/>\n"
    );
    let head = "dashgate, divided by a bare gateway without features";
    out.push_str(&text(16.0, 28.0, "", head));
    let machine = results.conditions.first().map_or("", String::as_str);
    out.push_str(&text(16.0, 46.0, "small", machine));
    let key = "Further left is better. The grey part around 1 is noise: the bare gateway, \
               divided by itself.";
    out.push_str(&text(16.0, 62.0, "small", key));
    grid(&scale, bottom, &mut out);
    for (at, line) in lines.iter().enumerate() {
        bar(line, &scale, TOP + HEIGHT * at as f64, &mut out);
    }
    out.push_str("</svg>\n");
    out
}

fn grid(scale: &Scale, bottom: f64, out: &mut String) {
    let mut step = scale.from;
    while step <= scale.to {
        let ratio = step.exp2();
        let (x, class) = (scale.at(ratio), if step == 0.0 { "one" } else { "grid" });
        out.push_str(&format!(
            "<line class=\"{class}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{}\" y2=\"{bottom}\"/>\n",
            TOP - 6.0
        ));
        out.push_str(&text(x - 8.0, bottom + 18.0, "small", &format!("{ratio}")));
        step += 1.0;
    }
}

fn bar(line: &Line, scale: &Scale, top: f64, out: &mut String) {
    let (name, _) = line.row.title();
    let label = format!("{name}: {}", line.what);
    out.push_str(&text(16.0, top + 15.0, "", &label));
    let mut place = |class: &str, y: f64, height: f64, from: f64, to: f64| {
        let (from, to) = (scale.at(from.min(to)), scale.at(from.max(to)));
        let width = (to - from).max(1.5);
        out.push_str(&format!(
            "<rect class=\"{class}\" x=\"{from:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" \
             height=\"{height}\" rx=\"1.5\"/>\n"
        ));
        to
    };
    let two = line.ratio(Variant::Other).is_some();
    let height = if two { 8.0 } else { 14.0 };
    let mut labels = Vec::new();
    if let Some(ratio) = line.ratio(Variant::Dashgate) {
        let end = place("ours", top + 3.0, height, 1.0, ratio);
        labels.push((end, top + 14.0, ratio, line.is_noise(Variant::Dashgate)));
    }
    if let Some(ratio) = line.ratio(Variant::Other) {
        place("other", top + 13.0, height, 1.0, ratio);
    }
    if let Some(noise) = line.ratio(Variant::Again) {
        place("noise", top, 20.0, noise, 1.0 / noise);
    }
    for (end, y, ratio, noise) in labels {
        let mark = if noise { " ~" } else { "" };
        let number = format!("{ratio:.2}{mark}");
        out.push_str(&text(end.max(scale.at(1.0)) + 8.0, y, "small", &number));
    }
}

fn text(x: f64, y: f64, class: &str, words: &str) -> String {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\">{words}</text>\n")
}
