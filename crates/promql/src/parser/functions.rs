//! Every function's name, arguments and result.

use super::ast::ValueType::{self, Range, Scalar, Text, Vector};

/// What the parser must know about a function.
#[derive(Debug, PartialEq)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// The types of its arguments; the last one may repeat.
    pub args: &'static [ValueType],
    /// How many must be given.
    pub least: usize,
    /// How many may be given.
    pub most: usize,
    /// What it yields.
    pub returns: ValueType,
}

const ANY: usize = usize::MAX;

const fn function(name: &'static str, args: &'static [ValueType], returns: ValueType) -> Function {
    Function {
        name,
        args,
        least: args.len(),
        most: args.len(),
        returns,
    }
}

const fn variadic(
    name: &'static str,
    args: &'static [ValueType],
    least: usize,
    most: usize,
) -> Function {
    Function {
        name,
        args,
        least,
        most,
        returns: Vector,
    }
}

pub(super) fn find(name: &str) -> Option<&'static Function> {
    let position = FUNCTIONS.binary_search_by(|function| function.name.cmp(name));
    position.ok().map(|position| &FUNCTIONS[position])
}

/// All functions, by name.
pub static FUNCTIONS: &[Function] = &[
    function("abs", &[Vector], Vector),
    function("absent", &[Vector], Vector),
    function("absent_over_time", &[Range], Vector),
    function("acos", &[Vector], Vector),
    function("acosh", &[Vector], Vector),
    function("asin", &[Vector], Vector),
    function("asinh", &[Vector], Vector),
    function("atan", &[Vector], Vector),
    function("atanh", &[Vector], Vector),
    function("avg_over_time", &[Range], Vector),
    function("ceil", &[Vector], Vector),
    function("changes", &[Range], Vector),
    function("clamp", &[Vector, Scalar, Scalar], Vector),
    function("clamp_max", &[Vector, Scalar], Vector),
    function("clamp_min", &[Vector, Scalar], Vector),
    function("cos", &[Vector], Vector),
    function("cosh", &[Vector], Vector),
    function("count_over_time", &[Range], Vector),
    variadic("day_of_month", &[Vector], 0, 1),
    variadic("day_of_week", &[Vector], 0, 1),
    variadic("day_of_year", &[Vector], 0, 1),
    variadic("days_in_month", &[Vector], 0, 1),
    function("deg", &[Vector], Vector),
    function("delta", &[Range], Vector),
    function("deriv", &[Range], Vector),
    function(
        "double_exponential_smoothing",
        &[Range, Scalar, Scalar],
        Vector,
    ),
    function("end", &[], Scalar),
    function("exp", &[Vector], Vector),
    function("first_over_time", &[Range], Vector),
    function("floor", &[Vector], Vector),
    function("histogram_avg", &[Vector], Vector),
    function("histogram_count", &[Vector], Vector),
    function("histogram_fraction", &[Scalar, Scalar, Vector], Vector),
    function("histogram_quantile", &[Scalar, Vector], Vector),
    variadic("histogram_quantiles", &[Vector, Text, Scalar], 3, 12),
    function("histogram_stddev", &[Vector], Vector),
    function("histogram_stdvar", &[Vector], Vector),
    function("histogram_sum", &[Vector], Vector),
    variadic("hour", &[Vector], 0, 1),
    function("idelta", &[Range], Vector),
    function("increase", &[Range], Vector),
    variadic("info", &[Vector, Vector], 1, 2),
    function("irate", &[Range], Vector),
    variadic("label_join", &[Vector, Text, Text, Text], 3, ANY),
    function("label_replace", &[Vector, Text, Text, Text, Text], Vector),
    function("last_over_time", &[Range], Vector),
    function("ln", &[Vector], Vector),
    function("log10", &[Vector], Vector),
    function("log2", &[Vector], Vector),
    function("mad_over_time", &[Range], Vector),
    function("max_of", &[Scalar, Scalar], Scalar),
    function("max_over_time", &[Range], Vector),
    function("min_of", &[Scalar, Scalar], Scalar),
    function("min_over_time", &[Range], Vector),
    variadic("minute", &[Vector], 0, 1),
    variadic("month", &[Vector], 0, 1),
    function("pi", &[], Scalar),
    function("predict_linear", &[Range, Scalar], Vector),
    function("present_over_time", &[Range], Vector),
    function("quantile_over_time", &[Scalar, Range], Vector),
    function("rad", &[Vector], Vector),
    function("range", &[], Scalar),
    function("rate", &[Range], Vector),
    function("resets", &[Range], Vector),
    variadic("round", &[Vector, Scalar], 1, 2),
    function("scalar", &[Vector], Scalar),
    function("sgn", &[Vector], Vector),
    function("sin", &[Vector], Vector),
    function("sinh", &[Vector], Vector),
    function("sort", &[Vector], Vector),
    variadic("sort_by_label", &[Vector, Text], 1, ANY),
    variadic("sort_by_label_desc", &[Vector, Text], 1, ANY),
    function("sort_desc", &[Vector], Vector),
    function("sqrt", &[Vector], Vector),
    function("start", &[], Scalar),
    function("start_timestamp", &[Vector], Vector),
    function("stddev_over_time", &[Range], Vector),
    function("stdvar_over_time", &[Range], Vector),
    function("step", &[], Scalar),
    function("sum_over_time", &[Range], Vector),
    function("tan", &[Vector], Vector),
    function("tanh", &[Vector], Vector),
    function("time", &[], Scalar),
    function("timestamp", &[Vector], Vector),
    function("ts_of_first_over_time", &[Range], Vector),
    function("ts_of_last_over_time", &[Range], Vector),
    function("ts_of_max_over_time", &[Range], Vector),
    function("ts_of_min_over_time", &[Range], Vector),
    function("vector", &[Scalar], Vector),
    variadic("year", &[Vector], 0, 1),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(FUNCTIONS.is_sorted_by(|left, right| left.name < right.name));
        assert!(find("rate").is_some() && find("nope").is_none());
    }
}
