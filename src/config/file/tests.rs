use std::os::unix::fs::{PermissionsExt, symlink};

use proptest::prelude::*;

use super::super::value_source::{Entry, report};
use super::*;

fn parsed(text: &str) -> Result<Vec<Entry>, Vec<String>> {
    report(parse(Path::new("c.toml"), text, &Schema::known()))
}

#[test]
fn every_error_has_its_line() {
    let text = "[turn]\nrelm = \"x\"\n\n[http]\nmax_body = \"big\"\nlisten = [\"here\"]\n";
    assert_eq!(
        parsed(text).unwrap_err(),
        [
            "c.toml:2: turn.relm is not a known key; did you mean turn.realm?",
            "c.toml:5: http.max_body must be a whole number (the default is 65536)",
            "c.toml:6: http.listen is wrong at \"here\": it must be an address and a port, such \
             as 127.0.0.1:8000 or [::1]:8000 (the default is [\"0.0.0.0:8000\",\"[::]:8000\"])",
        ]
    );
}

#[test]
fn every_syntax_error_has_its_line_and_omits_the_text() {
    let errors = parsed("[auth]\nsecret = \"s3cr3t\nrealm = = 1\n").unwrap_err();
    assert!(errors.len() >= 2, "{errors:?}");
    assert!(errors[0].starts_with("c.toml:2: "), "{errors:?}");
    assert!(!errors.concat().contains("s3cr3t"), "{errors:?}");
}

#[test]
fn a_section_is_not_a_value_and_a_value_is_not_a_section() {
    let errors = parsed("http = 5\n[turn.realm]\nx = 1\n").unwrap_err();
    assert_eq!(
        errors[0],
        "c.toml:1: http is a section: write [http] and its keys below"
    );
    assert!(errors[1].contains("turn.realm must be text"), "{errors:?}");
}

#[test]
fn an_unknown_section_gets_a_suggestion_if_one_is_similar() {
    let errors = parsed("[trun]\nrealm = \"x\"\n[http]\nx = 1\n[x]\ny = 1\n").unwrap_err();
    assert_eq!(
        errors,
        [
            "c.toml:1: trun is not a known section; did you mean turn?",
            "c.toml:4: http.x is not a known key",
            "c.toml:5: x is not a known section",
        ]
    );
}

#[test]
fn a_string_is_a_list_of_one() {
    let entries = parsed("turn.external_ip = \"auto\"").unwrap();
    assert_eq!(entries[0].value, serde_json::json!(["auto"]));
}

#[test]
fn a_file_that_others_can_write_is_skipped_with_a_remark() {
    let dir = tempfile::tempdir().unwrap();
    let (local, system) = (dir.path().join("config.toml"), dir.path().join("system"));
    fs::write(&local, "").unwrap();
    fs::write(&system, "").unwrap();
    let me = fs::metadata(&local).unwrap().uid();
    let find_with_mode = |mode| {
        fs::set_permissions(&local, fs::Permissions::from_mode(mode)).unwrap();
        locate(&local, &system, me)
    };
    assert_eq!(find_with_mode(0o644).path, Some(local.clone()));
    for mode in [0o664, 0o646] {
        let found = find_with_mode(mode);
        assert_eq!(found.path, Some(system.clone()));
        assert!(found.remarks[0].contains("others may write it"));
    }
}

#[test]
fn a_directory_is_skipped_with_a_remark_and_a_missing_file_without_one() {
    let dir = tempfile::tempdir().unwrap();
    let (local, system) = (dir.path().join("config.toml"), dir.path().join("system"));
    let me = fs::metadata(dir.path()).unwrap().uid();
    let found = locate(&local, &system, me);
    assert!(found.path.is_none() && found.remarks.is_empty());
    symlink("nowhere", &local).unwrap();
    assert!(locate(&local, &system, me).remarks[0].contains("can't be accessed"));
    fs::remove_file(&local).unwrap();
    fs::create_dir(&local).unwrap();
    assert!(locate(&local, &system, me).remarks[0].contains("not a file"));
}

proptest! {
    #[test]
    fn no_file_panics(text in ".*") {
        let _ = parsed(&text);
    }

    #[test]
    fn no_almost_toml_panics(text in "(\\[{0,2}[a-z.\"]{0,9}\\]{0,2}|[a-z.]{1,6} *= *[-0-9\\[\\]{}\"'a-z.:,]{0,9}|#|\n){0,30}") {
        let _ = parsed(&text);
    }
}
