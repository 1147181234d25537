//! **Owns** what a shell gets of the commands: links by Kafka's names, completion, man pages.
//! **Lives on** the command's thread.
//! **Invariants** (1) All of it comes from the tables that options are read by.
//! **Not here** the tables.

use std::fmt::Write as _;
use std::path::Path;

use super::argparse::Parser;
use super::options::Table;
use super::{COMMANDS, Command, OWN_WORDS, Out, by_name, nearest};

/// What a command reads its options by.
#[derive(Clone, Copy, Debug)]
pub enum Synopsis {
    /// Flags alone.
    Flags(&'static Table),
    /// Flags before and behind a subcommand.
    Subcommands(&'static Parser),
    /// A list of flags and what they do.
    Listed(fn() -> Vec<(&'static str, &'static str)>),
}

impl Synopsis {
    /// What it does, its flags as they are shown and what they do, and its subcommands with theirs.
    fn rows(&self) -> (&'static str, Vec<(String, String)>, Vec<Sub>) {
        match self {
            Self::Flags(table) => {
                let all = table.all();
                let rows = all
                    .iter()
                    .map(|option| (option.left(), option.help.to_owned()))
                    .collect();
                (table.about, rows, Vec::new())
            }
            Self::Subcommands(parser) => {
                let rows = |args: &[super::argparse::Arg]| {
                    args.iter()
                        .map(|arg| (arg.left(), arg.help.to_owned()))
                        .collect::<Vec<_>>()
                };
                let subs = parser
                    .subs
                    .iter()
                    .map(|sub| Sub {
                        name: sub.name,
                        about: sub.about,
                        rows: rows(sub.args),
                    })
                    .collect();
                let mut own = rows(parser.args);
                own.push((
                    "--help, -h".to_owned(),
                    "Print usage information.".to_owned(),
                ));
                own.push(("--output json".to_owned(), "Print JSON.".to_owned()));
                (parser.about, own, subs)
            }
            Self::Listed(list) => {
                let mut rows: Vec<(String, String)> = list()
                    .into_iter()
                    .map(|(name, help)| (name.to_owned(), help.to_owned()))
                    .collect();
                if !rows.iter().any(|(left, _)| flag(left) == "--help") {
                    rows.push((
                        "--help, -h".to_owned(),
                        "Print usage information.".to_owned(),
                    ));
                }
                ("", rows, Vec::new())
            }
        }
    }

    /// All words that may follow the command.
    fn words(&self) -> Vec<String> {
        let (_, rows, subs) = self.rows();
        let mut words: Vec<String> = subs.iter().map(|sub| sub.name.to_owned()).collect();
        let all = rows.iter().chain(subs.iter().flat_map(|sub| &sub.rows));
        words.extend(all.map(|(left, _)| flag(left).to_owned()));
        words.sort();
        words.dedup();
        words
    }
}

struct Sub {
    name: &'static str,
    about: &'static str,
    rows: Vec<(String, String)>,
}

/// `--name` of `--name <value>`, `--name, -n VALUE` and the like.
fn flag(left: &str) -> &str {
    left.split([' ', ',']).next().unwrap_or(left)
}

/// Makes links named as Kafka's tools that lead to this program.
pub(super) fn install_links(arguments: &[String], out: &mut Out) -> u8 {
    let [directory] = arguments else {
        out.error("usage: corelog install-links DIR");
        return 1;
    };
    match links(Path::new(directory)) {
        Ok(count) => {
            out.line(&format!("{count} links in {directory}"));
            0
        }
        Err(error) => {
            out.error(&error);
            1
        }
    }
}

fn links(directory: &Path) -> Result<usize, String> {
    let program =
        std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    #[expect(
        clippy::disallowed_methods,
        reason = "a command makes a folder that its user names; no shard waits"
    )]
    std::fs::create_dir_all(directory)
        .map_err(|error| format!("cannot make {}: {error}", directory.display()))?;
    let mut count = 0;
    for command in COMMANDS.iter().filter(|command| command.is_kafkas) {
        for ending in ["", ".sh"] {
            let link = directory.join(format!("kafka-{}{ending}", command.name));
            if let Ok(there) = link.symlink_metadata() {
                if !there.is_symlink() {
                    return Err(format!(
                        "{} is there and is no link: it stays",
                        link.display()
                    ));
                }
                if std::fs::read_link(&link).is_ok_and(|to| to == program) {
                    count += 1;
                    continue;
                }
                rustix::fs::unlink(&link)
                    .map_err(|error| format!("cannot replace {}: {error}", link.display()))?;
            }
            rustix::fs::symlink(&program, &link)
                .map_err(|error| format!("cannot make {}: {error}", link.display()))?;
            count += 1;
        }
    }
    Ok(count)
}

/// Prints what a shell completes commands and flags with.
pub(super) fn completion(arguments: &[String], out: &mut Out) -> u8 {
    let text = match arguments.first().map(String::as_str) {
        Some("bash") => bash(),
        Some("zsh") => format!(
            "#compdef corelog\nautoload -U +X bashcompinit && bashcompinit\n{}",
            bash()
        ),
        Some("fish") => fish(),
        _ => {
            out.error("usage: corelog completion bash|zsh|fish");
            return 1;
        }
    };
    out.bytes(text.as_bytes());
    0
}

/// What may follow `corelog`.
fn all_names() -> impl Iterator<Item = &'static str> {
    let commands = COMMANDS.iter().map(|command| command.name);
    commands.chain(OWN_WORDS.iter().copied())
}

fn bash() -> String {
    let names: Vec<&str> = all_names().collect();
    let mut text = format!(
        "_corelog() {{\n  local current=${{COMP_WORDS[COMP_CWORD]}} command=${{COMP_WORDS[0]##*/}} words=\n  \
         command=${{command%.sh}}; command=${{command#kafka-}}\n  \
         if [ \"$command\" = corelog ]; then\n    \
         if [ \"$COMP_CWORD\" -eq 1 ]; then COMPREPLY=($(compgen -W '{}' -- \"$current\")); return; fi\n    \
         command=${{COMP_WORDS[1]}}\n  fi\n  case $command in\n",
        names.join(" ")
    );
    for command in COMMANDS {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "    {}) words='{}' ;;",
            command.name,
            command.synopsis.words().join(" ")
        );
    }
    let _ = writeln!(
        text,
        "    man) words='{}' ;;\n    completion) words='bash fish zsh' ;;",
        COMMANDS
            .iter()
            .map(|command| command.name)
            .collect::<Vec<_>>()
            .join(" ")
    );
    text.push_str("  esac\n  COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n");
    text.push_str("  [ ${#COMPREPLY[@]} -gt 0 ] || COMPREPLY=($(compgen -f -- \"$current\"))\n}\n");
    text.push_str("complete -F _corelog corelog");
    for command in COMMANDS.iter().filter(|command| command.is_kafkas) {
        // Writing to a String cannot fail.
        let _ = write!(text, " kafka-{0} kafka-{0}.sh", command.name);
    }
    text.push('\n');
    text
}

fn fish() -> String {
    let mut text = String::new();
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('\'', "\\'");
    for word in OWN_WORDS {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "complete -c corelog -n __fish_use_subcommand -f -a {word}"
        );
    }
    for command in COMMANDS {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "complete -c corelog -n __fish_use_subcommand -f -a {} -d '{}'",
            command.name,
            quoted(command.about)
        );
        let (_, rows, subs) = command.synopsis.rows();
        let condition = format!("__fish_seen_subcommand_from {}", command.name);
        for sub in &subs {
            let _ = writeln!(
                text,
                "complete -c corelog -n '{condition}' -f -a {} -d '{}'",
                sub.name,
                quoted(sub.about)
            );
        }
        for (left, help) in rows.iter().chain(subs.iter().flat_map(|sub| &sub.rows)) {
            let Some(name) = flag(left).strip_prefix("--") else {
                continue;
            };
            let _ = writeln!(
                text,
                "complete -c corelog -n '{condition}' -l {name} -d '{}'",
                quoted(help)
            );
            if command.is_kafkas {
                let _ = writeln!(
                    text,
                    "complete -c kafka-{} -l {name} -d '{}'",
                    command.name,
                    quoted(help)
                );
            }
        }
    }
    text
}

/// Prints a man page: of a command, or of all.
pub(super) fn man(arguments: &[String], out: &mut Out) -> u8 {
    match arguments.first().map(String::as_str) {
        None => {
            let mut text = roff_head("corelog", "Kafka's command lines in one program");
            text.push_str(".SH SYNOPSIS\n.B corelog\n.I command\n[options]\n.SH COMMANDS\n");
            for command in COMMANDS {
                // Writing to a String cannot fail.
                let _ = writeln!(text, ".TP\n.B {}\n{}", command.name, roff(command.about));
            }
            out.bytes(text.as_bytes());
            0
        }
        Some(name) => {
            let Some(command) = by_name(name) else {
                let near = nearest(name, COMMANDS.iter().map(|command| command.name));
                let hint = near.map_or(String::new(), |near| format!("; did you mean '{near}'?"));
                out.error(&format!("'{name}' is not a command{hint}"));
                return 1;
            };
            out.bytes(page(command).as_bytes());
            0
        }
    }
}

fn roff_head(name: &str, about: &str) -> String {
    format!(
        ".TH {} 1 \"\" \"corelog {}\" \"Corelog\"\n.SH NAME\n{name} \\- {}\n",
        name.to_uppercase(),
        env!("CARGO_PKG_VERSION"),
        roff(about)
    )
}

fn page(command: &Command) -> String {
    let mut text = roff_head(&format!("corelog-{}", command.name), command.about);
    let (about, rows, subs) = command.synopsis.rows();
    let sub = if subs.is_empty() {
        ""
    } else {
        "\n.I subcommand"
    };
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        ".SH SYNOPSIS\n.B corelog {}\n[options]{sub}\n",
        command.name
    );
    if !about.is_empty() {
        let _ = writeln!(text, ".SH DESCRIPTION\n{}", roff(about));
    }
    text.push_str(".SH OPTIONS\n");
    roff_rows(&rows, &mut text);
    for sub in subs {
        let _ = writeln!(text, ".SH {}\n{}", sub.name.to_uppercase(), roff(sub.about));
        roff_rows(&sub.rows, &mut text);
    }
    text
}

fn roff_rows(rows: &[(String, String)], text: &mut String) {
    for (left, help) in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(text, ".TP\n.B {}\n{}", roff(left), roff(help));
    }
}

/// Text in which nothing is a command of roff.
fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) {
        format!("\\&{text}")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command as Process;

    use super::*;

    #[test]
    fn every_command_has_a_page_and_words_to_complete() {
        for command in COMMANDS {
            let page = page(command);
            assert!(page.contains(".SH OPTIONS\n.TP\n.B "), "{}", command.name);
            assert!(bash().contains(&format!("    {}) words='", command.name)));
            let words = command.synopsis.words();
            for flag in ["--help", "--output"] {
                let is_there = words.iter().any(|word| word == flag);
                assert!(is_there, "{}: {flag}", command.name);
            }
            assert!(fish().contains(&format!("-f -a {} -d", command.name)));
        }
        assert!(fish().contains("-l bootstrap-server"));
    }

    /// What bash offers behind these words.
    fn completed(words: &[&str]) -> Option<Vec<String>> {
        let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
        let script = format!(
            "{}\nCOMP_WORDS=({}) COMP_CWORD={}\n_corelog\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
            bash(),
            quoted.join(" "),
            words.len() - 1
        );
        let ran = Process::new("bash").args(["-c", &script]).output().ok()?;
        assert!(
            ran.status.success(),
            "{}",
            String::from_utf8_lossy(&ran.stderr)
        );
        let text = String::from_utf8_lossy(&ran.stdout);
        Some(text.lines().map(str::to_owned).collect())
    }

    #[test]
    fn bash_completes_commands_subcommands_and_flags() {
        let Some(found) = completed(&["corelog", "topi"]) else {
            // No bash on this machine.
            return;
        };
        assert_eq!(found, ["topics"]);
        let cases: &[(&[&str], &str)] = &[
            (&["corelog", "inst"], "install-links"),
            (&["corelog", "topics", "--if-ex"], "--if-exists"),
            (&["/usr/bin/kafka-topics.sh", "--if-ex"], "--if-exists"),
            (&["corelog", "transactions", "find"], "find-hanging"),
            (&["corelog", "log-check", "--de"], "--deep"),
            (&["corelog", "man", "dele"], "delegation-tokens"),
            (&["corelog", "completion", "z"], "zsh"),
        ];
        for (words, wanted) in cases {
            let found = completed(words).expect("bash was there");
            assert!(found.iter().any(|it| it == wanted), "{words:?}: {found:?}");
        }
    }

    #[test]
    fn pages_are_taken_without_a_complaint() {
        for command in COMMANDS {
            let page = page(command);
            for line in page.lines().filter(|line| line.starts_with('.')) {
                let known = [".TH ", ".SH ", ".TP", ".B ", ".I "];
                let is_known = known.iter().any(|request| line.starts_with(request));
                assert!(is_known, "{}: {line}", command.name);
            }
        }
    }
}
