//! The methods that the gateway serves, parsed once from the path of a request.

/// `dashgate.v1.ConversationService`.
pub const CONVERSATION_SERVICE: &str = "dashgate.v1.ConversationService";

/// `dashgate.v1.CallService`.
pub const CALL_SERVICE: &str = "dashgate.v1.CallService";

/// `dashgate.v1.MediaService`.
pub const MEDIA_SERVICE: &str = "dashgate.v1.MediaService";

/// `dashgate.v1.ModelService`.
pub const MODEL_SERVICE: &str = "dashgate.v1.ModelService";

/// `dashgate.v1.LiveService`.
pub const LIVE_SERVICE: &str = "dashgate.v1.LiveService";

/// `grpc.health.v1.Health`.
pub const HEALTH: &str = "grpc.health.v1.Health";

/// `grpc.reflection.v1.ServerReflection`.
pub const REFLECTION_V1: &str = "grpc.reflection.v1.ServerReflection";

/// `grpc.reflection.v1alpha.ServerReflection`, for older clients.
pub const REFLECTION_V1ALPHA: &str = "grpc.reflection.v1alpha.ServerReflection";

/// A method that the gateway serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `ConversationService.Converse`.
    Converse,
    /// `ConversationService.ConverseStream`.
    ConverseStream,
    /// `ConversationService.CreateConversation`.
    CreateConversation,
    /// `ConversationService.GetConversation`.
    GetConversation,
    /// `ConversationService.ListConversations`.
    ListConversations,
    /// `ConversationService.UpdateConversation`.
    UpdateConversation,
    /// `ConversationService.DeleteConversation`.
    DeleteConversation,
    /// `ConversationService.ListTurns`.
    ListTurns,
    /// `ConversationService.DeleteTurn`.
    DeleteTurn,
    /// `ConversationService.ForkConversation`.
    ForkConversation,
    /// `ConversationService.CancelTurn`.
    CancelTurn,
    /// `CallService.CancelCall`.
    CancelCall,
    /// `MediaService.UploadMedia`.
    UploadMedia,
    /// `ModelService.ListModels`.
    ListModels,
    /// `ModelService.GetModel`.
    GetModel,
    /// `LiveService.ConverseLive`.
    ConverseLive,
    /// `LiveService.SynthesizeLive`.
    SynthesizeLive,
    /// `Health.Check`.
    HealthCheck,
    /// `Health.List`.
    HealthList,
    /// `Health.Watch`.
    HealthWatch,
    /// `ServerReflection.ServerReflectionInfo` of v1.
    ReflectionV1,
    /// The same of v1alpha.
    ReflectionV1Alpha,
}

impl Method {
    /// Every method.
    pub const ALL: [Self; 22] = [
        Self::Converse,
        Self::ConverseStream,
        Self::CreateConversation,
        Self::GetConversation,
        Self::ListConversations,
        Self::UpdateConversation,
        Self::DeleteConversation,
        Self::ListTurns,
        Self::DeleteTurn,
        Self::ForkConversation,
        Self::CancelTurn,
        Self::CancelCall,
        Self::UploadMedia,
        Self::ListModels,
        Self::GetModel,
        Self::ConverseLive,
        Self::SynthesizeLive,
        Self::HealthCheck,
        Self::HealthList,
        Self::HealthWatch,
        Self::ReflectionV1,
        Self::ReflectionV1Alpha,
    ];

    /// The method of this path, `/package.Service/Method`. `None` if the gateway has none.
    pub fn parse(path: &str) -> Option<Self> {
        let (service, name) = split(path)?;
        Self::ALL
            .into_iter()
            .find(|method| method.name() == name && method.service() == service)
    }

    /// The full name of its service.
    pub const fn service(self) -> &'static str {
        match self {
            Self::Converse
            | Self::ConverseStream
            | Self::CreateConversation
            | Self::GetConversation
            | Self::ListConversations
            | Self::UpdateConversation
            | Self::DeleteConversation
            | Self::ListTurns
            | Self::DeleteTurn
            | Self::ForkConversation
            | Self::CancelTurn => CONVERSATION_SERVICE,
            Self::CancelCall => CALL_SERVICE,
            Self::UploadMedia => MEDIA_SERVICE,
            Self::ListModels | Self::GetModel => MODEL_SERVICE,
            Self::ConverseLive | Self::SynthesizeLive => LIVE_SERVICE,
            Self::HealthCheck | Self::HealthList | Self::HealthWatch => HEALTH,
            Self::ReflectionV1 => REFLECTION_V1,
            Self::ReflectionV1Alpha => REFLECTION_V1ALPHA,
        }
    }

    /// Its name within the service.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Converse => "Converse",
            Self::ConverseStream => "ConverseStream",
            Self::CreateConversation => "CreateConversation",
            Self::GetConversation => "GetConversation",
            Self::ListConversations => "ListConversations",
            Self::UpdateConversation => "UpdateConversation",
            Self::DeleteConversation => "DeleteConversation",
            Self::ListTurns => "ListTurns",
            Self::DeleteTurn => "DeleteTurn",
            Self::ForkConversation => "ForkConversation",
            Self::CancelTurn => "CancelTurn",
            Self::CancelCall => "CancelCall",
            Self::UploadMedia => "UploadMedia",
            Self::ListModels => "ListModels",
            Self::GetModel => "GetModel",
            Self::ConverseLive => "ConverseLive",
            Self::SynthesizeLive => "SynthesizeLive",
            Self::HealthCheck => "Check",
            Self::HealthList => "List",
            Self::HealthWatch => "Watch",
            Self::ReflectionV1 | Self::ReflectionV1Alpha => "ServerReflectionInfo",
        }
    }

    /// Its type, as the label `grpc_type` of the metrics spells it.
    pub const fn grpc_type(self) -> &'static str {
        match self {
            Self::Converse
            | Self::CreateConversation
            | Self::GetConversation
            | Self::ListConversations
            | Self::UpdateConversation
            | Self::DeleteConversation
            | Self::ListTurns
            | Self::DeleteTurn
            | Self::ForkConversation
            | Self::CancelTurn
            | Self::CancelCall
            | Self::ListModels
            | Self::GetModel
            | Self::HealthCheck
            | Self::HealthList => "unary",
            Self::ConverseStream | Self::HealthWatch => "server_stream",
            Self::UploadMedia => "client_stream",
            Self::ConverseLive
            | Self::SynthesizeLive
            | Self::ReflectionV1
            | Self::ReflectionV1Alpha => "bidi_stream",
        }
    }
}

/// The service in a path; empty if there is none.
pub fn service(path: &str) -> &str {
    split(path).map_or("", |(service, _)| service)
}

fn split(path: &str) -> Option<(&str, &str)> {
    let path = path.strip_prefix('/')?;
    // As bytes: searching characters takes ten times as long.
    let slash = path.bytes().position(|byte| byte == b'/')?;
    Some((path.get(..slash)?, path.get(slash + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_has_the_path_of_its_service_and_no_other() {
        for method in Method::ALL {
            let path = format!("/{}/{}", method.service(), method.name());
            assert_eq!(Method::parse(&path), Some(method));
            assert_eq!(service(&path), method.service());
            for other in [&path[1..], &format!("{path}/"), &path.to_lowercase()] {
                assert_eq!(Method::parse(other), None, "{other}");
            }
        }
        assert_eq!(service("no path"), "");
    }
}
