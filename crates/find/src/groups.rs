//! The format of `file_sd` and `http_sd`: a list of `{targets: […], labels: {…}}`, in JSON or YAML.
//!
//! What is not of that shape fails as a whole, as in Prometheus: a key with a typing error must not pass for
//! targets without labels. Depth, counts and aliases are bounded, so a hostile document is an error and not a
//! hang; the caller bounds the bytes.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};

use crate::scalar::Scalar;

/// Targets in one document, and groups too.
pub(crate) const TARGETS_MAX: usize = 2_000_000;

/// Labels of one group; Prometheus' own largest have about a hundred.
const LABELS_MAX: usize = 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Yaml,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) targets: Vec<String>,
    pub(crate) labels: Vec<(String, String)>,
}

/// The error says what is wrong and where in the document.
pub(crate) fn parse(bytes: &[u8], format: Format) -> Result<Vec<Group>, String> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| format!("byte {} is not UTF-8", error.valid_up_to() + 1))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim().is_empty() {
        return Err("it is empty; a source without targets is `[]`".to_owned());
    }
    match format {
        Format::Json => serde_json::from_str::<Groups<false>>(text)
            .map(|groups| groups.0)
            .map_err(|error| error.to_string()),
        Format::Yaml => parse_yaml(text),
    }
}

fn parse_yaml(text: &str) -> Result<Vec<Group>, String> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 16,
            max_events: 40_000_000,
            max_nodes: 40_000_000,
            max_total_scalar_bytes: 256 << 20,
            max_aliases: 10_000,
            max_anchors: 10_000,
            max_documents: 1,
        },
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options::<Groups<true>>(text, options)
        .map(|groups| groups.0)
        .map_err(|error| error.to_string())
}

struct Groups<const YAML: bool>(Vec<Group>);

impl<'de, const YAML: bool> Deserialize<'de> for Groups<YAML> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_seq(GroupsVisitor::<YAML>)
            .map(Self)
    }
}

struct GroupsVisitor<const YAML: bool>;

impl<'de, const YAML: bool> Visitor<'de> for GroupsVisitor<YAML> {
    type Value = Vec<Group>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of `targets` with `labels`")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Vec<Group>, A::Error> {
        let (mut groups, mut targets) = (Vec::new(), 0);
        while let Some(GroupOf::<YAML>(group)) = entries.next_element()? {
            targets += group.targets.len();
            groups.push(group);
            if targets > TARGETS_MAX || groups.len() > TARGETS_MAX {
                return Err(too_many());
            }
        }
        Ok(groups)
    }
}

fn too_many<E: de::Error>() -> E {
    E::custom(format_args!(
        "more than {TARGETS_MAX} targets; split the source"
    ))
}

struct GroupOf<const YAML: bool>(Group);

impl<'de, const YAML: bool> Deserialize<'de> for GroupOf<YAML> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Raw<const YAML: bool> {
            targets: Option<Targets<YAML>>,
            labels: Option<LabelPairs<YAML>>,
        }
        let raw = Raw::<YAML>::deserialize(deserializer)?;
        Ok(Self(Group {
            targets: raw.targets.map(|targets| targets.0).unwrap_or_default(),
            labels: raw.labels.map(|labels| labels.0).unwrap_or_default(),
        }))
    }
}

struct Targets<const YAML: bool>(Vec<String>);

impl<'de, const YAML: bool> Deserialize<'de> for Targets<YAML> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<const YAML: bool>;
        impl<'de, const YAML: bool> Visitor<'de> for List<YAML> {
            type Value = Vec<String>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of addresses")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut texts: A) -> Result<Vec<String>, A::Error> {
                let mut targets = Vec::new();
                while let Some(Scalar::<YAML>(text)) = texts.next_element()? {
                    if targets.len() == TARGETS_MAX {
                        return Err(too_many());
                    }
                    targets.push(text);
                }
                Ok(targets)
            }
        }
        deserializer.deserialize_seq(List::<YAML>).map(Self)
    }
}

struct LabelPairs<const YAML: bool>(Vec<(String, String)>);

impl<'de, const YAML: bool> Deserialize<'de> for LabelPairs<YAML> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs<const YAML: bool>(PhantomData<()>);
        impl<'de, const YAML: bool> Visitor<'de> for Pairs<YAML> {
            type Value = Vec<(String, String)>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("labels, each a name and a text")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some((name, Scalar::<YAML>(value))) =
                    map.next_entry::<String, Scalar<YAML>>()?
                {
                    if pairs.len() == LABELS_MAX {
                        return Err(de::Error::custom(format_args!(
                            "more than {LABELS_MAX} labels"
                        )));
                    }
                    pairs.push((name, value));
                }
                Ok(pairs)
            }
        }
        deserializer
            .deserialize_map(Pairs::<YAML>(PhantomData))
            .map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn group(targets: &[&str], labels: &[(&str, &str)]) -> Group {
        Group {
            targets: targets.iter().map(|text| (*text).to_owned()).collect(),
            labels: labels
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    fn yaml(text: &str) -> Result<Vec<Group>, String> {
        parse(text.as_bytes(), Format::Yaml)
    }

    fn json(text: &str) -> Result<Vec<Group>, String> {
        parse(text.as_bytes(), Format::Json)
    }

    #[test]
    fn json_and_yaml_say_the_same() {
        let expected = vec![
            group(
                &["10.0.0.1:9100", "10.0.0.2:9100"],
                &[("job", "node"), ("env", "prod")],
            ),
            group(&["web.example.org"], &[]),
        ];
        assert_eq!(
            json(
                r#"[{"targets":["10.0.0.1:9100","10.0.0.2:9100"],"labels":{"job":"node","env":"prod"}},{"targets":["web.example.org"]}]"#
            ),
            Ok(expected.clone())
        );
        let text = "
# made by the inventory
- targets: ['10.0.0.1:9100', \"10.0.0.2:9100\"]
  labels:
    job: node
    env: prod
- targets:
    - web.example.org
";
        assert_eq!(yaml(text), Ok(expected));
    }

    #[test]
    fn scalars_are_taken_as_they_are_written() {
        assert_eq!(
            yaml(
                "- targets: [a]\n  labels: {port: 9100, version: 1.10, canary: true, old: yes, none: null, tilde: ~, hex: 0x1F, date: 2026-11-22, quoted: 'null'}"
            ),
            Ok(vec![group(
                &["a"],
                &[
                    ("port", "9100"),
                    ("version", "1.10"),
                    ("canary", "true"),
                    ("old", "yes"),
                    ("none", ""),
                    ("tilde", ""),
                    ("hex", "0x1F"),
                    ("date", "2026-11-22"),
                    ("quoted", "null")
                ]
            )])
        );
        assert_eq!(
            json(
                r#"[{"targets":["a"],"labels":{"port":9100,"part":0.5,"canary":true,"none":null}}]"#
            ),
            Ok(vec![group(
                &["a"],
                &[
                    ("port", "9100"),
                    ("part", "0.5"),
                    ("canary", "true"),
                    ("none", "")
                ]
            )])
        );
    }

    #[test]
    fn what_is_absent_is_empty() {
        for text in ["[]", "[{}]", r#"[{"targets":null,"labels":null}]"#] {
            for parsed in [json(text), yaml(text)] {
                let groups = parsed.unwrap();
                assert!(
                    groups.iter().all(|group| *group == Group::default()),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn anchors_and_merges_work_as_people_use_them() {
        let text = "
- targets: [a]
  labels: &common {env: prod}
- targets: [b]
  labels: {<<: *common, job: web}
";
        let groups = yaml(text).unwrap();
        assert_eq!(groups[1].labels.len(), 2);
    }

    #[test]
    fn another_shape_is_an_error_with_its_place() {
        for (text, place) in [
            (r#"{"targets":["a"]}"#, "list"),
            (r#"[{"targets":"a"}]"#, "list of addresses"),
            (r#"[{"targets":[["a"]]}]"#, "text"),
            (r#"[{"targets":["a"],"label":{"x":"y"}}]"#, "label"),
            (r#"[{"targets":["a"],"labels":["x"]}]"#, "labels"),
            (r#"[{"targets":["a"],"labels":{"x":{"y":"z"}}}]"#, "text"),
            (r#"[null]"#, ""),
            (r#"["a"]"#, ""),
            (r#"[{"targets":["a"]"#, ""),
            ("", "empty"),
            (" \n", "empty"),
        ] {
            for (kind, parsed) in [("json", json(text)), ("yaml", yaml(text))] {
                let error = parsed.expect_err(text);
                // YAML's errors name the place, and less well what was expected.
                assert!(kind == "yaml" || error.contains(place), "{text}: {error}");
                assert!(
                    error.contains("line ") || error.contains("empty"),
                    "{kind} {text}: {error}"
                );
            }
        }
        assert!(
            json("[{\"targets\":\n[1,}]")
                .unwrap_err()
                .contains("line 2")
        );
        assert!(
            yaml("- targets: [a]\n  labels: {x: [}")
                .unwrap_err()
                .contains("line 2")
        );
    }

    #[test]
    fn a_key_given_twice_is_an_error() {
        assert!(yaml("- targets: [a]\n  labels: {x: y, x: z}").is_err());
        assert!(yaml("- targets: [a]\n  targets: [b]").is_err());
    }

    #[test]
    fn bytes_that_are_not_text_are_an_error_with_their_place() {
        assert_eq!(
            parse(b"[{\"targets\":[\"\xff\"]}]", Format::Json),
            Err("byte 15 is not UTF-8".to_owned())
        );
    }

    #[test]
    fn hostile_documents_are_errors() {
        let bomb = (1..30).fold("- &a0 [x, x]\n".to_owned(), |text, level| {
            text + &format!("- &a{level} [*a{0}, *a{0}]\n", level - 1)
        });
        for (what, text) in [
            ("deep flow", "[".repeat(100_000)),
            ("deep maps", "{a: ".repeat(10_000)),
            (
                "deep blocks",
                (0..2_000)
                    .map(|depth| "\n".to_owned() + &" ".repeat(depth) + "-")
                    .collect(),
            ),
            ("aliases of aliases", bomb),
            ("many documents", "---\n[]\n".repeat(1_000)),
            ("unknown alias", "- *nobody".to_owned()),
            (
                "a tag",
                "- targets: !!binary [aaaa]\n  x: !!python/object:os.system [ls]".to_owned(),
            ),
        ] {
            assert!(yaml(&text).is_err(), "{what} as yaml");
            assert!(json(&text).is_err(), "{what} as json");
        }
    }

    #[test]
    fn labels_are_bounded() {
        let labels: Vec<String> = (0..600).map(|at| format!("\"l{at}\":\"v\"")).collect();
        let text = format!(r#"[{{"targets":["a"],"labels":{{{}}}}}]"#, labels.join(","));
        assert!(json(&text).unwrap_err().contains("512 labels"));
    }

    proptest! {
        #[test]
        fn no_bytes_panic_it(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            parse(&bytes, Format::Json).ok();
            parse(&bytes, Format::Yaml).ok();
        }

        #[test]
        fn no_text_of_its_own_letters_panics_it(text in r#"[\[\]{}:,"'&*!|>\-# \na-c0-9~<]{0,120}"#) {
            parse(text.as_bytes(), Format::Json).ok();
            parse(text.as_bytes(), Format::Yaml).ok();
        }

        #[test]
        fn what_is_written_is_read_back(
            groups in prop::collection::vec(
                (prop::collection::vec(".{0,12}", 0..4), prop::collection::btree_map("[a-z_]{1,8}", ".{0,12}", 0..4)),
                0..5
            )
        ) {
            let document = serde_json::Value::from_iter(groups.iter().map(|(targets, labels)| {
                serde_json::json!({ "targets": targets, "labels": labels })
            }));
            let expected: Vec<Group> = groups.into_iter()
                .map(|(targets, labels)| Group { targets, labels: labels.into_iter().collect() })
                .collect();
            prop_assert_eq!(json(&document.to_string()), Ok(expected));
        }
    }
}
