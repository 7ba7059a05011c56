use super::*;
use crate::config::tests::parse;

const PROCESS: &str =
    "[allocators.local]\nkind = \"process\"\ncommand = [\"/bin/server\"]\nports = \"7777-7876\"\n";
const WEBHOOK: &str =
    "[allocators.studio]\nkind = \"webhook\"\nurl = \"https://studio.example\"\nsecret_file = \"s\"\n";
const AGONES: &str = "[allocators.fleet]\nkind = \"agones\"\nurl = \"https://agones.example\"\nfleet = \"game\"\n\
                      certificate_file = \"c\"\nkey_file = \"k\"\nca_file = \"a\"\n";

#[test]
fn each_kind_is_read_with_the_settings_that_all_kinds_have() {
    let text = format!("{PROCESS}start_timeout_s = 7\nbase_url = \"http://localhost:1\"\n{WEBHOOK}{AGONES}");
    let allocators = parse(&text, &[]).unwrap().allocators;
    assert_eq!(allocators.keys().collect::<Vec<_>>(), ["fleet", "local", "studio"]);
    let local = &allocators["local"];
    let AllocatorKind::Process(process) = &local.kind else { panic!("{local:?}") };
    assert_eq!((process.ports.first, process.ports.last, process.servers_max), (7777, 7876, 4));
    assert_eq!(local.common.base_url.as_deref(), Some("http://localhost:1"));
    assert_eq!((local.common.rules.start_timeout_s, local.common.rules.place_timeout_s), (7, 10));
    assert_eq!(allocators["fleet"].common.rules.place_timeout_s, 15);
    assert_eq!(allocators["studio"].common.rules.place_timeout_s, 30);
}

#[test]
fn a_printed_configuration_is_read_again() {
    let text = format!("{PROCESS}env = {{ LANG = \"C\" }}\n{WEBHOOK}queue_timeout_s = 9\n{AGONES}");
    let config = parse(&text, &[("RALLYPOINT_SESSIONS__IDLE_S", "9")]).unwrap();
    let printed = toml::to_string_pretty(&config).unwrap();
    assert_eq!(parse(&printed, &[]).unwrap().allocators, config.allocators, "{printed}");
}

#[test]
fn the_rules_name_all_their_settings() {
    let written = toml::Table::try_from(LaunchRules::default()).unwrap();
    let mut names = LaunchRules::SETTINGS;
    names.sort_unstable();
    assert_eq!(written.keys().collect::<Vec<_>>(), names);
}

#[test]
fn errors_have_the_line_of_the_setting() {
    for (text, line, expected) in [
        ("[allocators]\nlocal = 1".into(), 2, "expected a map"),
        ("[allocators.local]\nports = \"1\"".into(), 1, "missing field `kind`"),
        ("[allocators.local]\nkind = \"shell\"".into(), 2, "expected one of `process`, `agones`, `webhook`"),
        ("[allocators.local]\nkind = \"process\"\nports = \"1\"".into(), 1, "missing field `command`"),
        (format!("{PROCESS}comand = 1"), 5, "unknown field `comand`"),
        (format!("{PROCESS}fleet = \"game\""), 5, "unknown field `fleet`"),
        (format!("{PROCESS}servers_max = 0"), 5, "0 is not from 1 to 10000"),
        (format!("{PROCESS}start_timeout_s = 0"), 5, "0 is not from 1 to"),
        (format!("{PROCESS}on_stop = \"kill\""), 5, "expected `end` or `leave`"),
        (PROCESS.replace("7777-7876", "7876-7777"), 4, "is no range of ports"),
        (
            PROCESS.replace("/bin/server", "bin/server"),
            3,
            "[allocators.local] command needs the program first",
        ),
        (format!("{PROCESS}\nbase_url = \"http://localhost/\""), 6, "base_url is no address of an API"),
        (format!("{PROCESS}\nbase_url = \"http://localhost\""), 6, "base_url is no address of an API"),
        (format!("{PROCESS}\nbase_url = \"http://:7700\""), 6, "base_url is no address of an API"),
        (format!("{PROCESS}\nbase_url = \"http://u@localhost:7700\""), 6, "base_url is no address of an API"),
        (format!("{PROCESS}\nbase_url = \"http://a:1:7700\""), 6, "base_url is no address of an API"),
        (format!("{PROCESS}\nbase_url = \"http://a b:7700\""), 6, "base_url is no address of an API"),
        (format!("{PROCESS}\nbase_url = \"http://localhost:7700?a\""), 6, "base_url is no address of an API"),
        (format!("{PROCESS}\nbase_url = \"http://localhost:7700#a\""), 6, "base_url is no address of an API"),
        (format!("{PROCESS}\nbase_url = \"ftp://localhost:7700\""), 6, "base_url is no address of an API"),
        (
            format!("{PROCESS}{}", PROCESS.replace("local", "more").replace("7777-7876", "7876-7900")),
            8,
            "[allocators.more] ports has ports of [allocators.local]",
        ),
        (PROCESS.replace("local", "\"the local one\""), 1, "a name has 1 to 32 ASCII letters"),
    ] {
        let message = parse(&text, &[]).unwrap_err();
        assert!(message.contains(&format!("line {line}")) && message.contains(expected), "{message}\n{text}");
    }
}

#[test]
fn the_address_for_servers_is_needed_beyond_loopback() {
    let listen = [("RALLYPOINT_HTTP__LISTEN", "0.0.0.0:7700")];
    let message = parse(PROCESS, &listen).unwrap_err();
    assert!(message.starts_with("my.toml: line 1: [allocators.local] base_url is missing"), "{message}");
    parse(&format!("{PROCESS}base_url = \"http://192.168.1.20:7700\""), &listen).unwrap();
}

#[test]
fn allocators_are_set_in_the_file_only() {
    for name in ["RALLYPOINT_ALLOCATORS__LOCAL", "RALLYPOINT_ALLOCATORS__LOCAL__COMMAND"] {
        let message = parse("", &[(name, "1")]).unwrap_err();
        assert!(message.ends_with("can be set in the configuration file only"), "{message}");
    }
}

#[test]
fn a_template_names_one_of_several_allocators() {
    let starts = "[templates.match]\nauto_startup_params = { map = \"Dunes\" }\n";
    let several = format!("{PROCESS}{WEBHOOK}");
    parse(&format!("{PROCESS}{starts}"), &[]).unwrap();
    parse(&format!("{several}[templates.party]\n"), &[]).unwrap();
    parse(&format!("{several}{starts}allocator = \"studio\""), &[]).unwrap();
    for (text, line, expected) in [
        (format!("{several}{starts}"), 9, "several allocators; name one of local, studio"),
        (format!("{starts}allocator = \"studio\""), 3, "there is no [allocators.studio]"),
    ] {
        let message = parse(&text, &[]).unwrap_err();
        assert!(message.contains(&format!("line {line}: ")) && message.contains(expected), "{message}");
    }
}
