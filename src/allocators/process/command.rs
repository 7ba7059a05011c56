//! The command line of servers: a program and its arguments, with placeholders. There is no shell: one element of the
//! list stays one argument. Nothing that a player wrote is a placeholder.

use std::path::Path;

/// Placeholders with one value for each launch. `{port}`, `{port2}` and so on come besides.
const NAMES: [&str; 13] = [
    "public_host",
    "base_url",
    "session_id",
    "instance_id",
    "allocation_id",
    "session_type",
    "region_id",
    "client_id",
    "client_secret_file",
    "credentials_file",
    "allocation_file",
    "dir",
    "port",
];

/// Those that say with which client the server logs in.
const CLIENT_NAMES: [&str; 3] = ["client_id", "client_secret_file", "credentials_file"];

/// A program and its arguments, with placeholders that [`CommandTemplate::new`] has checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandTemplate(Vec<String>);

impl CommandTemplate {
    /// Checks a command: the program has an absolute path and exists, and all placeholders are known. Each server has
    /// `ports` ports.
    ///
    /// # Errors
    /// A sentence without a subject: what is wrong with the command, and what it takes.
    pub fn new(command: &[String], ports: usize) -> Result<Self, String> {
        let program = command.first().map_or("", String::as_str);
        if !Path::new(program).is_absolute() {
            return Err(
                "needs the program first, with an absolute path, as in [\"/games/server\", \"-log\"]".into(),
            );
        }
        if !Path::new(program).is_file() {
            return Err(format!("names a program that does not exist: {program}"));
        }
        for argument in &command[1..] {
            let unknown = placeholders(argument).map(|found| found.name).find(|name| !is_known(name, ports));
            if let Some(name) = unknown {
                let known = NAMES.map(|name| format!("{{{name}}}")).join(", ");
                return Err(format!(
                    "has the unknown placeholder {{{name}}}; the placeholders are {known}, and {{port2}} and so on up \
                     to ports_per_server"
                ));
            }
        }
        if command.iter().any(|argument| argument.contains('\0')) {
            return Err("contains a NUL character, which no argument can contain".into());
        }
        Ok(Self(command.to_vec()))
    }

    /// Whether the command says with which client the server logs in.
    pub fn names_client(&self) -> bool {
        let names =
            |argument: &String| placeholders(argument).any(|found| CLIENT_NAMES.contains(&found.name));
        self.0.iter().skip(1).any(names)
    }

    /// The program and its arguments for one launch. `value` gives the value of a placeholder.
    pub fn fill(&self, value: impl Fn(&str) -> String) -> Vec<String> {
        let program = self.0.iter().take(1).cloned();
        program.chain(self.0.iter().skip(1).map(|argument| fill(argument, &value))).collect()
    }
}

/// Whether a value that comes from outside of the configuration may become part of an argument: it is short and plain,
/// and cannot be taken for an option or a directory. Other values are left out.
pub fn is_plain(value: &str) -> bool {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '_' | '-');
    let is_path = matches!(value, "." | "..");
    (1..=128).contains(&value.len()) && value.chars().all(is_plain) && !value.starts_with('-') && !is_path
}

/// The number of a port's placeholder, from 1: `port` is the first, `port2` the second.
pub fn port_number(name: &str) -> Option<usize> {
    match name.strip_prefix("port")? {
        "" => Some(1),
        digits => digits.parse().ok().filter(|number| *number >= 2 && !digits.starts_with(['0', '+'])),
    }
}

/// A placeholder in an argument.
struct Placeholder<'a> {
    /// Where its opening brace is.
    start: usize,
    name: &'a str,
}

/// All `{name}` in an argument, where a name has lower case letters, digits and `_`. Other braces are plain text.
fn placeholders(argument: &str) -> impl Iterator<Item = Placeholder<'_>> {
    argument.match_indices('{').filter_map(|(start, _)| {
        let name = argument[start + 1..].split_once('}')?.0;
        let is_name_char = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        (!name.is_empty() && name.bytes().all(is_name_char)).then_some(Placeholder { start, name })
    })
}

fn is_known(name: &str, ports: usize) -> bool {
    NAMES.contains(&name) || port_number(name).is_some_and(|number| number <= ports)
}

fn fill(argument: &str, value: &impl Fn(&str) -> String) -> String {
    let (mut filled, mut done) = (String::with_capacity(argument.len()), 0);
    for Placeholder { start, name } in placeholders(argument) {
        filled += &argument[done..start];
        filled += &value(name);
        done = start + name.len() + 2;
    }
    filled + &argument[done..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(arguments: &[&str]) -> Result<CommandTemplate, String> {
        let command: Vec<_> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        CommandTemplate::new(&command, 2)
    }

    #[test]
    fn placeholders_are_filled_and_other_braces_stay() {
        let template =
            command(&["/bin/sh", "-Port={port}", "{port2}{dir}", "{\"a\":{}}", "{Port}", "{", "a b; c"]);
        let filled = template.unwrap().fill(|name| format!("<{name}>"));
        let expected = ["/bin/sh", "-Port=<port>", "<port2><dir>", "{\"a\":{}}", "{Port}", "{", "a b; c"];
        assert_eq!(filled, expected);
    }

    #[test]
    fn a_value_with_braces_is_not_filled_again() {
        let filled = command(&["/bin/sh", "{dir}"]).unwrap().fill(|_| "{port}".into());
        assert_eq!(filled[1], "{port}");
    }

    #[test]
    fn a_wrong_command_is_refused_with_a_remedy() {
        for (wrong, expected) in [
            (&[][..], "absolute path"),
            (&["bin/server"], "absolute path"),
            (&["/no/such/server"], "does not exist: /no/such/server"),
            (&["/bin"], "does not exist"),
            (&["/bin/sh", "{map}"], "unknown placeholder {map}"),
            (&["/bin/sh", "{port3}"], "unknown placeholder {port3}"),
            (&["/bin/sh", "{port1}"], "unknown placeholder {port1}"),
            (&["/bin/sh", "a\0b"], "NUL"),
        ] {
            let message = command(wrong).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn only_plain_values_become_arguments() {
        for plain in ["eu", "1", "us-east.2_a"] {
            assert!(is_plain(plain), "{plain}");
        }
        for odd in ["", "-log", ".", "..", "a b", "a;b", "$(x)", "é", &"a".repeat(129)] {
            assert!(!is_plain(odd), "{odd}");
        }
    }
}
