//! `goalctl app install`: each argument of `src.json`, with what it makes of `run.json` and the conf.

use serde_json::{Value, json};

use crate::images::{Author, Tar};

/// What a `src.json` with these keys makes.
fn made(keys: &Value) -> String {
    let author = Author::new();
    author.add(&author.write("root.tar", &Tar::new().file("a", b"x").bytes()), &[]);
    let mut src = author.json("web/src.json");
    for (key, value) in keys.as_object().unwrap() {
        src[key] = value.clone();
    }
    std::fs::write(author.dir().join("web/src.json"), src.to_string()).unwrap();
    let said = author.run(&["app", "install", "web"]);
    let mut text = format!("{keys:#}\n=> {}\n{}{}", said.code, said.out, said.err);
    if said.code == 0 {
        // Compact where it is long: what differs is to be seen.
        for (key, value) in author.json("web/run.json").as_object().unwrap() {
            text.push_str(&format!("{key} = {value}\n"));
        }
        text.push_str("---\n");
        if author.dir().join("web/lxc.container.conf").exists() {
            text.push_str(&author.read("web/lxc.container.conf"));
        }
        // As `pvr` makes it over a base.
        for image in ["root.ovl", "a", "b", "c", "d"] {
            std::fs::write(author.dir().join(format!("web/{image}.squashfs")), "x").unwrap();
        }
        let checked = author.run(&["check", "."]);
        assert_eq!(checked.code, 0, "{checked:?}");
    }
    text
}

macro_rules! golden {
    ($name:ident, $keys:tt) => {
        #[test]
        fn $name() {
            insta::assert_snapshot!(made(&json!($keys)));
        }
    };
}

golden!(nothing_said, {});

golden!(what_run_json_says, {"args": {
    "PV_STATUS_GOAL": "READY", "PV_GROUP": "app", "PV_RESTART_POLICY": "container", "PV_ROLES": ["mgmt"],
    "PV_DRIVERS_REQUIRED": ["wifi"], "PV_DRIVERS_OPTIONAL": "bluetooth,gps", "PV_DRIVERS_MANUAL": [],
    "PV_SERVICES_REQUIRED": ["dbus"], "PV_NETWORK_POOL": "internal",
}, "logs": [{"file": "/var/log/syslog", "maxsize": 102400, "truncate": true, "name": "syslog"}], "exports": ["/run/x"]});

golden!(a_runlevel_of_old, {"args": {"PV_RUNLEVEL": "platform"}});

golden!(a_data_runlevel, {"args": {"PV_RUNLEVEL": "data", "PV_LXC_EXTRA_CONF": "never.written = 1"}});

golden!(recovery_as_an_object, {"args": {
    "PV_AUTO_RECOVERY": {"policy": "on-failure", "max_retries": 3, "retry_delay": 1, "backoff_factor": 1.5},
    "PV_AUTO_RECOVERY_MAX_RETRIES": "7",
}});

golden!(recovery_in_pieces, {"args": {
    "PV_AUTO_RECOVERY_POLICY": "always", "PV_AUTO_RECOVERY_MAX_RETRIES": 5, "PV_AUTO_RECOVERY_RETRY_DELAY": "2",
    "PV_AUTO_RECOVERY_BACKOFF_FACTOR": "2.0", "PV_AUTO_RECOVERY_RESET_WINDOW": 60,
    "PV_AUTO_RECOVERY_STABLE_TIMEOUT": 30, "PV_AUTO_RECOVERY_BACKOFF_POLICY": "10min",
}});

golden!(recovery_that_is_no_number, {"args": {"PV_AUTO_RECOVERY_MAX_RETRIES": "many"}});

golden!(two_volumes_are_two, {
    "args": {"PV_EXTRA_VOLUMES": "a.squashfs,b.squashfs", "PV_VOLUME_MOUNTS": "c.squashfs:/opt/c,d.squashfs:opt/d"},
    "docker_config": {"Volumes": {"/data": {}, "/var/lib/db/": {}, "/with blank": {}}},
    "persistence": {"/var/lib/db": "revision", "ovl:/etc": "permanent", "/scratch": "boot", "lxc-overlay": "permanent"},
});

golden!(a_disk_that_the_device_does_not_have, {"persistence": {"/data": "permanent@fast"}});

golden!(a_persistence_that_is_none, {"persistence": {"/data": "forever"}});

golden!(a_command_with_quotes, {"docker_config": {
    "Entrypoint": ["/bin/sh", "-c", "while true; do echo \"a b\"; done"], "Cmd": ["it's", "both ' and \"", "", " "],
}});

golden!(an_entrypoint_as_a_text_keeps_the_command, {"docker_config": {
    "Entrypoint": "/docker-entrypoint.sh", "Cmd": ["nginx", "-g", "daemon off;"],
}});

golden!(a_program_whose_path_has_a_blank, {"docker_config": {"Cmd": ["/opt/my app/run", "now"]}});

golden!(a_command_on_two_lines_is_refused, {"docker_config": {"Cmd": ["/bin/sh", "-c", "a\nb"]}});

golden!(the_author_s_config_is_over_the_image_s, {
    "docker_config": {"Cmd": ["/a"], "Env": ["A=1", "B= edge "], "WorkingDir": "srv", "User": "0", "Entrypoint": null},
    "config": {"Cmd": ["/b"], "User": "12:34"},
    "args": {"PV_LXC_EXTRA_ENV": ["C=3", "D=4,5"]},
});

golden!(a_user_by_name_must_have_been_looked_up, {"docker_config": {"User": "web"}});

golden!(environment_as_an_object, {"args": {"PV_LXC_EXTRA_ENV": {"A": "1", "B": 2}}});

golden!(every_switch_of_the_conf, {"args": {
    "LXC_TTY_MAX": 4, "LXC_PTY_MAX": "256", "PVR_LXC_CGROUP_DEVICES_WHITE": ["c 1:3 rwm", "c 5:* rwm"],
    "PV_LXC_DISABLE_CONSOLE": true, "PV_DISABLE_AUTODEV": "yes", "PV_SECURITY_FULLDEV": "1", "PV_SECURITY_WITH_HOST": 1,
    "PV_SECURITY_WITH_HOSTPROC": "true", "PV_SECURITY_WITH_STORAGE": true, "PV_RESOLV_CONF_DISABLE": true,
    "PV_RUN_TMPFS_DISABLE": "true", "PV_LXC_NAMESPACE_KEEP": "ipc net", "PV_LXC_CAP_DROP": ["SYS_ADMIN", "sys_time sys_module"],
    "PV_LXC_EXTRA_CONF": "lxc.no_new_privs = 1\nlxc.prlimit.nofile = 1024\n",
}});

golden!(switches_that_are_off, {"args": {
    "PV_LXC_DISABLE_CONSOLE": "false", "PV_SECURITY_FULLDEV": "", "PV_RUN_TMPFS_DISABLE": 0, "PV_LXC_NAMESPACE_KEEP": "",
}});

golden!(imports, {"args": {
    "PV_FILEIMPORTS": "run/a.sock:/run/a.sock,/b:/b", "PV_IMPORT_CONFIGVOLUMES": "settings/docker--conf:/etc/web",
    "PV_VOLUME_IMPORTS": ["os:/run/dbus:/var/run/dbus", "db/root.squashfs:/var/lib/:/lib-of-db", "db/docker--data:/shared"],
}});

golden!(an_import_that_is_none, {"args": {"PV_VOLUME_IMPORTS": ["somewhere"]}});

golden!(capabilities_to_keep, {"args": {"PV_LXC_CAP_KEEP": ["NET_ADMIN", "chown"]}});

golden!(a_network_of_its_own, {"args": {
    "PV_LXC_NETWORK_TYPE": "veth", "PV_LXC_NETWORK_LINK": "br0", "PV_LXC_NETWORK_IPV4_ADDRESS": "10.0.3.2/24",
    "PV_LXC_NETWORK_IPV4_GATEWAY": "auto",
}});

golden!(an_empty_network, {"args": {"PV_LXC_NETWORK_TYPE": "empty"}});

golden!(the_host_s_network, {"args": {"PV_LXC_NETWORK_TYPE": "host"}});

golden!(a_network_of_no_type, {"args": {"PV_LXC_NETWORK_TYPE": "bridge"}});

golden!(over_a_base, {"base": "os", "persistence": {"ovl:/etc": "boot"}});

golden!(what_is_unknown_is_kept_with_a_word, {"args": {"PV_STATUSGOAL": "READY", "PV_FLUX": 1, "OWN": {"a": 1}}});

golden!(a_conf_that_the_device_would_refuse, {"args": {"PV_LXC_EXTRA_CONF": "lxc.flux = 1"}});

golden!(an_argument_of_the_wrong_form, {"args": {"PV_GROUP": ["a"]}});
