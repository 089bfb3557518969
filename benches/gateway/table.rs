//! The table that a person reads.

use crate::results::{Line, Results, Spread};
use crate::subject::Variant;

/// All rows that were measured.
pub(crate) fn table(results: &Results) -> String {
    let mut out = String::from("\n");
    for condition in &results.conditions {
        out.push_str(condition);
        out.push('\n');
    }
    let seconds = results.length.as_secs_f64();
    out.push_str(&format!(
        "{} rounds of {seconds} s; medians, least..most; ~ no difference that was seen\n",
        results.rounds
    ));
    let has = |variant| {
        results
            .lines
            .iter()
            .any(|line| line.spread(variant).is_some())
    };
    let other = has(Variant::Other);
    out.push_str(&format!(
        "\n{:40}{:>5}{:>9} {:17}{:>5} {:>10} {:17}{:>6}",
        "", "", "bare", "", "A/A", "dashgate", "", "ratio"
    ));
    if other {
        out.push_str(&format!("{:>10} {:17}{:>6}", "other", "", "ratio"));
    }
    let mut row = None;
    for line in &results.lines {
        if row != Some(line.row) {
            row = Some(line.row);
            let (name, title) = line.row.title();
            out.push_str(&format!("\n{name}: {title}\n"));
        }
        out.push_str(&one(line, other));
    }
    for fault in &results.faults {
        out.push_str(&format!("\nFAILED {fault}\n"));
    }
    out
}

fn one(line: &Line, other: bool) -> String {
    let mut out = format!("  {:38}{:>5}", line.what, line.unit);
    out.push_str(&cell(line.spread(Variant::Bare), 9));
    let noise = line
        .ratio(Variant::Again)
        .map(|ratio| format!("{ratio:.2}"));
    out.push_str(&format!("{:>5} ", noise.unwrap_or_default()));
    out.push_str(&cell(line.spread(Variant::Dashgate), 10));
    out.push_str(&ratio(line, Variant::Dashgate));
    if other {
        out.push_str(&cell(line.spread(Variant::Other), 10));
        out.push_str(&ratio(line, Variant::Other));
    }
    if let Some(direct) = line.spread(Variant::Direct) {
        out.push_str(&format!("  direct {}", short(direct.median)));
    }
    format!("{}\n", out.trim_end())
}

fn cell(spread: Option<Spread>, width: usize) -> String {
    let Some(spread) = spread else {
        return " ".repeat(width + 18);
    };
    let range = if spread.least < spread.most {
        format!("{}..{}", short(spread.least), short(spread.most))
    } else {
        String::new()
    };
    format!("{:>width$} {range:17}", short(spread.median))
}

fn ratio(line: &Line, variant: Variant) -> String {
    let Some(ratio) = line.ratio(variant) else {
        return " ".repeat(6);
    };
    let mark = if line.is_noise(variant) { "~" } else { "" };
    format!("{:>6}", format!("{mark}{ratio:.2}"))
}

/// A number with three digits that mean something.
pub(crate) fn short(number: f64) -> String {
    match number.abs() {
        size if size >= 100.0 => format!("{number:.0}"),
        size if size >= 10.0 => format!("{number:.1}"),
        size if size >= 1.0 => format!("{number:.2}"),
        _ => format!("{number:.3}"),
    }
}
