//! The schema in a database that other programs use as well.

use futures_util::future::join_all;

use super::*;

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_as_it_is() {
    let fixture = Fixture::postgres().await;
    fixture.sql("UPDATE schema_version SET version = 4");
    let database = fixture.database.as_ref().unwrap();
    let newer = StoreError::NewerServerSchema {
        server: database.url(),
        found: 4,
        known: 3,
    };
    let refused = connect(database).await.err();
    assert_eq!(refused, Some(newer));
    let version = database.sql("SELECT version FROM parlor.schema_version");
    assert_eq!(version, "4");
}

#[tokio::test]
async fn a_schema_of_another_program_is_refused_and_left_as_it_is() {
    let database = server().create(None);
    database.sql("CREATE SCHEMA parlor; CREATE TABLE parlor.users (id text)");
    let refused = connect(&database).await.err();
    assert_eq!(refused, Some(StoreError::ServerNotOurs(database.url())));
    assert_eq!(database.sql("SELECT count(*) FROM parlor.users"), "0");
}

#[tokio::test]
async fn tables_of_another_program_in_the_same_database_stay() {
    let database = server().create(None);
    database.sql("CREATE TABLE public.users (id text); INSERT INTO public.users VALUES ('theirs')");
    let store = connect(&database).await.unwrap();
    store.provision("ours", None).await.unwrap();
    assert_eq!(
        database.sql("SELECT string_agg(id, ',') FROM public.users"),
        "theirs"
    );
    assert_eq!(
        database.sql("SELECT string_agg(id, ',') FROM parlor.users"),
        "ours"
    );
}

#[tokio::test]
async fn several_processes_that_start_together_migrate_once() {
    let database = server().create(None);
    let stores = join_all((0..4).map(|_| connect(&database))).await;
    for store in stores {
        store.unwrap().provision("alice", None).await.unwrap();
    }
    assert_eq!(
        database.sql("SELECT count(*) FROM parlor.schema_version"),
        "1"
    );
    assert_eq!(database.sql("SELECT count(*) FROM parlor.users"), "1");
}

#[tokio::test]
async fn a_database_that_cannot_store_all_text_is_refused() {
    let database = server().create(Some("template0 ENCODING 'SQL_ASCII'"));
    let refused = connect(&database).await.err().unwrap().to_string();
    assert!(refused.contains("SQL_ASCII"), "{refused}");
}

#[tokio::test]
async fn a_role_needs_no_rights_beyond_a_schema_of_its_own() {
    let database = server().create(None);
    let role = database
        .url()
        .rsplit_once('/')
        .unwrap()
        .1
        .replace("test", "role");
    database.sql(&format!(
        "CREATE ROLE {role} LOGIN; CREATE SCHEMA parlor AUTHORIZATION {role}"
    ));
    let url = database.url().replace("//parlor@", &format!("//{role}@"));
    let options = super::super::PostgresOptions {
        url: url.parse().unwrap(),
        password: None,
        ca_file: None,
        max_connections: 2,
    };
    let store = crate::storage::Store::connect(&options).await.unwrap();
    store.check_writable().await.unwrap();
    store.provision("alice", None).await.unwrap();
    let changed = store.changes();
    drop(store);
    assert!(!changed.has_changed().unwrap_or(false));
    database.sql(&format!("DROP OWNED BY {role};; DROP ROLE {role}"));
}
