//! The password file, as libpq reads it ("The Password File"): `host:port:database:user:password` a line, `*` for any.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use litmus_core::abi::guest::log;

/// The password of the first line that fits; `None` where there is no file, or others may read it.
pub(crate) fn look_up(file: &Path, host: &str, port: u16, dbname: &str, user: &str) -> Option<String> {
    let metadata = std::fs::metadata(file).ok().filter(std::fs::Metadata::is_file)?;
    if metadata.mode() & 0o077 != 0 {
        log(2, &format!("{}: others may read it, so it is not used; chmod 600 it", file.display()));
        return None;
    }
    let text = std::fs::read_to_string(file).ok()?;
    let host = if host.starts_with('/') { "localhost" } else { host };
    let wanted = [host, &port.to_string(), dbname, user];
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let fields = fields(line);
        let (password, rest) = fields.split_last()?;
        let fits = rest.len() == 4 && rest.iter().zip(wanted).all(|(field, wanted)| field == "*" || field == wanted);
        fits.then(|| password.clone())
    })
}

/// Five fields; a backslash takes the next character as it is. What follows the fourth colon is the password.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        let last = fields.len() - 1;
        match character {
            ':' if fields.len() < 5 => fields.push(String::new()),
            '\\' => fields[last].extend(characters.next()),
            other => fields[last].push(other),
        }
    }
    if fields.len() == 5 { fields } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_first_line_that_fits_counts() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pgpass");
        let text =
            "# a comment\nother:*:*:*:no\nh:5432:d\\:b:u:one\\:1\\\\\nh:*:*:*:two\nlocalhost:1:*:*:socket\nbroken\n";
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let found = |host, port, dbname, user| look_up(&file, host, port, dbname, user);
        assert_eq!(found("h", 5432, "d:b", "u").as_deref(), Some("one:1\\"));
        assert_eq!(found("h", 5433, "d", "u").as_deref(), Some("two"));
        assert_eq!(found("/run/pg", 1, "d", "u").as_deref(), Some("socket"));
        assert_eq!(found("nobody", 1, "d", "u"), None);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(found("h", 5433, "d", "u"), None, "others may read it");
        assert_eq!(look_up(&folder.path().join("none"), "h", 1, "d", "u"), None);
    }
}
