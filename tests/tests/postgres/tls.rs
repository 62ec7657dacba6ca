//! TLS against a test authority.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::time::Duration;

use litmus_tests::generate::{Plan, write};
use litmus_tests::project::{Ended, Project, wait_until};
use litmus_tests::servers::Postgres;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

/// An authority, and what it signs.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// Certificate and key for these names.
    fn sign(&self, names: &[&str], common: &str, expired: bool) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, common);
        if expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().expect("a key");
        (params.signed_by(&key, &self.issuer).expect("a certificate").pem(), key.serialize_pem())
    }
}

struct Secured {
    server: Postgres,
    project: Project,
    sealed: Cell<u64>,
}

impl Secured {
    fn new() -> Self {
        Self { server: Postgres::start(), project: Project::new(), sealed: Cell::new(0) }
    }

    /// A file of the cluster, readable by the server's user alone.
    fn put(&self, name: &str, text: &str) {
        let path = self.server.data().join(name);
        fs::write(&path, text).expect("the cluster's folder");
        let owner = fs::metadata(self.server.data()).expect("the cluster's folder");
        chown(&path, Some(owner.uid()), Some(owner.gid())).expect("it goes to the server");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
    }

    /// Gives the server a certificate, and waits until it shows it.
    fn shows(&self, (certificate, key): (String, String)) {
        self.put("server.crt", &certificate);
        self.put("server.key", &key);
        self.server.psql("ALTER SYSTEM SET ssl = on");
        self.reload();
        assert_eq!(self.server.psql("SHOW ssl"), "on", "{}", fs::read_to_string(self.server.log()).unwrap_or_default());
    }

    /// Makes the server read its files again, and waits until it has.
    fn reload(&self) {
        let loaded = || self.server.psql("SELECT pg_conf_load_time()");
        let before = loaded();
        self.server.psql("SELECT pg_reload_conf()");
        assert!(wait_until(Duration::from_secs(10), || loaded() != before), "the server does not reload");
    }

    fn trusts(&self, authority: &Authority) {
        fs::write(self.project.path("ca.pem"), &authority.pem).expect("a file");
    }

    /// Forwards a run that was sealed just now.
    fn forward(&self, host: &str, parameters: &str) -> Ended {
        self.sealed.set(self.sealed.get() + 1);
        write(&self.project.data_dir(), &Plan::new(self.sealed.get(), 5));
        let url = format!("url=postgresql://litmus@{host}:{}/postgres?{parameters}", self.server.port());
        self.project.run(["--plugin", "postgres.so", "--set", &url, "--give-up-after", "1s", "--format", "json"])
    }
}

#[test]
fn each_mode_verifies_what_it_says_and_a_refusal_says_which() {
    let secured = Secured::new();
    let (authority, stranger) = (Authority::new("Test authority"), Authority::new("Stranger"));
    secured.trusts(&authority);
    let ca = "sslrootcert=ca.pem";

    // Without TLS at the server.
    secured.forward("127.0.0.1", "sslmode=prefer").exits(0);
    secured.forward("127.0.0.1", "sslmode=require").exits(1).says("does not offer TLS");

    secured.shows(authority.sign(&["127.0.0.1"], "db", false));
    secured.put("pg_hba.conf", "local all all trust\nhostssl all all 127.0.0.1/32 trust\n");
    secured.reload();
    for mode in ["prefer", "require", "verify-ca", "verify-full"] {
        secured.forward("127.0.0.1", &format!("sslmode={mode}&{ca}")).exits(0);
    }
    secured.forward("127.0.0.1", "sslmode=disable").exits(1).says("28000");
    let check = ["check", "--live", "--plugin", "postgres.so", "--set"];
    let url = format!("url=postgresql://litmus@127.0.0.1:{}/postgres?sslmode=verify-full&{ca}", secured.server.port());
    secured.project.run(check.iter().copied().chain([url.as_str()])).exits(0).says("with TLS");

    // A certificate for another host.
    secured.shows(authority.sign(&["db.example"], "db", false));
    secured
        .forward("127.0.0.1", &format!("sslmode=verify-full&{ca}"))
        .exits(1)
        .says("is for another host")
        .says("db.example");
    secured.forward("127.0.0.1", &format!("sslmode=verify-ca&{ca}")).exits(0);

    // One that is over.
    secured.shows(authority.sign(&["127.0.0.1"], "db", true));
    for mode in ["verify-ca", "verify-full"] {
        secured.forward("127.0.0.1", &format!("sslmode={mode}&{ca}")).exits(1).says("has expired");
    }
    secured.forward("127.0.0.1", "sslmode=require").exits(0);

    // One of an authority that nobody trusts.
    secured.shows(stranger.sign(&["127.0.0.1"], "db", false));
    secured.forward("127.0.0.1", &format!("sslmode=verify-ca&{ca}")).exits(1).says("signed by nobody in ca_file");
    secured.forward("127.0.0.1", &format!("sslmode=require&{ca}")).exits(1).says("signed by nobody in ca_file");
    secured.forward("127.0.0.1", "sslmode=require").exits(0);
}

/// As `openssl req -x509` makes it: trusted by its own name, and refused with what to do.
#[test]
fn a_certificate_that_is_its_own_authority_is_called_so() {
    let secured = Secured::new();
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let pem = params.self_signed(&key).expect("a certificate").pem();
    fs::write(secured.project.path("ca.pem"), &pem).expect("a file");
    secured.shows((pem, key.serialize_pem()));
    for mode in ["verify-ca", "verify-full"] {
        let ended = secured.forward("127.0.0.1", &format!("sslmode={mode}&sslrootcert=ca.pem"));
        ended.exits(1).says("is its own authority").says("hint: have an authority sign one");
    }
}

#[test]
fn a_client_certificate_logs_in_where_a_password_is_not_asked_for() {
    let secured = Secured::new();
    let authority = Authority::new("Test authority");
    secured.trusts(&authority);
    secured.put("root.crt", &authority.pem);
    secured.server.psql("ALTER SYSTEM SET ssl_ca_file = 'root.crt'");
    secured.shows(authority.sign(&["127.0.0.1"], "db", false));
    secured.put("pg_hba.conf", "local all all trust\nhostssl all all 127.0.0.1/32 cert\n");
    secured.reload();
    let (certificate, key) = authority.sign(&[], "litmus", false);
    fs::write(secured.project.path("client.pem"), certificate).expect("a file");
    fs::write(secured.project.path("client.key"), key).expect("a file");
    let mode = "sslmode=verify-full&sslrootcert=ca.pem";
    secured.forward("127.0.0.1", &format!("{mode}&sslcert=client.pem&sslkey=client.key")).exits(0);
    assert_eq!(secured.server.psql("SELECT count(*) FROM litmus.test_runs"), "1");
    secured.forward("127.0.0.1", mode).exits(1).says("28000");
}
