//! Types: what may be an argument of what.

use super::{
    Aggregate, AggregateOp, Binary, BinaryOp, Expr, ExprKind, Function, ParseError, Parser, Span,
    ValueType,
};

impl Parser<'_> {
    pub(super) fn check_type(
        &self,
        expr: &Expr,
        allowed: &[ValueType],
        problem: &str,
    ) -> Result<(), ParseError> {
        let found = expr.value_type();
        if allowed.contains(&found) {
            return Ok(());
        }
        Err(self.error_at(expr.span, format!("{problem}, got {found}")))
    }

    pub(super) fn check_call(
        &self,
        function: &Function,
        args: &[Expr],
        span: Span,
    ) -> Result<(), ParseError> {
        let (least, most) = (function.least, function.most);
        if args.len() < least || args.len() > most {
            let expected = match (least, most) {
                (least, most) if least == most => format!("{least}"),
                (least, usize::MAX) => format!("at least {least}"),
                (least, most) => format!("{least} to {most}"),
            };
            return Err(self.error_at(
                span,
                format!(
                    "expected {expected} argument(s) in call to {:?}, got {}",
                    function.name,
                    args.len()
                ),
            ));
        }
        for (position, arg) in args.iter().enumerate() {
            let last = function.args.len() - 1;
            let wanted = function.args[position.min(last)];
            let found = arg.value_type();
            if wanted != found {
                return Err(self.error_at(
                    arg.span,
                    format!(
                        "expected type {wanted} in call to function {:?}, got {found}",
                        function.name
                    ),
                ));
            }
        }
        if function.name == "info" && args.len() == 2 {
            let labels_only = matches!(
                &args[1].kind,
                ExprKind::Selector(selector) if selector.name.is_none()
            );
            if !labels_only {
                let problem = "expected label selectors only, without a metric's name before them";
                return Err(self.error_at(args[1].span, problem));
            }
        }
        Ok(())
    }

    pub(super) fn check_aggregate(&self, aggregate: &Aggregate) -> Result<(), ParseError> {
        let name = aggregate.op.name();
        let problem = format!("expected type instant vector in aggregation {name:?}");
        self.check_type(&aggregate.expr, &[ValueType::Vector], &problem)?;
        if let (Some(wanted), Some(param)) = (aggregate.op.param(), &aggregate.param) {
            let problem = format!("expected type {wanted} in the parameter of {name:?}");
            self.check_type(param, &[wanted], &problem)?;
            if aggregate.op == AggregateOp::CountValues
                && !matches!(param.unwrapped().kind, ExprKind::Text(_))
            {
                return Err(self.error_at(param.span, problem));
            }
        }
        Ok(())
    }

    pub(super) fn check_binary(&self, binary: &Binary, span: Span) -> Result<(), ParseError> {
        let problem = "binary expression must contain only scalar and instant vector types";
        for side in [&binary.left, &binary.right] {
            self.check_type(side, &[ValueType::Scalar, ValueType::Vector], problem)?;
        }
        let sides = (binary.left.value_type(), binary.right.value_type());
        let symbol = binary.op.symbol();
        let scalars = sides == (ValueType::Scalar, ValueType::Scalar);
        if scalars && binary.op.is_comparison() && !binary.returns_bool {
            return Err(self.error_at(span, "comparisons between scalars must use BOOL modifier"));
        }
        if scalars && matches!(binary.op, BinaryOp::TrimUpper | BinaryOp::TrimLower) {
            return Err(self.error_at(
                span,
                format!("operator {symbol:?} not allowed between scalars, only on histograms"),
            ));
        }
        let vectors = sides == (ValueType::Vector, ValueType::Vector);
        if binary.op.is_set() && !vectors {
            return Err(self.error_at(
                span,
                format!("set operator {symbol:?} not allowed in binary scalar expression"),
            ));
        }
        let matching = &binary.matching;
        let matched = !matching.labels.is_empty() || matching.on || matching.group.is_some();
        let filled = matching.fill_left.is_some() || matching.fill_right.is_some();
        if !vectors && (matched || filled) {
            return Err(self.error_at(
                span,
                "vector matching and fill modifiers are only allowed between instant vectors",
            ));
        }
        if let Some(group) = &matching.group
            && matching.on
        {
            let mut twice = group.include.iter();
            if let Some(label) = twice.find(|label| matching.labels.contains(label)) {
                return Err(self.error_at(
                    span,
                    format!("label {label:?} must not occur in ON and GROUP clause at once"),
                ));
            }
        }
        Ok(())
    }
}
