//! Calls a gateway with TLS and an API key: `secure TARGET CA_FILE`. The key is `DASHGATE_API_KEY`.

use std::time::Duration;

use dashgate_client::{Client, Conversation, Tls};
use tonic::Request;
use tonic::metadata::MetadataValue;
use tonic::service::interceptor::InterceptorLayer;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: secure TARGET CA_FILE";
    let target = arguments.next().ok_or(usage)?;
    let ca_file = arguments.next().ok_or(usage)?;
    let key = std::env::var("DASHGATE_API_KEY")?;

    // region tls
    let client = Client::builder()
        .target(target) // host:port, https://host:port, unix:/path
        .tls(Tls::new().ca_certificates(std::fs::read(ca_file)?))
        .api_key(key)
        .timeout(Duration::from_secs(120))
        .metadata("x-dashscope-workspace", "ws-1")
        .build()?;
    // endregion

    // region layers
    let with_layers = Client::builder()
        .layer(InterceptorLayer::new(|mut request: Request<()>| {
            let team = MetadataValue::from_static("speech");
            request.metadata_mut().insert("x-team", team);
            Ok(request)
        }))
        .configure_endpoint(|endpoint| endpoint.connect_timeout(Duration::from_secs(2)))
        .max_retries(3)
        .build()?;
    // endregion
    println!("{with_layers:?}");

    let mut conversation = Conversation::new("qwen3.6-plus");
    conversation.user("Who is there?");

    // region cancel
    let call = client.converse(&conversation);
    tokio::select! {
        answer = call => println!("{}", answer?.text()),
        _ = tokio::signal::ctrl_c() => println!("cancelled, at DashScope too"),
    }
    // endregion
    Ok(())
}
