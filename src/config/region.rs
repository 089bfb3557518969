//! The hosts of DashScope's regions.

use super::value::ValueError;

/// The default region: DashScope's first, to which most keys belong.
pub(crate) const DEFAULT: &str = "cn-beijing";

/// DashScope's base path on every host.
const PATH: &str = "/api/v1";

/// A region and its host for all accounts, if it has one.
const REGIONS: [(&str, Option<&str>); 6] = [
    ("cn-beijing", Some("dashscope.aliyuncs.com")),
    ("ap-southeast-1", Some("dashscope-intl.aliyuncs.com")),
    ("us-east-1", Some("dashscope-us.aliyuncs.com")),
    ("cn-hongkong", Some("cn-hongkong.dashscope.aliyuncs.com")),
    ("eu-central-1", None),
    ("ap-northeast-1", None),
];

/// Validates the name of a region.
pub(crate) fn known(region: &str) -> Result<(), ValueError> {
    if REGIONS.iter().any(|(name, _)| *name == region) {
        return Ok(());
    }
    let names: Vec<_> = REGIONS.iter().map(|(name, _)| *name).collect();
    let fix = format!("write one of {}", names.join(", "));
    Err(ValueError::new("it is not a region of DashScope", fix))
}

/// The base URL of a region. If a region is configured, a workspace is reached by its own host, as
/// in DashScope's SDKs.
pub(crate) fn base_url(
    region: Option<&str>,
    workspace: Option<&str>,
) -> Result<String, ValueError> {
    if let (Some(region), Some(workspace)) = (region, workspace) {
        let letters = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if workspace.len() > 63 || !workspace.bytes().all(letters) {
            let problem = "the workspace cannot be part of a host's name";
            let fix = "check upstream.workspace, or give upstream.url instead of a region";
            return Err(ValueError::new(problem, fix));
        }
        return Ok(format!(
            "https://{workspace}.{region}.maas.aliyuncs.com{PATH}"
        ));
    }
    let region = region.unwrap_or(DEFAULT);
    let shared = REGIONS.iter().find(|(name, _)| *name == region);
    match shared.and_then(|(_, host)| *host) {
        Some(host) => Ok(format!("https://{host}{PATH}")),
        None => Err(ValueError::new(
            "this region has no host that all accounts share",
            "set upstream.workspace (DASHSCOPE_WORKSPACE_ID) too, or give upstream.url",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_those_of_the_region_and_the_workspace() {
        for (region, workspace, expected) in [
            (None, None, Some("https://dashscope.aliyuncs.com/api/v1")),
            (
                None,
                Some("ws-1"),
                Some("https://dashscope.aliyuncs.com/api/v1"),
            ),
            (
                Some("ap-southeast-1"),
                None,
                Some("https://dashscope-intl.aliyuncs.com/api/v1"),
            ),
            (
                Some("eu-central-1"),
                Some("ws-1"),
                Some("https://ws-1.eu-central-1.maas.aliyuncs.com/api/v1"),
            ),
            (Some("eu-central-1"), None, None),
            (Some("cn-beijing"), Some("evil.example/"), None),
        ] {
            let url = base_url(region, workspace).ok();
            assert_eq!(url.as_deref(), expected, "{region:?} {workspace:?}");
        }
    }
}
