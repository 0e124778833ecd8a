//! An OpenTelemetry span for each call of the object store, below the caller's span.

use opentelemetry::{
    Context, KeyValue, global,
    trace::{FutureExt as _, SpanKind, Status, TraceContextExt as _, Tracer as _},
};

use crate::StoreError;

/// Runs `work` in a span of its own, if it is part of a trace.
///
/// Calls that the service makes by itself make no trace. The span has the operation, the bucket and the object's name.
/// Of feedback it has only the folder, because the rest of the name is made from the comment.
pub(crate) async fn traced<T>(
    operation: &'static str,
    bucket: &str,
    name: &str,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let parent = Context::current();
    if !parent.span().is_recording() {
        return work.await;
    }
    let tracer = global::tracer("threatwatch");
    let method = match operation {
        "read" => "GetObject",
        "write" => "PutObject",
        "list" => "ListObjectsV2",
        _ => "DeleteObject",
    };
    let key = if name.starts_with("feedback/") { "feedback/" } else { name };
    let span = tracer.span_builder(format!("S3.{method}")).with_kind(SpanKind::Client).with_attributes([
        KeyValue::new("rpc.system", "aws-api"),
        KeyValue::new("rpc.service", "S3"),
        KeyValue::new("rpc.method", method),
        KeyValue::new("aws.s3.bucket", bucket.to_owned()),
        KeyValue::new("aws.s3.key", key.to_owned()),
    ]);
    let context = parent.with_span(span.start_with_context(&tracer, &parent));
    let done = work.with_context(context.clone()).await;
    if let Err(error) = &done {
        // The store's own words may name the object.
        context
            .span()
            .set_attribute(KeyValue::new("error.type", if error.is_transient { "transient" } else { "refused" }));
        context.span().set_status(Status::error(""));
    }
    context.span().end();
    done
}
