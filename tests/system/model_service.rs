//! The models that the gateway can be asked for: which are listed to whom, and what is said of
//! them.

use std::time::Duration;

use dashgate::config::{Account, Endpoint, ServerKind, Settings};
use dashgate::grpc::pb::{self, UpstreamKind};
use tokio_stream::StreamExt as _;
use tonic::{Code, Status};

use crate::callers::{Folder, with_key};
use crate::metrics::{Scrape, page, watched_with};
use crate::support::*;

fn list_request(page_size: i32, page_token: &str) -> pb::ListModelsRequest {
    pb::ListModelsRequest {
        page_size,
        page_token: page_token.to_owned(),
    }
}

async fn list(gateway: &Running) -> Vec<pb::Model> {
    let page = gateway.models().list_models(list_request(0, "")).await;
    page.unwrap().into_inner().models
}

pub fn get_request(name: &str) -> pb::GetModelRequest {
    pb::GetModelRequest {
        name: name.to_owned(),
    }
}

pub async fn get(gateway: &Running, name: &str) -> Result<pb::Model, Status> {
    let response = gateway.models().get_model(get_request(name)).await?;
    Ok(response.into_inner().model.unwrap())
}

fn names(models: &[pb::Model]) -> Vec<&str> {
    models.iter().map(|model| &*model.name).collect()
}

pub async fn ask(gateway: &Running, model: &str) -> Result<pb::ConverseResponse, Status> {
    let text = pb::content::Kind::Text("?".to_owned());
    let call = ask_whole(conversation(model, vec![text]));
    let answer = gateway.conversation().converse(call).await;
    answer.map(tonic::Response::into_inner)
}

/// Settings that name models in every place.
fn configured(upstream: &Upstream) -> Settings {
    let mut settings = settings(upstream);
    let name = str::to_owned;
    let time = Duration::from_secs;
    settings.models.aliases = vec![(name("an-alias"), name("qwen3-omni-flash"))];
    settings.models.fallbacks = vec![(name("qwen3-omni-flash"), vec![name("a-fallback")])];
    settings.models.timeouts = vec![(name("a-slow-one"), time(900)), (name("an-*"), time(60))];
    settings.models.first_event_timeouts = vec![(name("qwen3-omni*"), time(90))];
    settings.models.max_request_bytes = vec![(name("qwen3-omni-flash"), 1 << 20)];
    settings.models.max_in_flight = vec![(name("an-alias"), 3)];
    settings.upstream.stream_only_models = vec![name("streams"), name("all-of-*")];
    settings.telemetry.rates = vec![(name("with-a-price"), [1.0, 2.0])];
    settings
}

#[tokio::test(start_paused = true)]
async fn the_list_has_the_names_of_the_settings_and_the_models_of_dashscope_in_order() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let gateway = gateway_with(configured(&upstream)).await;
    let models = list(&gateway).await;
    let names = names(&models);
    assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
    for name in [
        "a-fallback",
        "a-slow-one",
        "an-alias",
        "qwen-audio-turbo",
        "qwen3-asr-flash",
        "qwen3-omni-flash",
        "qwen3-tts-flash",
        "streams",
        "with-a-price",
    ] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    let said = format!("{models:?}");
    for hidden in ["*", "canary", "127.0.0.1", "default"] {
        assert!(!said.contains(hidden), "{hidden}: {said}");
    }
    for model in &models {
        assert_eq!(model.upstream_kinds, [i32::from(UpstreamKind::Dashscope)]);
    }
    assert!(upstream.seen().is_empty(), "a list costs nothing");
}

#[tokio::test(start_paused = true)]
async fn a_model_is_listed_only_where_an_account_serves_it() {
    let upstream = Upstream::always(Vec::new()).await;
    let account = |endpoint, models: &[&str]| Account {
        name: format!("canary-{}", models.len()),
        endpoint,
        workspace: None,
        weight: 1,
        models: models.iter().map(|&name| name.to_owned()).collect(),
        roots: None,
        limits: Vec::new(),
    };
    let own_server = || Endpoint::OpenAi {
        kind: ServerKind::Vllm,
        base_url: upstream.base_url(),
        api_key: None,
    };
    let dashscope = || settings(&upstream).upstream.endpoint;
    let listed = async |accounts, compatible: &[&str]| {
        let mut settings = configured(&upstream);
        settings.upstream.accounts = accounts;
        settings.upstream.compatible_models =
            compatible.iter().map(|&name| name.to_owned()).collect();
        let gateway = gateway_with(settings).await;
        let models = list(&gateway).await;
        let kinds = |model: &pb::Model| model.upstream_kinds().collect::<Vec<_>>();
        let listed = models
            .iter()
            .map(|model| (model.name.clone(), kinds(model)));
        listed.collect::<std::collections::BTreeMap<_, _>>()
    };
    let native = [UpstreamKind::Dashscope];
    let own = [UpstreamKind::Openai];

    // What only the compatible API has is not listed without it.
    let found = listed(vec![account(dashscope(), &[])], &[]).await;
    assert_eq!(found["qwen3-omni-flash"], native);
    assert!(!found.contains_key("qwen3.8-omni-flash"), "{found:?}");
    let found = listed(vec![account(dashscope(), &[])], &["qwen*-omni*"]).await;
    let compatible = [UpstreamKind::DashscopeCompatible];
    for name in ["qwen3-omni-flash", "qwen3.8-omni-flash", "an-alias"] {
        assert_eq!(found[name], compatible, "{name}");
    }
    assert_eq!(found["qwen-audio-turbo"], native);
    // An own server has the models that it is configured for, and no other of DashScope.
    let accounts = vec![account(own_server(), &["own-*", "own-1", "a-fallback"])];
    let found = listed(accounts, &[]).await;
    let names: Vec<_> = found.keys().map(String::as_str).collect();
    // The alias can be answered by its fallback.
    assert_eq!(
        names,
        ["a-fallback", "an-alias", "own-1", "qwen3-omni-flash"]
    );
    assert_eq!(found["own-1"], own);
    assert_eq!(found["an-alias"], []);
    // Two kinds, each for its models, and one model at both.
    let accounts = vec![
        account(own_server(), &["own-1", "qwen3-asr-flash"]),
        account(dashscope(), &["qwen*"]),
    ];
    let found = listed(accounts, &[]).await;
    assert_eq!(found["own-1"], own);
    assert_eq!(found["qwen-audio-turbo"], native);
    let both = [UpstreamKind::Openai, UpstreamKind::Dashscope];
    assert_eq!(found["qwen3-asr-flash"], both);
    assert!(!found.contains_key("with-a-price"), "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn a_model_has_its_target_its_modalities_and_its_limits() {
    use pb::Modality::{Audio, Image, Text, Video};
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let gateway = gateway_with(configured(&upstream)).await;
    let model = get(&gateway, "an-alias").await.unwrap();
    assert_eq!(model.upstream_model, "qwen3-omni-flash");
    assert_eq!(model.fallbacks, ["a-fallback"]);
    let input: Vec<_> = model.input_modalities().collect();
    assert_eq!(input, [Text, Audio, Image, Video]);
    let output: Vec<_> = model.output_modalities().collect();
    assert_eq!(output, [Text, Audio]);
    assert!(model.stream_only);
    let limits = model.limits.unwrap();
    let seconds = |span: Option<prost_types::Duration>| span.map(|span| span.seconds);
    // The limit of the name that is sent, and those of the model that is used.
    assert_eq!(seconds(limits.max_call_duration), Some(60));
    assert_eq!(limits.max_calls_in_flight, Some(3));
    assert_eq!(seconds(limits.first_event_timeout), Some(90));
    assert_eq!(seconds(limits.max_audio_duration), Some(20 * 60));
    assert_eq!(limits.max_request_bytes, 1 << 20);
    assert_eq!(limits.max_context_tokens, None);

    let model = get(&gateway, "qwen-audio-turbo").await.unwrap();
    assert_eq!(model.upstream_model, "qwen-audio-turbo");
    assert!(model.fallbacks.is_empty() && !model.stream_only);
    let limits = model.limits.unwrap();
    assert_eq!(limits.max_context_tokens, Some(8000));
    assert_eq!(limits.max_calls_in_flight, None);
    assert_eq!(seconds(limits.max_audio_duration), Some(30));

    // Nothing is invented for a model that only the settings name.
    let model = get(&gateway, "with-a-price").await.unwrap();
    assert!(model.input_modalities.is_empty() && model.output_modalities.is_empty());
    assert_eq!(model.limits.unwrap().max_audio_duration, None);
    assert!(get(&gateway, "streams").await.unwrap().stream_only);
}

#[tokio::test(start_paused = true)]
async fn a_model_that_turned_out_to_stream_only_is_listed_so() {
    let upstream = Upstream::start(|_, seen| match seen.header("x-dashscope-sse") {
        Some(_) => vec![sse(), piece(frame(1, "一", "stop")), end()],
        None => json(
            400,
            r#"{"code":"InvalidParameter","message":"This model only support stream mode"}"#,
        ),
    })
    .await;
    let gateway = gateway_with(configured(&upstream)).await;
    assert!(!get(&gateway, "with-a-price").await.unwrap().stream_only);
    ask(&gateway, "with-a-price").await.unwrap();
    assert!(get(&gateway, "with-a-price").await.unwrap().stream_only);
}

#[tokio::test(start_paused = true)]
async fn pages_have_every_model_once() {
    let upstream = Upstream::always(Vec::new()).await;
    let gateway = gateway_with(configured(&upstream)).await;
    let all = list(&gateway).await;
    for size in [1, 3, i32::try_from(all.len()).unwrap(), i32::MAX] {
        let (mut token, mut found) = (String::new(), Vec::new());
        loop {
            let request = list_request(size, &token);
            let page = gateway.models().list_models(request).await;
            let page = page.unwrap().into_inner();
            assert!(page.models.len() <= usize::try_from(size).unwrap());
            assert!(!page.models.is_empty());
            found.extend(page.models);
            if page.next_page_token.is_empty() {
                break;
            }
            token = page.next_page_token;
        }
        assert_eq!(found, all, "pages of {size}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_is_limited_and_what_is_wrong_with_a_request_is_named() {
    let upstream = Upstream::always(Vec::new()).await;
    let mut settings = settings(&upstream);
    let rate = |n: u32| (format!("m{n:03}"), [1.0, 1.0]);
    settings.telemetry.rates = (0..300).map(rate).collect();
    let gateway = gateway_with(settings).await;
    for (size, expected) in [(0, 100), (200, 200), (201, 200), (i32::MAX, 200)] {
        let request = list_request(size, "");
        let page = gateway.models().list_models(request).await;
        let page = page.unwrap().into_inner();
        assert_eq!(page.models.len(), expected, "{size}");
        assert!(!page.next_page_token.is_empty());
    }
    for (size, token, field) in [
        (-1, "", "page_size"),
        (0, "*", "page_token"),
        (0, "gA", "page_token"),
    ] {
        let request = list_request(size, token);
        let status = gateway.models().list_models(request).await;
        let status = status.unwrap_err();
        assert_fault(&status, Code::InvalidArgument, "INVALID_REQUEST");
        assert_eq!(violations(&status), [field]);
    }
    let long = "m".repeat(5000);
    let status = get(&gateway, &long).await.unwrap_err();
    assert_fault(&status, Code::ResourceExhausted, "MESSAGE_TOO_LARGE");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_name_is_not_found_by_its_field_and_can_be_used_nevertheless() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let gateway = gateway(&upstream).await;
    for name in ["qwen-of-tomorrow", "qwen3*", "*"] {
        let status = get(&gateway, name).await.unwrap_err();
        assert_fault(&status, Code::NotFound, "MODEL_NOT_FOUND");
        assert_eq!(violations(&status), ["name"]);
    }
    ask(&gateway, "qwen-of-tomorrow").await.unwrap();
    let status = get(&gateway, "").await.unwrap_err();
    assert_fault(&status, Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(violations(&status), ["name"]);
}

#[tokio::test(start_paused = true)]
async fn a_caller_sees_the_models_that_it_may_use_and_nobody_else_sees_any() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let folder = Folder::new();
    let (_, some) = folder.key("team-a", |entry| {
        entry.limits.models = Some(vec!["qwen3-*-flash".to_owned(), "mine".to_owned()]);
    });
    let (_, all) = folder.key("team-b", |_| ());
    let mut settings = folder.settings(&upstream);
    settings.models.aliases = vec![
        ("mine".to_owned(), "qwen-audio-turbo".to_owned()),
        ("theirs".to_owned(), "qwen3-asr-flash".to_owned()),
    ];
    let gateway = gateway_with(settings).await;
    let seen = async |key: &str, size| {
        let (mut found, mut token) = (Vec::new(), String::new());
        loop {
            let request = with_key(list_request(size, &token), key);
            let page = gateway.models().list_models(request).await.unwrap();
            let page = page.into_inner();
            found.extend(page.models.into_iter().map(|model| model.name));
            if page.next_page_token.is_empty() {
                return found;
            }
            token = page.next_page_token;
        }
    };
    let expected = [
        "mine",
        "qwen3-asr-flash",
        "qwen3-omni-flash",
        "qwen3-tts-flash",
        "qwen3-vl-flash",
    ];
    assert_eq!(seen(&some, 0).await, expected);
    assert_eq!(seen(&some, 2).await, expected);
    assert!(seen(&all, 0).await.contains(&"theirs".to_owned()));

    // Whether a model exists that the caller may not use is not said.
    for name in ["theirs", "qwen-audio-turbo", "nothing"] {
        let request = with_key(get_request(name), &some);
        let status = gateway.models().get_model(request).await.unwrap_err();
        assert_fault(&status, Code::PermissionDenied, "PERMISSION_DENIED");
    }
    let request = with_key(get_request("mine"), &some);
    gateway.models().get_model(request).await.unwrap();
    let status = get(&gateway, "mine").await.unwrap_err();
    assert_fault(&status, Code::Unauthenticated, "UNAUTHENTICATED");
    let status = gateway.models().list_models(list_request(0, "")).await;
    let status = status.unwrap_err();
    assert_fault(&status, Code::Unauthenticated, "UNAUTHENTICATED");
}

#[tokio::test(start_paused = true)]
async fn a_list_counts_for_the_rate_and_needs_no_permit() {
    let upstream = Upstream::always(vec![sse(), piece(frame(1, "一", "null")), Step::Hang]).await;
    let folder = Folder::new();
    let (_, key) = folder.key("team-a", |entry| {
        entry.limits.requests_per_minute = Some(4);
        entry.limits.max_streams = Some(1);
    });
    let mut settings = folder.settings(&upstream);
    settings.server.max_in_flight = 1;
    let gateway = gateway_with(settings).await;
    let stream = with_key(ask_stream(question()), &key);
    let stream = gateway.conversation().converse_stream(stream).await;
    let mut stream = stream.unwrap().into_inner();
    stream.next().await.unwrap().unwrap();
    // All calls are taken, of the gateway and of the caller.
    for _ in 0..3 {
        let request = with_key(get_request("qwen-audio-turbo"), &key);
        gateway.models().get_model(request).await.unwrap();
    }
    let request = with_key(list_request(0, ""), &key);
    let status = gateway.models().list_models(request).await.unwrap_err();
    assert_fault(&status, Code::ResourceExhausted, "CALLER_RATE");
}

#[tokio::test(start_paused = true)]
async fn lists_are_counted_as_calls_of_the_server_and_not_of_a_model() {
    let upstream = Upstream::always(Vec::new()).await;
    let gateway = watched_with(&upstream, |_| {}).await;
    list(&gateway).await;
    get(&gateway, "qwen-audio-turbo").await.unwrap();
    get(&gateway, "nothing").await.unwrap_err();
    let numbers = Scrape::of(&page(&gateway, "/metrics").await);
    for (method, code, expected) in [
        ("ListModels", "OK", 1.0),
        ("GetModel", "OK", 1.0),
        ("GetModel", "NotFound", 1.0),
    ] {
        let labels = format!(
            "grpc_type=\"unary\",grpc_service=\"dashgate.v1.ModelService\",\
             grpc_method=\"{method}\",grpc_code=\"{code}\""
        );
        let found = numbers.some("grpc_server_handled_total");
        let sum: f64 = found
            .iter()
            .filter(|(series, _)| labels.split(',').all(|label| series.contains(label)))
            .map(|(_, value)| value)
            .sum();
        assert_eq!(sum, expected, "{method} {code}: {found:?}");
    }
    assert!(numbers.some("dashgate_calls_total").is_empty());
}
