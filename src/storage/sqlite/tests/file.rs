//! The file: grouped writes, other processes, foreign files.

use tokio::time::Instant;

use super::*;

#[tokio::test]
async fn a_failing_write_rolls_back_alone() {
    let fixture = Fixture::new();
    fixture.room("r", false, None).await;
    let insert = |id: &'static str, fails: bool| {
        fixture.store.sqlite().write(move |connection| {
            connection.execute(
                "INSERT INTO users (id, name, display_name, created_at) VALUES (?1, ?1, '', '')",
                [id],
            )?;
            if fails {
                Ok(Err(StoreError::Closed("refused".into())))
            } else {
                Ok(Ok(()))
            }
        })
    };
    // Asked together, so that one transaction takes them.
    let (one, two, three, again) = tokio::join!(
        insert("one", false),
        insert("two", true),
        insert("three", false),
        insert("one", false),
    );
    assert_eq!((one, two.is_err(), three), (Ok(()), true, Ok(())));
    assert!(matches!(again, Err(StoreError::Failed { .. })));
    let users = fixture.store.users().await.unwrap();
    let ids: Vec<_> = users.iter().map(|user| user.id.as_str()).collect();
    assert_eq!(ids, ["one", "three"]);
}

#[tokio::test]
async fn readers_cannot_write() {
    let fixture = Fixture::new();
    let written = fixture
        .store
        .sqlite()
        .read(|connection| connection.execute("DELETE FROM users", ()));
    assert!(matches!(written.await, Err(StoreError::ReadOnly(_))));
}

#[tokio::test]
async fn a_write_of_another_process_is_noticed() {
    let fixture = Fixture::new();
    let mut changes = fixture.store.changes();
    fixture.sql("INSERT INTO users (id, name, display_name, created_at) VALUES ('a', 'a', '', '')");
    let noticed = tokio::time::timeout(Duration::from_secs(30), changes.changed());
    noticed.await.expect("noticed in time").unwrap();
    assert_eq!(*changes.borrow_and_update(), 1);
}

#[tokio::test]
async fn a_write_waits_for_another_process_instead_of_failing() {
    let fixture = Fixture::new();
    let other = fixture.other();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let store = fixture.store.clone();
    let writing = tokio::spawn(async move { store.provision("alice", None).await });
    // Reads go on meanwhile, and the lock still holds when they have.
    for _ in 0..100 {
        assert_eq!(fixture.store.users().await.unwrap(), []);
    }
    assert!(!writing.is_finished());
    other.execute_batch("COMMIT").unwrap();
    writing.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_caller_gets_an_error_after_5_s_of_a_stuck_disk_and_a_queued_write_is_skipped() {
    let fixture = Fixture::new();
    let (resume, stuck) = std::sync::mpsc::channel::<()>();
    let (entered, started) = std::sync::mpsc::channel::<()>();
    let writing = fixture.store.sqlite().write::<_, StoreError, _>(move |_| {
        entered.send(()).expect("the test waits for the start");
        stuck.recv().expect("the disk answers");
        Ok(Ok(()))
    });
    // The paused clock advances only while the test waits in `await`: a blocking wait for the start of the
    // write costs no time. A write that starts after its timeout would be skipped.
    let clock = Instant::now();
    let begun = async { started.recv().expect("the write starts") };
    let queued = async {
        begun.await;
        fixture.store.provision("alice", None).await
    };
    let (first, second) = tokio::join!(biased; writing, queued);
    assert!(matches!(first, Err(StoreError::TimedOut { .. })));
    let message = second.unwrap_err().to_string();
    assert!(message.contains("did not answer within 5 s"), "{message}");
    assert_eq!(clock.elapsed().as_secs(), 5);
    resume.send(()).unwrap();
    tokio::time::resume();
    assert_eq!(fixture.store.users().await.unwrap(), []);
    fixture.store.provision("bob", None).await.unwrap();
    let names = fixture.store.users().await.unwrap();
    let names: Vec<_> = names.iter().map(|user| user.name.as_str()).collect();
    assert_eq!(names, ["bob"]);
}

#[tokio::test]
async fn a_removed_or_replaced_file_gets_no_write_until_it_is_back() {
    let fixture = Fixture::new();
    fixture.store.provision("alice", None).await.unwrap();
    let path = |name: &str| fixture.dir.path().join(name);
    let aside = path("aside");
    for name in [FILE_NAME, "parlor.db-wal", "parlor.db-shm"] {
        let file = path(name);
        std::fs::rename(&file, &aside).unwrap();
        let replaced = |outcome| matches!(outcome, Err(StoreError::Replaced(_)));
        assert!(
            replaced(fixture.store.check_writable().await),
            "{name} is gone"
        );
        std::fs::write(&file, "another").unwrap();
        assert!(
            replaced(fixture.store.check_writable().await),
            "{name} is another"
        );
        std::fs::rename(&aside, &file).unwrap();
        fixture.store.check_writable().await.unwrap();
    }
    assert_eq!(fixture.store.users().await.unwrap().len(), 1);
}

#[test]
fn closing_writes_the_journal_back_and_reopening_finds_everything() {
    // Many times, side by side: the threads of a store must not close its file at the same time.
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(opened_and_closed_20_times);
        }
    });
}

fn opened_and_closed_20_times() {
    let Fixture { store, dir, .. } = Fixture::new();
    drop(store);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    for known in 0..20 {
        let store = Store::open(&dir.path().join(FILE_NAME)).unwrap();
        runtime.block_on(async {
            // Each thread that reads.
            for _ in 0..2 {
                assert_eq!(store.users().await.unwrap().len(), known);
            }
            let name = format!("user-{known}");
            store.provision(&name, None).await.unwrap();
        });
        drop(store);
        let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(names.len(), 1, "{names:?}");
    }
}

#[test]
fn the_file_is_readable_by_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let fixture = Fixture::new();
    for entry in std::fs::read_dir(fixture.dir.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", entry.path());
    }
}

#[test]
fn a_file_that_is_not_a_database_of_parlor_is_rejected_and_not_changed() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("text");
    std::fs::write(
        &text,
        "not a database, but long enough to look like one".repeat(100),
    )
    .unwrap();
    let foreign = dir.path().join("foreign");
    let other = Connection::open(&foreign).unwrap();
    other.execute_batch("CREATE TABLE theirs (a)").unwrap();
    for path in [text, foreign] {
        let before = std::fs::read(&path).unwrap();
        let refused = Store::open(&path).err();
        assert_eq!(refused, Some(StoreError::NotOurs(path.clone())));
        assert!(
            std::fs::read(&path).unwrap() == before,
            "{path:?} was changed"
        );
    }
}

#[test]
fn a_newer_schema_is_rejected_with_a_message() {
    let fixture = Fixture::new();
    fixture.sql("PRAGMA user_version = 99");
    let path = fixture.dir.path().join(FILE_NAME);
    let refused = Store::open(&path).err().unwrap().to_string();
    assert!(
        refused.contains("schema 99") && refused.contains(path.to_str().unwrap()),
        "{refused}"
    );
}

#[test]
fn a_missing_directory_is_named() {
    let path = Path::new("/nonexistent/parlor.db");
    let refused = Store::open(path).err().unwrap().to_string();
    assert!(refused.contains("/nonexistent/parlor.db"), "{refused}");
}
