//! `goalctl config`, against the real server.

use crate::device::Device;
use crate::goalctl::{command, said, without};

#[test]
fn each_key_is_shown_with_its_value_and_where_it_came_from() {
    let device = Device::new();
    let ask = |arguments: &[&str]| {
        said(command().env("GOALPOST_SOCKET", device.socket("host")).args(arguments).output().unwrap())
    };
    let shown = ask(&["config"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    insta::assert_snapshot!("config", without(&shown.out, &device.socket("")));
    let list = ask(&["config", "--json"]).out;
    assert_eq!(list.trim_end(), device.says("GET", "/config2", "").1);
}
