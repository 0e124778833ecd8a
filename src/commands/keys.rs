//! `threatwatch keys`: makes, lists and revokes API keys.

use registry::{ApiKey, KeyName, KeyState, Keys, Registry, Role};

use serde::Serialize;

use super::{answer::Answer, rfc3339};
use crate::{
    audited::{Act, actor},
    settings::Settings,
};

/// What to do with keys
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    answer: Answer,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a key and print it once; it cannot be shown again
    New {
        /// Name of the holder, as the history and the audit trail show it
        name: KeyName,
        /// A role of the key: `predict`, `review` or `operate`; may be given several times
        #[arg(long = "role", value_name = "ROLE", required = true)]
        roles: Vec<Role>,
    },
    /// List every key that was ever made, without the secret itself
    List,
    /// Revoke the keys of a holder: every API refuses them within five seconds
    Revoke {
        /// Name of the holder
        name: KeyName,
        /// Revoke only the key with this id
        #[arg(long)]
        id: Option<String>,
    },
}

/// A key in the answer. `key` is present only when the key has just been made.
#[derive(Debug, Serialize)]
struct Told<'a> {
    name: &'a KeyName,
    id: &'a str,
    roles: &'a [Role],
    created: String,
    created_by: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    revoked: bool,
    /// When the key was revoked, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_by: Option<String>,
}

impl<'a> Told<'a> {
    fn of(key: &'a ApiKey) -> Self {
        Self {
            name: &key.name,
            id: &key.id,
            roles: &key.roles,
            created: rfc3339(key.created),
            created_by: &key.created_by,
            key: None,
            revoked: false,
            revoked_at: None,
            revoked_by: None,
        }
    }
}

/// The keys in the answer.
#[derive(Debug, Serialize)]
struct List<'a> {
    keys: Vec<Told<'a>>,
}

pub(super) async fn run(arguments: Arguments, settings: &Settings) -> anyhow::Result<()> {
    let registry = settings.registry().await?;
    let answer = arguments.answer;
    match arguments.command {
        Command::New { name, roles } => create(&registry, &name, &roles, settings, answer).await,
        Command::List => list(&registry, answer).await,
        Command::Revoke { name, id } => revoke(&registry, &name, id.as_deref(), settings, answer).await,
    }
}

async fn create(
    registry: &Registry,
    name: &KeyName,
    roles: &[Role],
    settings: &Settings,
    answer: Answer,
) -> anyhow::Result<()> {
    let act = Act { action: "keys_new", subject: Some(format!("{name} ({})", words(roles))), reason: None };
    let making = async { Ok(registry.create_key(name, roles, &actor()).await?) };
    let (key, secret) = act.on_record(settings, making, |(key, _)| format!("made {}", key.id)).await?;
    eprintln!("The key of {name} ({}), id {}. It is shown only once:", words(&key.roles), key.id);
    let told = Told { key: Some(secret.expose()), ..Told::of(&key) };
    answer.give(&told, || println!("{}", secret.expose()))
}

async fn revoke(
    registry: &Registry,
    name: &KeyName,
    id: Option<&str>,
    settings: &Settings,
    answer: Answer,
) -> anyhow::Result<()> {
    let meant = id.map_or_else(|| name.to_string(), |id| format!("{name} {id}"));
    let act = Act { action: "keys_revoke", subject: Some(meant), reason: None };
    let revoking = async { Ok(registry.revoke_keys(name, id, &actor()).await?) };
    let ids = |keys: &Vec<ApiKey>| keys.iter().map(|key| key.id.as_str()).collect::<Vec<_>>().join(", ");
    let revoked = act.on_record(settings, revoking, |keys| format!("revoked {}", ids(keys))).await?;
    let told = List { keys: revoked.iter().map(|key| Told { revoked: true, ..Told::of(key) }).collect() };
    answer.give(&told, || {
        if revoked.is_empty() {
            println!("nothing to revoke: the keys of {name} are revoked already");
        }
        for key in &revoked {
            println!("revoked {name} {}", key.id);
        }
    })
}

async fn list(registry: &Registry, answer: Answer) -> anyhow::Result<()> {
    let all = registry.keys(&Keys::default()).await?;
    let list = tell(registry, all.all()).await?;
    answer.give(&list, || print(&list))
}

async fn tell<'a>(registry: &Registry, all: impl Iterator<Item = &'a KeyState>) -> anyhow::Result<List<'a>> {
    let mut keys = Vec::new();
    for KeyState { key, is_revoked } in all {
        let revocation = if *is_revoked { registry.revocation(key).await? } else { None };
        keys.push(Told {
            revoked: *is_revoked,
            revoked_at: revocation.as_ref().map(|revocation| rfc3339(revocation.at)),
            revoked_by: revocation.map(|revocation| revocation.by),
            ..Told::of(key)
        });
    }
    Ok(List { keys })
}

fn print(list: &List<'_>) {
    println!("{:<24} {:<10} {:<24} {:<32} revoked", "name", "id", "roles", "made");
    for told in &list.keys {
        let made = format!("{} by {}", told.created, told.created_by);
        let revoked = match (&told.revoked_at, &told.revoked_by) {
            (Some(at), Some(by)) => format!("{at} by {by}"),
            _ if told.revoked => "yes".to_owned(),
            _ => "-".to_owned(),
        };
        println!("{:<24} {:<10} {:<24} {made:<32} {revoked}", told.name.as_str(), told.id, words(told.roles));
    }
}

fn words(roles: &[Role]) -> String {
    roles.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use registry::MemoryStore;
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn a_list_of_keys_has_no_key_and_says_who_revoked_what() {
        let registry = Registry::new(Arc::new(MemoryStore::default()));
        let name: KeyName = "mona".parse().unwrap();
        let (key, secret) = registry.create_key(&name, &[Role::Review], "root").await.unwrap();
        registry.create_key(&"bot".parse().unwrap(), &[Role::Predict], "root").await.unwrap();
        registry.revoke_keys(&name, None, "nina").await.unwrap();
        let all = registry.keys(&Keys::default()).await.unwrap();
        let told = serde_json::to_value(tell(&registry, all.all()).await.unwrap()).unwrap();
        let of = |name: &str| told["keys"].as_array().unwrap().iter().find(|key| key["name"] == name).unwrap();
        assert_eq!((&of("mona")["revoked"], &of("mona")["revoked_by"]), (&json!(true), &json!("nina")));
        assert_eq!((&of("bot")["revoked"], of("bot").get("revoked_at")), (&json!(false), None));
        assert_eq!((&of("mona")["id"], &of("mona")["roles"]), (&json!(key.id), &json!(["review"])));
        let told = told.to_string();
        assert!(!told.contains(secret.expose()) && !told.contains(key.sha256.as_str()), "{told}");
    }
}
