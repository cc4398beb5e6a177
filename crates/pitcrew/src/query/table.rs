//! The answer at an instant: a line for each series. Labels that all series have alike are said once.

use std::collections::BTreeSet;

use super::answer::{Data, Labels, Points, Sample, metric};
use super::time;
use crate::output::{BOLD, Cell, FAINT, cell, columns, painted};

/// To the millisecond, since samples of a window may be close to each other.
const TIME: &str = "%Y-%m-%d %H:%M:%S%.3f";

pub(super) fn table(data: &Data) -> String {
    match data {
        Data::Scalar((_, value)) | Data::String((_, value)) => value.clone(),
        Data::Vector(samples) => vector(samples),
        Data::Matrix(series) => matrix(series),
    }
}

fn vector(samples: &[Sample]) -> String {
    let value = |sample: &Sample| match (&sample.value, &sample.histogram) {
        (Some((_, value)), _) => value.clone(),
        (None, Some((_, histogram))) => histogram.text(),
        (None, None) => String::new(),
    };
    match samples {
        [] => painted(FAINT, "no series"),
        [only] => format!("{}  {}", metric(&only.metric), painted(BOLD, &value(only))),
        several => {
            let labels: Vec<&Labels> = several.iter().map(|sample| &sample.metric).collect();
            let names = differing(&labels);
            let mut rows = vec![header(&names)];
            for sample in several {
                let mut row = label_cells(&names, &sample.metric);
                row.push(cell(value(sample)).style(BOLD).aligned_right());
                rows.push(row);
            }
            alike(&labels, &names) + &columns(&rows)
        }
    }
}

/// Names of labels that tell the series apart.
fn differing(series: &[&Labels]) -> BTreeSet<String> {
    let names: BTreeSet<&String> = series.iter().flat_map(|labels| labels.keys()).collect();
    let differ = |name: &&&String| {
        series
            .iter()
            .any(|labels| labels.get(**name) != series[0].get(**name))
    };
    names
        .iter()
        .filter(differ)
        .map(|name| (*name).clone())
        .collect()
}

fn alike(series: &[&Labels], differing: &BTreeSet<String>) -> String {
    let mut common = series[0].clone();
    common.retain(|name, _| !differing.contains(name));
    match common.is_empty() {
        true => String::new(),
        false => format!("{}\n", painted(FAINT, &format!("all: {}", metric(&common)))),
    }
}

fn header(names: &BTreeSet<String>) -> Vec<Cell> {
    let mut row: Vec<Cell> = names.iter().map(|name| cell(name).style(FAINT)).collect();
    row.push(cell("value").style(FAINT).aligned_right());
    row
}

fn label_cells(names: &BTreeSet<String>, labels: &Labels) -> Vec<Cell> {
    let values = names
        .iter()
        .map(|name| labels.get(name).map_or("", String::as_str));
    values.map(cell).collect()
}

/// The samples of a window, each on a line of its own.
fn matrix(series: &[Points]) -> String {
    if series.is_empty() {
        return painted(FAINT, "no series");
    }
    let mut text = String::new();
    for points in series {
        text.push_str(&painted(BOLD, &metric(&points.metric)));
        text.push('\n');
        let floats = points.values.iter().map(|(at, value)| (*at, value.clone()));
        let histograms = points
            .histograms
            .iter()
            .map(|(at, histogram)| (*at, histogram.text()));
        let mut lines: Vec<(f64, String)> = floats.chain(histograms).collect();
        lines.sort_by(|left, right| left.0.total_cmp(&right.0));
        let rows: Vec<Vec<Cell>> = lines
            .iter()
            .map(|(at, value)| {
                let at =
                    time::milliseconds(*at).map_or_else(String::new, |at| time::local(at, TIME));
                vec![
                    cell(format!("  {at}")).style(FAINT),
                    cell(value).aligned_right(),
                ]
            })
            .collect();
        text.push_str(&columns(&rows));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(json: &str) -> String {
        let data: Data = serde_json::from_str(json).unwrap();
        anstream::adapter::strip_str(&table(&data)).to_string()
    }

    #[test]
    fn what_all_series_have_alike_is_said_once() {
        let text = shown(
            r#"{"resultType":"vector","result":[
                {"metric":{"__name__":"up","job":"web","zone":"a"},"value":[1,"1"]},
                {"metric":{"__name__":"up","job":"web","zone":"b"},"value":[1,"0.25"]},
                {"metric":{"__name__":"up","job":"web"},"histogram":[1,{"count":"3","sum":"-2.5","buckets":[[3,"-1","1","3"]]}]}]}"#,
        );
        assert_eq!(
            text,
            "all: up{job=\"web\"}\n\
             zone                        value\n\
             a                               1\n\
             b                            0.25\n      count 3, sum -2.5, [-1,1] 3\n"
        );
    }

    #[test]
    fn one_series_is_one_line_and_none_is_said() {
        let one = r#"{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"web"},"value":[1,"1"]}]}"#;
        assert_eq!(shown(one), "up{job=\"web\"}  1");
        assert_eq!(shown(r#"{"resultType":"vector","result":[]}"#), "no series");
        assert_eq!(
            shown(r#"{"resultType":"scalar","result":[1.5,"+Inf"]}"#),
            "+Inf"
        );
    }
}
