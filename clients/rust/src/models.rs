//! The models that the gateway can be asked for, and the cancellation of calls.

use tonic::{Request, Status};

use crate::client::Client;
use crate::query::{List, Method, Page, Paged, Query};
use crate::v1::{CancelCallRequest, GetModelRequest, ListModelsRequest, Model};

/// The models that can be used, in the order of their names.
pub type ModelList = List<ListModelsRequest>;
/// A query of one model.
pub type ModelQuery = Query<GetModelRequest>;
/// The cancellation of a call.
pub type CallCancellation = Query<CancelCallRequest>;

impl Client {
    /// Returns the models that can be used, in the order of their names: `client.list_models()`, and
    /// then `models.next().await`.
    pub fn list_models(&self) -> ModelList {
        List::new(self.clone(), ListModelsRequest::default())
    }

    /// Returns what the gateway knows of a model: `client.get_model("qwen-audio-turbo").await?`.
    pub fn get_model(&self, name: impl Into<String>) -> ModelQuery {
        Query::new(self.clone(), GetModelRequest { name: name.into() })
    }

    /// Cancels a running call of this caller by its request id, whatever process made it:
    /// `client.cancel_call("order-4711-summary").await?`. Its streams fail with `ABORTED` and the
    /// reason `CALL_CANCELLED`. If no such call is running, the reason is `CALL_NOT_FOUND`.
    pub fn cancel_call(&self, request_id: impl Into<String>) -> CallCancellation {
        let request_id = request_id.into();
        Query::new(self.clone(), CancelCallRequest { request_id })
    }
}

impl Method for ListModelsRequest {
    const NAME: &'static str = "ListModels";
    type Output = Page<Model>;

    async fn send(client: &Client, request: Request<Self>) -> Result<Page<Model>, Status> {
        let (mut service, _counted) = client.models().await;
        let response = service.list_models(request).await?;
        let response = response.into_inner();
        Ok(Page {
            items: response.models,
            next_page_token: response.next_page_token,
        })
    }
}

impl Paged for ListModelsRequest {
    type Item = Model;

    fn set_page_size(&mut self, items: i32) {
        self.page_size = items;
    }

    fn set_page_token(&mut self, token: String) {
        self.page_token = token;
    }
}

impl Method for GetModelRequest {
    const NAME: &'static str = "GetModel";
    type Output = Model;

    async fn send(client: &Client, request: Request<Self>) -> Result<Model, Status> {
        let (mut service, _counted) = client.models().await;
        let response = service.get_model(request).await?;
        Ok(response.into_inner().model.unwrap_or_default())
    }
}

impl Method for CancelCallRequest {
    const NAME: &'static str = "CancelCall";
    type Output = ();

    fn is_repeatable(&self) -> bool {
        false
    }

    async fn send(client: &Client, request: Request<Self>) -> Result<(), Status> {
        let (mut service, _counted) = client.calls();
        service.cancel_call(request).await?;
        Ok(())
    }
}
