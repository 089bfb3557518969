//! The chart is rendered by Helm, and all manifests are judged by Kubernetes' own schemas. The
//! settings in them are judged by dashgate.

use std::path::Path;

use dashgate::telemetry::metric_definitions;
use serde_json::{Value, json};

use super::Case;
use super::judge::{equal, holds, text};
use super::manifests::{at, has, helm, judged, kind, names, pod, rendered, rendered_as, settings};
use super::tools::Tool;

const EVERYTHING: &str = "deploy/helm/everything.yaml";

/// Replicas without a store, which the chart refuses otherwise.
const SEPARATE: &str = "replicasWithoutStore=true";

pub(crate) const CASES: &[Case] = &[
    (
        "kubernetes_the_chart_renders_what_kubernetes_takes",
        Tool::Kubernetes,
        renders,
    ),
    (
        "kubernetes_the_chart_with_everything_is_taken_too",
        Tool::Kubernetes,
        renders_everything,
    ),
    (
        "kubernetes_replicas_share_a_store_that_a_job_migrates",
        Tool::Kubernetes,
        shares_a_store,
    ),
    (
        "kubernetes_the_chart_refuses_what_is_wrong",
        Tool::Kubernetes,
        refuses,
    ),
    (
        "kubernetes_the_plain_manifests_are_those_of_the_chart",
        Tool::Kubernetes,
        plain,
    ),
    (
        "kubernetes_meshes_cut_no_stream_and_replay_no_generation",
        Tool::Kubernetes,
        meshes,
    ),
];

fn renders(tools: &Path) -> Result<(), String> {
    let all = rendered(tools, "default", &["--set", SEPARATE])?;
    let kinds = [
        "ConfigMap",
        "Deployment",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
        "ServiceAccount",
    ];
    equal("the kinds", names(&all), kinds.map(str::to_owned).to_vec())?;
    let pod = pod(&all)?;
    restricted(pod)?;
    // 10 s of drain_delay, 120 s of drain_timeout, 15 s of slack.
    equal(
        "the grace",
        pod["terminationGracePeriodSeconds"].as_u64(),
        Some(145),
    )?;
    let container = &pod["containers"][0];
    equal(
        "readiness",
        &container["readinessProbe"]["grpc"]["port"],
        &json!(50051),
    )?;
    equal(
        "liveness",
        text(container, "/livenessProbe/httpGet/path"),
        "/healthz",
    )?;
    equal("links", &pod["enableServiceLinks"], &json!(false))?;
    let service = kind(&all, "Service")?;
    equal(
        "the port",
        text(service, "/spec/ports/0/appProtocol"),
        "grpc",
    )?;
    settings(&all, "default")?;
    let open = rendered(
        tools,
        "open",
        &["--set", SEPARATE, "--set", "networkPolicy.enabled=false"],
    )?;
    holds(
        "no policy",
        kind(&open, "NetworkPolicy").is_err(),
        names(&open),
    )?;
    let without_callers = rendered(
        tools,
        "without-callers",
        &["--set", SEPARATE, "--set", "callers.existingSecret="],
    )?;
    let mounts = super::manifests::pod(&without_callers)?.to_string();
    holds(
        "no keys",
        !mounts.contains("/etc/dashgate/callers"),
        &mounts,
    )?;
    // Without callers the gateway would not start where others reach it, and says so before.
    holds(
        "a refusal",
        settings(&without_callers, "without-callers").is_err(),
        &mounts,
    )?;
    Ok(())
}

fn renders_everything(tools: &Path) -> Result<(), String> {
    let all = rendered(tools, "everything", &["--values", &at(EVERYTHING)])?;
    for name in ["GRPCRoute", "HorizontalPodAutoscaler", "ServiceMonitor"] {
        kind(&all, name)?;
    }
    let pod = pod(&all)?;
    restricted(pod)?;
    // 10 s, 5 min, 5 s of sleep before them, 15 s of slack.
    equal(
        "the grace",
        pod["terminationGracePeriodSeconds"].as_u64(),
        Some(330),
    )?;
    let container = &pod["containers"][0];
    // The kubelet's gRPC probe speaks no TLS.
    equal(
        "readiness",
        text(container, "/readinessProbe/httpGet/path"),
        "/readyz",
    )?;
    equal(
        "the sleep",
        &container["lifecycle"]["preStop"]["sleep"]["seconds"],
        &json!(5),
    )?;
    let spread = pod["topologySpreadConstraints"].as_array().map(Vec::len);
    equal("the spread", spread, Some(2))?;
    let scaler = kind(&all, "HorizontalPodAutoscaler")?;
    equal(
        "the metric",
        text(scaler, "/spec/metrics/0/pods/metric/name"),
        metric_definitions::IN_FLIGHT.name,
    )?;
    equal(
        "replicas",
        &kind(&all, "Deployment")?["spec"]["replicas"],
        &Value::Null,
    )?;
    let route = kind(&all, "GRPCRoute")?;
    equal(
        "the route",
        text(route, "/apiVersion"),
        "gateway.networking.k8s.io/v1",
    )?;
    equal(
        "leads to",
        text(route, "/spec/rules/0/backendRefs/0/name"),
        "gw-dashgate",
    )?;
    equal("from", text(route, "/spec/parentRefs/0/name"), "public")?;
    let monitor = kind(&all, "ServiceMonitor")?;
    equal(
        "numbers",
        text(monitor, "/spec/endpoints/0/path"),
        "/metrics",
    )?;
    // What the monitor looks for must stand on the Service that it should find, and on no other.
    let wanted = &monitor["spec"]["selector"]["matchLabels"];
    let found = all
        .iter()
        .filter(|one| one["kind"] == "Service" && has(&one["metadata"]["labels"], wanted));
    let found: Vec<_> = found.map(|one| text(one, "/spec/ports/0/name")).collect();
    equal("the service of numbers", found, vec!["admin"])?;
    settings(&all, "everything")
}

fn shares_a_store(tools: &Path) -> Result<(), String> {
    let store = "store.existingSecret=state";
    let all = rendered(tools, "store", &["--set", store])?;
    let job = kind(&all, "Job")?;
    equal(
        "the time of the job",
        text(job, "/metadata/annotations/helm.sh~1hook"),
        "pre-install,pre-upgrade",
    )?;
    let migrating = &job["spec"]["template"]["spec"];
    restricted(migrating)?;
    let migrating = &migrating["containers"][0];
    equal(
        "the command",
        &migrating["args"],
        &json!(["store", "migrate"]),
    )?;
    let url = json!({"name": "DASHGATE_STORE_URL",
        "valueFrom": {"secretKeyRef": {"name": "state", "key": "url"}}});
    equal("the URL of the job", &migrating["env"], &json!([url]))?;
    // The Service must not send calls to it.
    let selector = &kind(&all, "Service")?["spec"]["selector"];
    let labels = &job["spec"]["template"]["metadata"]["labels"];
    holds("other labels", !has(labels, selector), labels)?;
    let at_start = |all: &[Value]| -> Result<bool, String> {
        let variables = &pod(all)?["containers"][0]["env"];
        let variables = variables.as_array().ok_or("no variables")?;
        holds("the URL of the pods", variables.contains(&url), variables)?;
        let migrate = json!({"name": "DASHGATE_STORE_MIGRATE", "value": "false"});
        Ok(!variables.contains(&migrate))
    };
    equal("pods migrate beside a job", at_start(&all)?, false)?;
    settings(&all, "store")?;
    let values = ["--set", store, "--set", "store.migrationJob=false"];
    let all = rendered(tools, "store-at-start", &values)?;
    holds("no job", kind(&all, "Job").is_err(), names(&all))?;
    equal("pods migrate without a job", at_start(&all)?, true)
}

fn refuses(tools: &Path) -> Result<(), String> {
    for (given, said) in [
        ("replicas=2", "store.existingSecret"),
        (
            "replicas=1,autoscaling.enabled=true",
            "store.existingSecret",
        ),
        ("config.store.url=sqlite:x", "url"),
        ("replica=3", "replica"),
        ("config.server.listen=0.0.0.0:1", "listen"),
        ("config.upstream.api_key=sk-1", "api_key"),
        ("config.severs.listen=1", "severs"),
        ("config.server.drain_delay=soon", "drain_delay"),
        ("image.digest=sha256:12", "digest"),
        ("podDisruptionBudget.maxUnavailable=0", "maxUnavailable"),
        ("terminationSlackSeconds=0", "terminationSlackSeconds"),
        ("grpcRoute.enabled=true,replicas=1", "grpcRoute.parentRefs"),
        (
            "serviceMonitor.enabled=true,admin.enabled=false,replicas=1",
            "admin.enabled",
        ),
    ] {
        let got = helm(tools, "gw", &["--set", given])?;
        holds(
            given,
            got.code != Some(0) && got.err.contains(said),
            &got.err,
        )?;
    }
    Ok(())
}

fn plain(tools: &Path) -> Result<(), String> {
    let mut here = judged(tools, &[at("deploy/kubernetes/dashgate.yaml").into()])?.concat();
    let namespace = here.remove(0);
    equal("the first", text(&namespace, "/kind"), "Namespace")?;
    let level = &namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"];
    equal("the level", level, &json!("restricted"))?;
    settings(&here, "plain")?;
    let mut chart = rendered_as(tools, "dashgate", "plain", &["--set", SEPARATE])?;
    for one in chart.iter_mut().chain(&mut here) {
        if let Some(meta) = one["metadata"].as_object_mut() {
            meta.remove("namespace");
        }
        if let Some(labels) = one["metadata"]["labels"].as_object_mut() {
            labels.remove("helm.sh/chart");
            labels.remove("app.kubernetes.io/managed-by");
        }
        if let Some(Value::Object(meta)) = one.pointer_mut("/spec/template/metadata") {
            meta.remove("annotations");
        }
        if let Some(Value::String(file)) = one.pointer_mut("/data/dashgate.toml") {
            let lines = file.lines().filter(|line| !line.starts_with('#'));
            *file = lines.collect::<Vec<_>>().join("\n");
        }
    }
    for one in &chart {
        holds(text(one, "/kind"), here.contains(one), one)?;
    }
    equal("how many", here.len(), chart.len())
}

fn meshes(tools: &Path) -> Result<(), String> {
    let files = [
        at("deploy/istio/dashgate.yaml").into(),
        at("deploy/linkerd/dashgate.yaml").into(),
    ];
    let all = judged(tools, &files)?.concat();
    for one in &all {
        equal(
            "the namespace",
            text(one, "/metadata/namespace"),
            "dashgate",
        )?;
    }
    let route = kind(&all, "VirtualService")?;
    let http = route["spec"]["http"].as_array().ok_or("no routes")?;
    for route in http {
        equal("the time-out", text(route, "/timeout"), "0s")?;
        let is_live = text(route, "/match/0/uri/prefix") == "/dashgate.v1.LiveService/";
        let attempts = u32::from(!is_live);
        equal("tries", &route["retries"]["attempts"], &json!(attempts))?;
        equal("each try", &route["retries"]["perTryTimeout"], &Value::Null)?;
        if is_live {
            continue;
        }
        for why in text(route, "/retries/retryOn").split(',') {
            holds(
                why,
                ["connect-failure", "refused-stream"].contains(&why),
                route,
            )?;
        }
    }
    let rule = kind(&all, "DestinationRule")?;
    let host = text(rule, "/spec/host");
    equal("the host", host, text(route, "/spec/hosts/0"))?;
    equal(
        "where to",
        host,
        text(route, "/spec/http/0/route/0/destination/host"),
    )?;
    let ejected = rule["spec"]["trafficPolicy"]["outlierDetection"]["maxEjectionPercent"].as_u64();
    holds(
        "most stay",
        ejected.is_some_and(|percent| percent < 50),
        rule,
    )?;
    linkerd(&all)
}

/// The routes of Linkerd retry nothing that a proxy cannot repeat.
fn linkerd(all: &[Value]) -> Result<(), String> {
    let routes = all
        .iter()
        .filter(|one| one["kind"] == "GRPCRoute")
        .collect::<Vec<_>>();
    equal("the routes of Linkerd", routes.len(), 3)?;
    for route in routes {
        let notes = route["metadata"]["annotations"]
            .as_object()
            .ok_or("no annotations")?;
        let is_live = route.to_string().contains("LiveService");
        for (note, value) in notes {
            let right = match (note.as_str(), value.as_str().unwrap_or_default()) {
                ("retry.linkerd.io/grpc", codes) => codes == "unavailable",
                ("retry.linkerd.io/limit", limit) => limit == "1",
                // Beyond timeouts.max, so that a silent Converse is not cut.
                ("timeout.linkerd.io/idle", idle) if is_live => idle == "3600s",
                ("timeout.linkerd.io/idle", idle) => idle == "660s",
                _ => false,
            };
            holds(note, right, route)?;
        }
        let is_stream = is_live || route.to_string().contains("MediaService");
        equal(
            "a caller's stream again",
            is_stream,
            !notes.contains_key("retry.linkerd.io/grpc"),
        )?;
        equal("of", text(route, "/spec/parentRefs/0/kind"), "Service")?;
    }
    Ok(())
}

/// As Kubernetes' level "restricted" wants it, and more: nothing can be written.
fn restricted(pod: &Value) -> Result<(), String> {
    equal(
        "not root",
        &pod["securityContext"]["runAsNonRoot"],
        &json!(true),
    )?;
    equal(
        "calls",
        text(pod, "/securityContext/seccompProfile/type"),
        "RuntimeDefault",
    )?;
    equal(
        "the token",
        &pod["automountServiceAccountToken"],
        &json!(false),
    )?;
    let context = &pod["containers"][0]["securityContext"];
    let right = json!({
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]},
    });
    equal("the container", context, &right)
}
