//! Conditions on metadata in the server's language. What can be matched exactly is for the index's mapping
//! to say: words of a text are not its value, and a number that is none is an error.

use crate::chat::{Condition, Filter};
use crate::config::retrieval::FieldNames;
use serde_json::{Map, Value, json};

/// The mapping of each index behind a name, with the index's own name.
#[derive(Clone, Debug, Default)]
pub struct Mappings(Vec<(String, Value)>);

/// A filter as a search takes it.
#[derive(Clone, Debug, PartialEq)]
pub enum Clauses {
    /// These must all hold.
    All(Vec<Value>),
    /// No document can fulfil it.
    Nothing,
}

/// What a value has to look like to be looked for in a field.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Any,
    /// A whole number from here to there: one outside is an error to the server.
    Whole(i128, i128),
    /// A number of at most this size.
    Decimal(f64),
    Boolean,
    /// In the formats that the mapping names, of which the server knows more than we.
    Date,
}

/// How a field can be matched exactly.
struct Way<'a> {
    /// The name of its exact form.
    path: String,
    form: Form,
    /// Where it is so.
    indexes: Vec<&'a str>,
}

impl Mappings {
    /// The mappings in a reply to `GET /INDEX/_mapping`.
    pub fn read(reply: Map<String, Value>) -> Mappings {
        let mappings = reply.into_iter().map(|(name, mut index)| (name, index["mappings"].take()));
        Mappings(mappings.collect())
    }

    /// Is one of the filter's fields unknown to all indexes?
    pub fn lack(&self, filter: &Filter, fields: &FieldNames) -> bool {
        filter.0.iter().any(|condition| self.ways(&path(fields, condition)).is_empty())
    }

    /// The filter, exactly.
    pub fn clauses(&self, filter: &Filter, fields: &FieldNames) -> Clauses {
        all(filter, |condition| {
            let ways = self.ways(&path(fields, condition));
            let clauses = ways.iter().filter_map(|way| {
                let clause = clause(&way.path, way.form, condition)?;
                Some(if way.indexes.len() == self.0.len() { clause } else { within(&way.indexes, &clause) })
            });
            clauses.collect()
        })
    }

    /// In which ways a field can be matched exactly, each once, and in which indexes.
    fn ways(&self, path: &str) -> Vec<Way<'_>> {
        let mut ways: Vec<Way<'_>> = Vec::new();
        for (index, mapping) in &self.0 {
            let Some((path, form)) = way(mapping, path) else { continue };
            match ways.iter_mut().find(|way| way.path == path && way.form == form) {
                Some(way) => way.indexes.push(index),
                None => ways.push(Way { path, form, indexes: vec![index] }),
            }
        }
        ways
    }
}

/// A clause for some of the indexes alone. In another one the same name may be that of an analysed text,
/// which has words and not values, and there it would let through what the filter keeps out.
fn within(indexes: &[&str], clause: &Value) -> Value {
    json!({ "bool": { "filter": [{ "terms": { "_index": indexes } }, clause] } })
}

/// The filter where the server does not show its mapping: strings under the name that dynamic mappings
/// give their exact form. Other kinds of values are not found then.
pub fn guessed(filter: &Filter, fields: &FieldNames) -> Clauses {
    all(filter, |condition| {
        let keyword = format!("{}.keyword", path(fields, condition));
        clause(&keyword, Form::Any, condition).into_iter().collect()
    })
}

fn all(filter: &Filter, ways: impl Fn(&Condition) -> Vec<Value>) -> Clauses {
    let mut clauses = Vec::new();
    for condition in &filter.0 {
        let Some(clause) = one_of(ways(condition)) else { return Clauses::Nothing };
        clauses.push(clause);
    }
    Clauses::All(clauses)
}

/// One of these must hold; `None` where there are none.
fn one_of(mut clauses: Vec<Value>) -> Option<Value> {
    match clauses.len() {
        0 | 1 => clauses.pop(),
        _ => Some(json!({ "bool": { "should": clauses, "minimum_should_match": 1 } })),
    }
}

fn path(fields: &FieldNames, condition: &Condition) -> String {
    format!("{}.{}", fields.metadata, condition.field)
}

fn clause(path: &str, form: Form, condition: &Condition) -> Option<Value> {
    let values: Vec<&String> = condition.any_of.iter().filter(|value| form.fits(value)).collect();
    if form == Form::Date {
        // The one way to ask in which what is no date finds nothing instead of failing the search.
        let dates = values.iter().map(|day| json!({ "match": { path: { "query": day, "lenient": true } } }));
        return one_of(dates.collect());
    }
    (!values.is_empty()).then(|| json!({ "terms": { path: values } }))
}

impl Form {
    fn fits(self, value: &str) -> bool {
        match self {
            Form::Any => true,
            Form::Whole(least, most) => {
                value.parse::<i128>().is_ok_and(|number| (least..=most).contains(&number))
            }
            Form::Decimal(most) => value.parse::<f64>().is_ok_and(|number| number.abs() <= most),
            Form::Boolean => matches!(value, "true" | "false"),
            Form::Date => value.starts_with(|c: char| c.is_ascii_digit()),
        }
    }
}

/// Walks a mapping down a path, to the name and the form of what is there.
fn way(mapping: &Value, path: &str) -> Option<(String, Form)> {
    let mut field = mapping;
    for name in path.split('.') {
        if field["type"] == "flat_object" {
            return Some((path.to_owned(), Form::Any));
        }
        field = field.get("properties")?.get(name)?;
    }
    let form = match field["type"].as_str()? {
        "keyword" | "constant_keyword" | "wildcard" | "version" => Form::Any,
        "long" => Form::Whole(i64::MIN.into(), i64::MAX.into()),
        "integer" => Form::Whole(i32::MIN.into(), i32::MAX.into()),
        "short" => Form::Whole(i16::MIN.into(), i16::MAX.into()),
        "byte" => Form::Whole(i8::MIN.into(), i8::MAX.into()),
        "unsigned_long" => Form::Whole(0, u64::MAX.into()),
        "double" | "scaled_float" => Form::Decimal(f64::MAX),
        "float" => Form::Decimal(f32::MAX.into()),
        "half_float" => Form::Decimal(65_504.0),
        "boolean" => Form::Boolean,
        "date" | "date_nanos" => Form::Date,
        // A text's exact form, where it has one.
        _ => {
            let forms = field.get("fields")?.as_object()?;
            let (name, _) = forms.iter().find(|(_, form)| form["type"] == "keyword")?;
            return Some((format!("{path}.{name}"), Form::Any));
        }
    };
    Some((path.to_owned(), form))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> FieldNames {
        FieldNames { text: "text".into(), vector: "vector_field".into(), metadata: "metadata".into() }
    }

    fn filter(conditions: &[(&str, &[&str])]) -> Filter {
        let condition = |(field, values): &(&str, &[&str])| Condition {
            field: (*field).to_owned(),
            any_of: values.iter().map(|value| (*value).to_owned()).collect(),
        };
        Filter(conditions.iter().map(condition).collect())
    }

    /// As OpenSearch makes it by itself of what LangChain indexes, and some that people make.
    fn mappings(metadata: &Value) -> Mappings {
        let index = json!({ "docs": { "mappings": { "properties": { "metadata": metadata } } } });
        Mappings::read(index.as_object().unwrap().clone())
    }

    fn dynamic() -> Mappings {
        let text = json!({"type": "text", "fields": {"keyword": {"type": "keyword", "ignore_above": 256}}});
        mappings(&json!({ "properties": {
            "lang": text, "page": {"type": "long"}, "ok": {"type": "boolean"}, "weight": {"type": "float"},
            "day": {"type": "date"}, "bare": {"type": "text"}, "owner": {"properties": {"team": text}},
        } }))
    }

    fn check(conditions: &[(&str, &[&str])], expected: Value) {
        let clauses = dynamic().clauses(&filter(conditions), &fields());
        assert_eq!(clauses, Clauses::All(vec![expected]));
    }

    #[test]
    fn each_kind_of_field_is_matched_by_its_exact_form() {
        check(&[("lang", &["en", "fr"])], json!({"terms": {"metadata.lang.keyword": ["en", "fr"]}}));
        check(&[("owner.team", &["a"])], json!({"terms": {"metadata.owner.team.keyword": ["a"]}}));
        check(&[("page", &["3", "x"])], json!({"terms": {"metadata.page": ["3"]}}));
        check(&[("weight", &["0.5"])], json!({"terms": {"metadata.weight": ["0.5"]}}));
        check(&[("ok", &["true", "yes"])], json!({"terms": {"metadata.ok": ["true"]}}));
        let day = |day: &str| json!({"match": {"metadata.day": {"query": day, "lenient": true}}});
        check(&[("day", &["2024-01-01", "soon"])], day("2024-01-01"));
        check(
            &[("day", &["2024-01-01", "3 May"])],
            json!({"bool": {"should": [day("2024-01-01"), day("3 May")], "minimum_should_match": 1}}),
        );
    }

    #[test]
    fn what_no_document_can_fulfil_finds_nothing_rather_than_everything() {
        for (field, value) in [("page", "x"), ("ok", "1"), ("bare", "word"), ("unknown", "x"), ("owner", "x")]
        {
            let wanted = filter(&[("lang", &["en"]), (field, &[value])]);
            assert_eq!(dynamic().clauses(&wanted, &fields()), Clauses::Nothing, "{field}");
        }
        assert!(dynamic().lack(&filter(&[("unknown", &["x"])]), &fields()));
        assert!(!dynamic().lack(&filter(&[("lang", &["x"])]), &fields()));
    }

    #[test]
    fn a_number_that_its_field_cannot_hold_is_not_asked_for() {
        for (kind, held, not) in [
            ("byte", "-128", "128"),
            ("short", "32767", "32768"),
            ("integer", "2147483647", "99999999999"),
            ("long", "-9223372036854775808", "9223372036854775808"),
            ("unsigned_long", "18446744073709551615", "-1"),
            ("half_float", "65504", "65536"),
            ("float", "3e38", "1e39"),
            ("double", "1e308", "1e309"),
        ] {
            let field = mappings(&json!({ "properties": { "n": { "type": kind } } }));
            let clauses = field.clauses(&filter(&[("n", &[held, not, "NaN"])]), &fields());
            assert_eq!(clauses, Clauses::All(vec![json!({"terms": {"metadata.n": [held]}})]), "{kind}");
        }
    }

    #[test]
    fn a_flat_object_is_matched_by_its_path() {
        let flat = mappings(&json!({"type": "flat_object"}));
        let clauses = flat.clauses(&filter(&[("owner.team", &["a"])]), &fields());
        assert_eq!(clauses, Clauses::All(vec![json!({"terms": {"metadata.owner.team": ["a"]}})]));
    }

    #[test]
    fn indexes_that_disagree_are_matched_each_in_its_way_and_only_there() {
        let index = |n: Value| json!({"mappings": {"properties": {"metadata": {"properties": {"n": n}}}}});
        let (keyword, text) = (json!({"type": "keyword"}), json!({"type": "text"}));
        let with_keyword = json!({"type": "text", "fields": {"keyword": {"type": "keyword"}}});
        let clauses = |indexes: Value| {
            let all = Mappings::read(indexes.as_object().unwrap().clone());
            all.clauses(&filter(&[("n", &["7"])]), &fields())
        };
        let terms = |path: &str| json!({"terms": {path: ["7"]}});
        let only = |index: &str, path: &str| within(&[index], &terms(path));
        assert_eq!(
            clauses(json!({"a": index(with_keyword), "b": index(keyword.clone())})),
            Clauses::All(vec![json!({"bool": {"minimum_should_match": 1,
                "should": [only("a", "metadata.n.keyword"), only("b", "metadata.n")]}})])
        );
        // What cannot be matched exactly in one index is not matched by its words there.
        assert_eq!(
            clauses(json!({"a": index(text), "b": index(keyword.clone())})),
            Clauses::All(vec![only("b", "metadata.n")])
        );
        assert_eq!(
            clauses(json!({"a": index(keyword.clone()), "b": index(keyword)})),
            Clauses::All(vec![terms("metadata.n")])
        );
    }

    #[test]
    fn without_a_mapping_only_exact_strings_are_found() {
        let clauses = guessed(&filter(&[("lang", &["en"])]), &fields());
        assert_eq!(clauses, Clauses::All(vec![json!({"terms": {"metadata.lang.keyword": ["en"]}})]));
        assert_eq!(guessed(&Filter::default(), &fields()), Clauses::All(vec![]));
    }
}
