//! Notes about one series.

use crate::{
    annotations::{Annotations, HistogramOperation, Note},
    eval::call::RangeCall,
    histogram::{FloatHistogram, IncompatibleSchema, Reconciled},
    labels::{Labels, METRIC_TYPE},
};

/// Says what is odd about a series, with its metric's name.
pub(super) struct Noter<'a> {
    pub(super) call: &'a RangeCall<'a>,
    pub(super) notes: &'a mut Annotations,
    pub(super) labels: &'a Labels,
}

impl Noter<'_> {
    pub(super) fn add(&mut self, note: impl FnOnce(String) -> Note) {
        let metric = self.labels.metric_name().to_owned();
        self.call.note(self.notes, note(metric));
    }

    pub(super) fn mixed_floats(&mut self) {
        self.add(|metric| Note::MixedFloatsHistograms { metric });
    }

    pub(super) fn not_a_counter(&mut self) {
        self.add(|metric| Note::NotACounter { metric });
    }

    pub(super) fn not_a_gauge(&mut self) {
        self.add(|metric| Note::NotAGauge { metric });
    }

    pub(super) fn incompatible(&mut self) {
        self.add(|metric| Note::MixedExponentialCustom { metric });
    }

    pub(super) fn reconciled(&mut self, lost: Reconciled, operation: HistogramOperation) {
        if lost.custom_bounds {
            self.add(|_| Note::MismatchedCustomBuckets { operation });
        }
    }

    /// The sum, or nothing and a note where the layouts don't fit.
    pub(super) fn plus(
        &mut self,
        left: &FloatHistogram,
        right: &FloatHistogram,
    ) -> Option<FloatHistogram> {
        self.noted(left.plus(right), HistogramOperation::Addition)
    }

    pub(super) fn minus(
        &mut self,
        left: &FloatHistogram,
        right: &FloatHistogram,
    ) -> Option<FloatHistogram> {
        self.noted(left.minus(right), HistogramOperation::Subtraction)
    }

    pub(super) fn noted(
        &mut self,
        result: Result<(FloatHistogram, Reconciled), IncompatibleSchema>,
        operation: HistogramOperation,
    ) -> Option<FloatHistogram> {
        match result {
            Ok((histogram, lost)) => {
                self.reconciled(lost, operation);
                Some(histogram)
            }
            Err(IncompatibleSchema) => {
                self.incompatible();
                None
            }
        }
    }

    pub(super) fn doubt_counter(&mut self) {
        let metric = self.labels.metric_name();
        if metric.is_empty() {
            return;
        }
        if self.call.type_labels {
            let kind = self.labels.get(METRIC_TYPE).to_owned();
            if kind != "counter" && kind != "histogram" {
                self.add(|metric| Note::PossibleNonCounterType { metric, kind });
            }
            return;
        }
        let counter = ["_total", "_sum", "_count", "_bucket"];
        if !counter.iter().any(|suffix| metric.ends_with(suffix)) {
            self.add(|metric| Note::PossibleNonCounter { metric });
        }
    }
}
