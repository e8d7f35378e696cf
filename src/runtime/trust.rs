//! Which servers are trusted when the gateway is the client.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// TLS that trusts the authorities that browsers trust, because an image may have no certificates of its own, and those in the
/// file `more`, which `option` names.
///
/// # Errors
///
/// A sentence about the file.
pub fn client(more: Option<&Path>, option: &str) -> Result<ClientConfig, String> {
    let mut roots: RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
    if let Some(path) = more {
        let bad = || format!("{option}: {} has no certificate as PEM", path.display());
        let certificates = CertificateDer::pem_file_iter(path).map_err(|_| bad())?;
        let certificates = certificates.collect::<Result<Vec<_>, _>>().map_err(|_| bad())?;
        if roots.add_parsable_certificates(certificates).0 == 0 {
            return Err(bad());
        }
    }
    // By name: with a second library of cryptography somewhere among the crates, the default would be a panic.
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS: {error}"))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
