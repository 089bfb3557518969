//! Tracing with OpenTelemetry.

use crate::support::{Gateway, Reply, answer, question};

// region
use opentelemetry::Context;
use opentelemetry::propagation::{Injector, TextMapPropagator as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tonic::metadata::{MetadataKey, MetadataMap};
use tonic::service::interceptor::InterceptorLayer;
use tonic::{Request, Status};

struct Metadata<'a>(&'a mut MetadataMap);

impl Injector for Metadata<'_> {
    fn set(&mut self, name: &str, value: String) {
        if let (Ok(name), Ok(value)) = (MetadataKey::from_bytes(name.as_bytes()), value.parse()) {
            self.0.insert(name, value);
        }
    }
}

/// Sends the current span as `traceparent`, so that the gateway's spans are its children:
/// `Client::builder().layer(InterceptorLayer::new(traced))`.
fn traced(mut request: Request<()>) -> Result<Request<()>, Status> {
    let mut metadata = Metadata(request.metadata_mut());
    TraceContextPropagator::new().inject_context(&Context::current(), &mut metadata);
    Ok(request)
}
// endregion

#[tokio::test]
async fn the_gateway_gets_the_span_of_the_caller() {
    use opentelemetry::trace::{
        FutureExt as _, TraceContextExt as _, Tracer as _, TracerProvider as _,
    };
    let gateway = Gateway::start(|_, _| Reply::of([answer("heard")])).await;
    let client = gateway.builder().layer(InterceptorLayer::new(traced));
    let client = client.build().unwrap();
    let provider = opentelemetry_sdk::trace::SdkTracerProvider::builder().build();
    let span = provider.tracer("test").start("ask");
    let context = Context::current_with_span(span);
    let id = context.span().span_context().trace_id().to_string();
    let call = client.converse(question()).into_future();
    call.with_context(context).await.unwrap();
    client.converse(question()).await.unwrap();
    let seen = gateway.seen();
    assert!(seen[0].header("traceparent").contains(&id));
    assert_eq!(seen[1].header("traceparent"), "");
}
