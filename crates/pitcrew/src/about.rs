//! What needs no server: the schema, completions, the version.

use clap::CommandFactory;
use serde_json::json;

use crate::{
    arguments::{Arguments, General, SchemaOptions},
    failure::{Answer, Answered},
    output::{print, print_json},
};

pub(crate) fn schema(options: &SchemaOptions) -> Answered {
    let schema = match options.host {
        true => pitcrew_config::host_schema(),
        false => pitcrew_config::schema(),
    };
    print_json(&schema)?;
    Ok(Answer::Yes)
}

pub(crate) fn completions(shell: clap_complete::Shell) -> Answered {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "pitcrew", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Answer::Yes)
}

pub(crate) fn version(general: &General) -> Answered {
    let version = pitcrew_server::VERSION;
    if general.json {
        print_json(&json!({ "version": version }))?;
    } else {
        print(&format!("pitcrew {version}"))?;
    }
    Ok(Answer::Yes)
}
