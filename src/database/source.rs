//! The `rows` argument of DATABASE_WRITER, read into [`SourceTable`]s.
//!
//! Taken are tables as `pdf_extract` gives them, records (objects), and rows (lists) beside `headers`.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::{Provenance, SourceTable};

/// Most tables of one item.
pub const TABLES_MAX: usize = 10_000;

/// Reads `rows`: a list of tables, one table, a whole extraction (`{tables: […]}`), or a list of records.
///
/// # Errors
/// One sentence that names the place and what is taken.
pub fn tables_from_rows(value: &Value) -> Result<Vec<SourceTable>, String> {
    match value {
        Value::Array(list) => from_list(list),
        Value::Object(object) if object.get("rows").is_some_and(Value::is_array) => {
            Ok(vec![from_table(object, "rows")?])
        }
        Value::Object(object) => match object.get("tables") {
            Some(Value::Array(list)) => from_list(list),
            _ => Ok(vec![from_records(&[object])]),
        },
        other => Err(format!("`rows` is {}; hint: give a list of tables or of records", kind(other))),
    }
}

/// Reads a list of lists with its headers given separately; the lists become one table.
///
/// # Errors
/// One sentence that names the place and what is taken.
pub fn table_from_lists(headers: &[String], rows: &Value) -> Result<SourceTable, String> {
    let rows = rows.as_array().ok_or_else(|| format!("`rows` is {}; hint: give a list of lists", kind(rows)))?;
    Ok(SourceTable { headers: headers.to_vec(), rows: cells(rows, "rows")?, provenance: Provenance::default() })
}

fn from_list(list: &[Value]) -> Result<Vec<SourceTable>, String> {
    let Some(first) = list.first() else { return Ok(Vec::new()) };
    let Value::Object(object) = first else {
        return Err(match first {
            Value::Array(_) => {
                "`rows` is a list of lists without column names; hint: give `{headers: […], rows: [[…]]}`, \
                                or a list of objects"
                    .into()
            }
            other => format!("`rows[0]` is {}; hint: give a list of tables or of records", kind(other)),
        });
    };
    let is_table = object.get("rows").is_some_and(Value::is_array);
    let mut objects = Vec::with_capacity(list.len());
    for (at, value) in list.iter().enumerate() {
        let object = value.as_object().ok_or_else(|| {
            format!("`rows[{at}]` is {}, the entries before it are objects; hint: give one kind", kind(value))
        })?;
        if object.get("rows").is_some_and(Value::is_array) != is_table {
            return Err(format!("`rows[{at}]` and `rows[0]` are not both tables or both records; hint: give one kind"));
        }
        objects.push(object);
    }
    if !is_table {
        return Ok(vec![from_records(&objects)]);
    }
    if objects.len() > TABLES_MAX {
        return Err(format!("`rows` has {} tables, at most {TABLES_MAX} are taken", objects.len()));
    }
    objects.iter().enumerate().map(|(at, object)| from_table(object, &format!("rows[{at}]"))).collect()
}

/// One table with `headers` and `rows`, as `pdf_extract` gives it.
fn from_table(object: &Map<String, Value>, at: &str) -> Result<SourceTable, String> {
    let rows = object.get("rows").and_then(Value::as_array).ok_or_else(|| format!("`{at}.rows` is no list"))?;
    if let Some(Value::Object(_)) = rows.first()
        && !object.contains_key("headers")
    {
        // A named group of records.
        let mut records = Vec::with_capacity(rows.len());
        for (number, row) in rows.iter().enumerate() {
            records
                .push(row.as_object().ok_or_else(|| format!("`{at}.rows[{number}]` is {}, not a record", kind(row)))?);
        }
        let mut table = from_records(&records);
        table.provenance = provenance(object);
        return Ok(table);
    }
    let header_rows = match object.get("header_rows") {
        None | Some(Value::Null) => 0,
        Some(number) => number
            .as_u64()
            .and_then(|number| usize::try_from(number).ok())
            .ok_or_else(|| format!("`{at}.header_rows` is no whole number"))?,
    };
    let headers = match object.get("headers") {
        Some(Value::Array(headers)) => headers.iter().map(header).collect(),
        Some(Value::Null) | None => {
            return Err(format!("`{at}` has rows and no `headers`; hint: give the column names as `headers`"));
        }
        Some(other) => return Err(format!("`{at}.headers` is {}, not a list", kind(other))),
    };
    let rows = cells(rows.get(header_rows..).unwrap_or_default(), &format!("{at}.rows"))?;
    Ok(SourceTable { headers, rows, provenance: provenance(object) })
}

fn provenance(object: &Map<String, Value>) -> Provenance {
    let small = |name: &str| object.get(name).and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok());
    Provenance {
        file: object.get("file").and_then(Value::as_str).filter(|file| !file.is_empty()).map(str::to_owned),
        page: small("page"),
        table: small("table"),
        confidence: object.get("confidence").and_then(Value::as_f64).filter(|number| number.is_finite()),
    }
}

fn header(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn cells(rows: &[Value], at: &str) -> Result<Vec<Vec<Value>>, String> {
    rows.iter()
        .enumerate()
        .map(|(number, row)| {
            row.as_array().cloned().ok_or_else(|| format!("`{at}[{number}]` is {}, not a list of cells", kind(row)))
        })
        .collect()
}

/// Records have the union of their keys as headers, in the order in which they are first seen.
fn from_records(records: &[&Map<String, Value>]) -> SourceTable {
    let mut headers: Vec<String> = Vec::new();
    let mut place: HashMap<&str, usize> = HashMap::new();
    for record in records {
        for key in record.keys() {
            place.entry(key).or_insert_with(|| {
                headers.push(key.clone());
                headers.len() - 1
            });
        }
    }
    let rows = records
        .iter()
        .map(|record| {
            let mut row = vec![Value::Null; headers.len()];
            for (key, value) in *record {
                row[place[key.as_str()]] = value.clone();
            }
            row
        })
        .collect();
    SourceTable { headers, rows, provenance: Provenance::default() }
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tables_of_a_pdf_lose_their_header_rows_and_keep_their_place() {
        let table = crate::pdf::Table {
            page: 3,
            table: 2,
            file: "a.pdf".into(),
            rows: vec![vec!["A".into(), "B".into()], vec!["1".into(), "x".into()]],
            headers: vec!["A".into(), "B".into()],
            header_rows: 1,
            confidence: 0.5,
            title: None,
        };
        let tables = tables_from_rows(&json!([table])).unwrap();
        assert_eq!(
            tables,
            [SourceTable {
                headers: vec!["A".into(), "B".into()],
                rows: vec![vec![json!("1"), json!("x")]],
                provenance: Provenance {
                    file: Some("a.pdf".into()),
                    page: Some(3),
                    table: Some(2),
                    confidence: Some(0.5)
                },
            }]
        );
        assert_eq!(tables_from_rows(&json!({ "tables": [table], "pages": 1 })).unwrap(), tables);
    }

    #[test]
    fn records_have_the_union_of_their_keys() {
        let tables = tables_from_rows(&json!([{"b": 1, "a": "x"}, {"c": [2], "b": null}])).unwrap();
        assert_eq!(tables.len(), 1);
        assert_eq!(tables[0].headers, ["b", "a", "c"]);
        assert_eq!(
            tables[0].rows,
            [vec![json!(1), json!("x"), json!(null)], vec![json!(null), json!(null), json!([2])]]
        );
    }

    #[test]
    fn lists_need_headers() {
        let tables = tables_from_rows(&json!({"headers": ["a", 2], "rows": [[1, 2]]})).unwrap();
        assert_eq!(tables[0].headers, ["a", "2"]);
        assert_eq!(table_from_lists(&["a".into()], &json!([[1]])).unwrap().rows, [vec![json!(1)]]);
        assert!(tables_from_rows(&json!([[1, 2]])).unwrap_err().contains("headers"));
    }

    #[test]
    fn rubbish_is_refused_with_its_place() {
        for (value, part) in [
            (json!(null), "`rows` is null"),
            (json!("x"), "`rows` is a text"),
            (json!([1]), "`rows[0]` is a number"),
            (json!([{"a": 1}, 2]), "`rows[1]` is a number"),
            (json!([{"headers": ["a"], "rows": []}, {"a": 1}]), "`rows[1]` and `rows[0]`"),
            (json!([{"headers": ["a"], "rows": [[1], {"a": 1}]}]), "`rows[0].rows[1]` is an object"),
            (json!([{"rows": [[1]]}]), "no `headers`"),
            (json!([{"headers": "a", "rows": [[1]]}]), "`rows[0].headers` is a text"),
        ] {
            let message = tables_from_rows(&value).unwrap_err();
            assert!(message.contains(part), "{value}: {message}");
        }
        assert_eq!(tables_from_rows(&json!([])).unwrap(), []);
    }
}
