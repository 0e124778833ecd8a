//! `threatwatch keys`: makes, lists and revokes API keys.

use registry::{ApiKey, KeyName, KeyState, Keys, Registry, Role};

use super::rfc3339;
use crate::{
    audited::{Act, actor},
    settings::Settings,
};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Make a key and print it, once: nobody can show it again
    New {
        /// Whose it is; history and audit trail call the holder by this name
        name: KeyName,
        /// What it may be used for: `predict`, `review` or `operate`; may be given several times
        #[arg(long = "role", value_name = "ROLE", required = true)]
        roles: Vec<Role>,
    },
    /// List every key that was made, without the keys themselves
    List,
    /// Revoke the keys of a name: every API refuses them within five seconds
    Revoke {
        /// Whose keys
        name: KeyName,
        /// Only the one of this id
        #[arg(long)]
        id: Option<String>,
    },
}

pub(super) async fn run(command: Command, settings: &Settings) -> anyhow::Result<()> {
    let registry = settings.registry().await?;
    match command {
        Command::New { name, roles } => create(&registry, &name, &roles, settings).await,
        Command::List => list(&registry).await,
        Command::Revoke { name, id } => revoke(&registry, &name, id.as_deref(), settings).await,
    }
}

async fn create(registry: &Registry, name: &KeyName, roles: &[Role], settings: &Settings) -> anyhow::Result<()> {
    let act = Act { action: "keys_new", subject: Some(format!("{name} ({})", words(roles))), reason: None };
    let making = async { Ok(registry.create_key(name, roles, &actor()).await?) };
    let (key, secret) = act.on_record(settings, making, |(key, _)| format!("made {}", key.id)).await?;
    eprintln!("The key of {name} ({}), id {}. It is shown this once:", words(&key.roles), key.id);
    println!("{}", secret.expose());
    Ok(())
}

async fn revoke(registry: &Registry, name: &KeyName, id: Option<&str>, settings: &Settings) -> anyhow::Result<()> {
    let meant = id.map_or_else(|| name.to_string(), |id| format!("{name} {id}"));
    let act = Act { action: "keys_revoke", subject: Some(meant), reason: None };
    let revoking = async { Ok(registry.revoke_keys(name, id, &actor()).await?) };
    let ids = |keys: &Vec<ApiKey>| keys.iter().map(|key| key.id.as_str()).collect::<Vec<_>>().join(", ");
    let revoked = act.on_record(settings, revoking, |keys| format!("revoked {}", ids(keys))).await?;
    if revoked.is_empty() {
        println!("nothing to revoke: the keys of {name} were revoked before");
    }
    for key in revoked {
        println!("revoked {name} {}", key.id);
    }
    Ok(())
}

async fn list(registry: &Registry) -> anyhow::Result<()> {
    println!("{:<24} {:<10} {:<24} {:<32} revoked", "name", "id", "roles", "made");
    for KeyState { key, is_revoked } in registry.keys(&Keys::default()).await?.all() {
        let made = format!("{} by {}", rfc3339(key.created), key.created_by);
        let revoked = match registry.revocation(key).await? {
            _ if !is_revoked => "-".to_owned(),
            Some(revocation) => format!("{} by {}", rfc3339(revocation.at), revocation.by),
            None => "yes".to_owned(),
        };
        println!("{:<24} {:<10} {:<24} {made:<32} {revoked}", key.name.as_str(), key.id, words(&key.roles));
    }
    Ok(())
}

fn words(roles: &[Role]) -> String {
    roles.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
