//! Failures of SQLite: a full disk, a damaged file.

use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use dashgate::app;
use dashgate::config::StoreSettings;
use dashgate::error::Reason;
use tonic::Code;

use crate::kept::text;
use crate::replicas::replica;
use crate::support::*;
use crate::trials::{Test, tests};

pub fn trials() -> Vec<Test> {
    tests![
        the_file_is_readable_by_its_owner_only,
        a_full_disk_refuses_named_calls_and_recovers,
        a_file_that_is_no_database_is_refused_at_the_start,
        a_file_that_is_damaged_at_the_start_is_refused,
        a_file_that_is_damaged_while_it_is_used_fails_named_calls_only,
        a_file_in_a_missing_folder_is_refused_at_the_start,
    ]
}

fn path(store: &StoreSettings) -> PathBuf {
    store.url.expose().trim_start_matches("sqlite:").into()
}

async fn the_file_is_readable_by_its_owner_only(store: StoreSettings) {
    use std::os::unix::fs::PermissionsExt as _;
    let upstream = numbering(Duration::ZERO).await;
    let one = replica(&upstream, &store).await;
    one.conversation().converse(named("a")).await.unwrap();
    let folder = path(&store).parent().unwrap().to_owned();
    let mut files = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        files += 1;
    }
    assert_eq!(files, 3);
}

/// A file system in memory, of this size; `None` if only root could create it.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(path: &Path, size: &str) -> Option<Self> {
        fs::create_dir(path).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]);
        let done = mount.arg(path).output();
        done.is_ok_and(|output| output.status.success())
            .then(|| Self(path.to_owned()))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

async fn a_full_disk_refuses_named_calls_and_recovers(mut store: StoreSettings) {
    let folder = path(&store).with_file_name("disk");
    let Some(disk) = Tmpfs::mount(&folder, "2m") else {
        println!("not tested: a file system cannot be mounted");
        return;
    };
    let url = format!("sqlite:{}", folder.join("state.db").display());
    store.url = dashgate::secret::Secret::new(url);
    let upstream = numbering(Duration::ZERO).await;
    let one = replica(&upstream, &store).await;
    one.conversation().converse(named("kept")).await.unwrap();
    let filler = folder.join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    while file.write_all(&[0; 1]).is_ok() {}
    let mut refused = 0;
    for number in 0..20 {
        let name = format!("n{number}");
        if let Err(error) = one.conversation().converse(named(&name)).await {
            // An answer that does not fit any more was made nevertheless.
            let reason = reason(&error);
            assert!(
                matches!(reason.as_str(), "STORE_FULL" | "ANSWER_NOT_SAVED"),
                "{error:?}"
            );
            refused += usize::from(reason == "STORE_FULL");
            if refused == 3 {
                break;
            }
        }
    }
    assert_eq!(refused, 3);
    let asked = upstream.seen().len();
    let error = one.conversation().converse(named("full")).await;
    assert_fault(&error.unwrap_err(), Code::Unavailable, "STORE_FULL");
    assert_eq!(upstream.seen().len(), asked);
    one.conversation()
        .converse(ask_whole(question()))
        .await
        .unwrap();
    // What is there can be read.
    let two = replica(&upstream, &store).await;
    let answer = two.conversation().converse(named("kept")).await.unwrap();
    assert_eq!(text(answer.get_ref()), "answer 0");
    fs::remove_file(filler).unwrap();
    drop(file);
    one.conversation().converse(named("full")).await.unwrap();
    drop(disk);
}

async fn refused(store: &StoreSettings) -> dashgate::error::Error {
    let upstream = numbering(Duration::ZERO).await;
    let mut settings = settings(&upstream);
    settings.store = Some(store.clone());
    let begun = tokio::time::Instant::now();
    let error = app::bind(&settings).await.err().expect("it is refused");
    assert!(begun.elapsed() < Duration::from_secs(3));
    error
}

async fn a_file_that_is_no_database_is_refused_at_the_start(store: StoreSettings) {
    fs::write(path(&store), [b'x'; 8192]).unwrap();
    let error = refused(&store).await;
    assert_eq!(error.reason(), Reason::StoreDamaged);
    assert!(error.message().contains("damaged"), "{error}");
}

/// Overwrites all pages after the first one.
fn damage(store: &StoreSettings) {
    let path = path(store);
    let length = fs::metadata(&path).unwrap().len();
    assert!(length > 8192, "{length}");
    let mut file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(4096)).unwrap();
    let noise: Vec<u8> = (4096..length).map(|at| (at % 251) as u8).collect();
    file.write_all(&noise).unwrap();
}

async fn a_file_that_is_damaged_at_the_start_is_refused(store: StoreSettings) {
    let upstream = numbering(Duration::ZERO).await;
    let one = replica(&upstream, &store).await;
    one.conversation().converse(named("a")).await.unwrap();
    one.stop().await;
    one.ended().await;
    crate::database::execute(&store, "PRAGMA wal_checkpoint(TRUNCATE)").await;
    damage(&store);
    let error = refused(&store).await;
    assert_eq!(error.reason(), Reason::StoreDamaged, "{error:?}");
}

async fn a_file_that_is_damaged_while_it_is_used_fails_named_calls_only(store: StoreSettings) {
    let upstream = numbering(Duration::ZERO).await;
    let one = replica(&upstream, &store).await;
    one.conversation().converse(named("a")).await.unwrap();
    crate::database::execute(&store, "PRAGMA wal_checkpoint(TRUNCATE)").await;
    damage(&store);
    // Connections that have the pages in their caches do not notice it; new ones do.
    let calls = (0..40).map(|number| {
        let mut client = one.conversation();
        tokio::spawn(async move { client.converse(named(&format!("n{number}"))).await })
    });
    let calls: Vec<_> = calls.collect();
    let mut damaged = 0;
    for call in calls {
        if let Err(error) = call.await.unwrap() {
            // Calls that wait for a new connection while others fail do not learn the cause.
            let (code, reason) = (error.code(), reason(&error));
            let waited = (code, reason.as_str()) == (Code::Unavailable, "STORE_DOWN");
            assert!(waited || code == Code::Internal, "{error:?}");
            damaged += usize::from(reason == "STORE_DAMAGED");
        }
    }
    assert!(damaged > 0);
    one.conversation()
        .converse(ask_whole(question()))
        .await
        .unwrap();
}

async fn a_file_in_a_missing_folder_is_refused_at_the_start(mut store: StoreSettings) {
    store.url = dashgate::secret::Secret::new("sqlite:/nowhere/state.db");
    let error = refused(&store).await;
    assert_eq!(error.reason(), Reason::GatewayConfig);
    assert!(error.message().contains("/nowhere/state.db"), "{error}");
}
