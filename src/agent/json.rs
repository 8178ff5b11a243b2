//! Objects whose members are not known before: written as text, which no type of ours needs to be made for.

/// A string as JSON.
pub(crate) fn text(text: &str) -> String {
    serde_json::to_string(text).expect("a string always serializes")
}

/// An object of keys, each with its value as JSON, in this order.
pub(crate) fn object(members: &[(&str, String)]) -> String {
    let mut object = String::from("{");
    for (index, (key, value)) in members.iter().enumerate() {
        if index > 0 {
            object.push(',');
        }
        object.push_str(&text(key));
        object.push(':');
        object.push_str(value);
    }
    object.push('}');
    object
}

/// An array of values, each as JSON.
pub(crate) fn array(values: &[String]) -> String {
    format!("[{}]", values.join(","))
}
