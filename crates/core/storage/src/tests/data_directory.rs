use std::os::unix::fs::PermissionsExt;

use atoll_kernel::disk::{Disk, replace_file};

use crate::{DataDirectory, DataDirectoryError, FORMAT_VERSION, FileDisk};

#[test]
fn a_second_holder_is_told_who_the_first_is() {
    let directory = tempfile::tempdir().expect("makes a directory");
    let path = directory.path().join("data");
    let first = DataDirectory::open(&path).expect("is free");
    let mode = std::fs::metadata(&path).expect("is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "it is for its owner only");

    let held = DataDirectoryError::Held { path: path.clone(), pid: Some(std::process::id()) };
    let second = DataDirectory::open(&path).expect_err("is held");
    assert_eq!(second, held);
    assert_eq!(second.to_string(), format!("{} is in use by process {}", path.display(), std::process::id()));
    assert_eq!(DataDirectory::holder(&path), Some(std::process::id()));

    drop(first);
    assert_eq!(DataDirectory::holder(&path), None);
    DataDirectory::open(&path).expect("is free again");
}

#[test]
fn another_version_is_refused() {
    let directory = tempfile::tempdir().expect("makes a directory");
    drop(DataDirectory::open(directory.path()).expect("is free"));
    let disk = FileDisk::new(directory.path());
    assert_eq!(disk.list(""), Ok(vec!["format".to_owned(), "lock".to_owned()]));

    replace_file(&disk, "", "format", b"atoll 999\n").expect("writes");
    let error = DataDirectory::open(directory.path()).expect_err("is of another version");
    assert_eq!(error, DataDirectoryError::OtherVersion { path: directory.path().to_owned(), found: 999 });
    assert!(error.to_string().contains(&format!("version {FORMAT_VERSION}")));

    replace_file(&disk, "", "format", b"something else").expect("writes");
    assert!(matches!(DataDirectory::open(directory.path()), Err(DataDirectoryError::Unusable { .. })));
}
