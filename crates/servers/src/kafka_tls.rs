//! A broker's certificate, made by the JDK's `keytool`, which whoever is to trust it must be told of.

use std::path::{Path, PathBuf};
use std::process::Command;

use tidemill_engine::error::{Error, Result};

/// Of the stores; they live as long as the broker.
const PASSWORD: &str = "not-a-secret";

/// The certificate in PEM, for clients.
pub fn certificate(folder: &Path) -> PathBuf {
    folder.join("broker.pem")
}

/// Makes key and certificate in `folder`; gives the broker's properties for them.
pub fn properties(folder: &Path) -> Result<String> {
    let (keys, trusted, certificate) = (folder.join("keys.p12"), folder.join("trusted.p12"), certificate(folder));
    let path = |path: &Path| path.display().to_string();
    let store = |store: &Path| {
        [
            "-keystore".to_string(),
            path(store),
            "-storetype".into(),
            "PKCS12".into(),
            "-storepass".into(),
            PASSWORD.into(),
        ]
    };
    let steps = [
        ("-genkeypair", &keys, "-keyalg EC -dname CN=localhost -ext SAN=ip:127.0.0.1 -validity 2".to_string()),
        ("-exportcert", &keys, format!("-rfc -file {}", path(&certificate))),
        ("-importcert", &trusted, format!("-noprompt -file {}", path(&certificate))),
    ];
    for (step, keystore, arguments) in steps {
        let mut keytool = Command::new("keytool");
        keytool.args([step, "-alias", "broker"]).args(store(keystore)).args(arguments.split(' '));
        let done = keytool.output().map_err(|error| Error::usage("the JDK's keytool is needed").with_source(error))?;
        if !done.status.success() {
            return Err(Error::internal(format!("keytool {step}: {}", String::from_utf8_lossy(&done.stdout))));
        }
    }
    Ok(format!(
        "ssl.keystore.location={}\nssl.keystore.password={PASSWORD}\nssl.key.password={PASSWORD}\n\
         ssl.truststore.location={}\nssl.truststore.password={PASSWORD}\n",
        path(&keys),
        path(&trusted),
    ))
}
