//! Uploads: admission, streaming, and reports.

pub(super) mod progress;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tokio_stream::Stream;

use crate::callers::Identity;
use crate::callers::caller_usage::CallCost;
use crate::chat::upload::{Upload, Uploaded};
use crate::error::{Error, Reason, Sent};
use crate::telemetry::call_report::Report;

use super::accounts::choice::Choice;
use super::accounts::{Accounts, Lease, Subject};
use super::admission::{CallPermits, Held};
use super::call_recorder::CallRecorder;
use super::in_flight::{shutting_down, until_shutdown};
use super::media::audio_limit::Ends;
use super::retry::whose_key;
use super::{Relay, in_time};
use progress::{CountedChunks, UploadInFlight};

impl Relay {
    /// Streams a file to temporary storage, within the remaining time. The report identifies the
    /// caller.
    pub async fn upload<S>(
        &self,
        upload: Upload,
        chunks: S,
        (mut report, held, who): (Report, &Held, &Identity),
        (arrived, timeout): (Instant, Duration),
    ) -> Result<Uploaded, Error>
    where
        S: Stream<Item = Result<Bytes, Error>> + Send + 'static,
    {
        report.model.clone_from(&upload.model);
        let telemetry = &self.inner.telemetry;
        let progress = Arc::new(UploadInFlight::new(&report, arrived));
        let mut recorder = CallRecorder::joined(telemetry, report, arrived);
        let asker = Arc::clone(&self.plan().asker);
        let accounts = Arc::clone(&asker.accounts);
        let admitted = in_time(arrived + timeout)
            .and_then(|()| self.admit_upload(&accounts, &upload, held, who));
        let (_place, lease) = admitted.inspect_err(|error| recorder.close(Some(error)))?;
        self.inner.calls.add_upload(&progress);
        recorder.report.attempts = 1;
        recorder.progress = Some(Arc::clone(&progress));
        let counter = telemetry.metrics.uploaded("upload_media");
        let ends = Arc::new(Mutex::new(Ends::default()));
        let chunks = CountedChunks {
            chunks: Box::pin(chunks),
            progress: Arc::clone(&progress),
            count: {
                let ends = Arc::clone(&ends);
                move |chunk: &Bytes| {
                    counter.inc_by(u64::try_from(chunk.len()).unwrap_or(0));
                    ends.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(chunk);
                }
            },
        };
        let passing = upload.passing.clone();
        let model = Arc::clone(&upload.model);
        let upload = lease.upstream().upload(upload, chunks);
        let outcome = tokio::select! {
            biased;
            // No model has run, and the file is not billed.
            () = until_shutdown(self.shutdown()) => Err(shutting_down().with_sent(Sent::Refused)),
            outcome = tokio::time::timeout_at(arrived + timeout, upload) => match outcome {
                Ok(outcome) => outcome.map_err(|error| whose_key(error, &passing)),
                Err(_) => Err(
                    Error::new(Reason::DeadlineExceeded, "the upload took too long")
                        .with_sent(Sent::Maybe),
                ),
            },
        };
        let outcome = outcome.map_err(|error| error.with_attempts(1).with_model(model));
        recorder.close(outcome.as_ref().err());
        // Errors of the storage do not concern the models, so they are not recorded.
        if let Ok(uploaded) = &outcome {
            let account = lease.is_by_its_key().then(|| lease.name());
            accounts.owners.stored(uploaded, account, who.caller);
            accounts.share_upload(uploaded, &lease, who.tenant).await;
            let ends = ends.lock().unwrap_or_else(PoisonError::into_inner);
            asker.audio.stored(&uploaded.uri, &ends);
        }
        outcome
    }

    fn admit_upload(
        &self,
        accounts: &Accounts,
        upload: &Upload,
        held: &Held,
        who: &Identity,
    ) -> Result<(CallPermits, Lease), Error> {
        let (permit, mut pass) = self.inner.entrance.take(held, who)?;
        // Files are billed when a model reads them.
        pass.charge(CallCost {
            model: &upload.model,
            tokens: 0,
            has_audio: false,
        })?;
        let subject = Subject {
            choice: Choice::new((who.caller, who.share), &upload.passing, &upload.model),
            voter: who.name().cloned(),
        };
        let lease = match upload.passing.api_key {
            Some(_) => accounts.address(&subject)?,
            None => accounts.choose(&subject, None, &[], Instant::now())?,
        };
        Ok((CallPermits::new((permit, None), pass), lease))
    }
}
