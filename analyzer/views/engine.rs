//! What the engines call differently.
//!
//! A view is defined once, in the words that all engines share. Where their words differ, the definition
//! has one of ours instead, such as `@div(a, b)`; it is the only place that knows what an engine makes
//! of it. Names of columns stand in double quotes, since many are words of SQL (`end`, `user`).

use clap::ValueEnum;
use lookback_schemas::Type;

/// A program that answers SQL from Parquet files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// DuckDB.
    Duckdb,
    /// Apache DataFusion.
    Datafusion,
    /// Apache Spark, 3.5 and newer.
    Spark,
}

impl Engine {
    /// Every engine.
    pub const ALL: [Engine; 3] = [Engine::Duckdb, Engine::Datafusion, Engine::Spark];

    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Engine::Duckdb => "DuckDB",
            Engine::Datafusion => "DataFusion",
            Engine::Spark => "Spark",
        }
    }

    /// The name of a view or a column.
    #[must_use]
    pub fn identifier(self, name: &str) -> String {
        match self {
            Engine::Duckdb | Engine::Datafusion => format!("\"{name}\""),
            Engine::Spark => format!("`{name}`"),
        }
    }

    /// A text.
    #[must_use]
    pub fn quoted(self, text: &str) -> String {
        let quoted = match self {
            Engine::Duckdb | Engine::Datafusion => text.replace('\'', "''"),
            // `$` would begin a variable, within texts too.
            Engine::Spark => {
                text.replace('\\', "\\\\").replace('\'', "\\'").replace('$', "\\u0024")
            }
        };
        format!("'{quoted}'")
    }

    /// An unknown value of this type.
    #[must_use]
    pub fn null(self, ty: Type) -> String {
        let name = match (ty, self) {
            (Type::I16, _) => "SMALLINT",
            (Type::I32, _) => "INT",
            (Type::I64, _) => "BIGINT",
            (Type::Bool, _) => "BOOLEAN",
            (Type::Text, Engine::Duckdb | Engine::Datafusion) => "VARCHAR",
            (Type::Text, Engine::Spark) => "STRING",
            (Type::Texts, Engine::Duckdb) => "VARCHAR[]",
            (Type::I64s, Engine::Duckdb) => "BIGINT[]",
            (Type::Texts, Engine::Spark) => "ARRAY<STRING>",
            (Type::I64s, Engine::Spark) => "ARRAY<BIGINT>",
            (Type::Texts, Engine::Datafusion) => {
                return "arrow_cast(NULL, 'List(Utf8)')".to_owned();
            }
            (Type::I64s, Engine::Datafusion) => {
                return "arrow_cast(NULL, 'List(Int64)')".to_owned();
            }
        };
        format!("CAST(NULL AS {name})")
    }

    /// The beginning of a statement that makes a view. Spark keeps no lasting view of files.
    #[must_use]
    pub fn create_view(self) -> &'static str {
        match self {
            Engine::Duckdb | Engine::Datafusion => "CREATE OR REPLACE VIEW",
            Engine::Spark => "CREATE OR REPLACE TEMPORARY VIEW",
        }
    }

    /// What the engine calls one of our words, with these arguments.
    fn word(self, word: &str, arguments: &[String]) -> Option<String> {
        Some(match (word, arguments) {
            // Whole numbers, rounded down.
            ("div", [a, b]) => match self {
                Engine::Duckdb => format!("(({a}) // ({b}))"),
                Engine::Datafusion => format!("(({a}) / ({b}))"),
                Engine::Spark => format!("(({a}) DIV ({b}))"),
            },
            // The largest power of two that is not above a number; 0 below 2. The logarithms of DuckDB
            // and DataFusion are exact for numbers up to 2^47; Spark's is not.
            ("power_of_two", [n]) => {
                let log = match self {
                    Engine::Duckdb | Engine::Datafusion => {
                        format!("CAST(floor(log2(CAST({n} AS DOUBLE))) AS BIGINT)")
                    }
                    Engine::Spark => format!("length(bin({n})) - 1"),
                };
                format!("(CASE WHEN {n} < 2 THEN 0 ELSE {log} END)")
            }
            ("hex", [n]) => match self {
                Engine::Duckdb => format!("lower(to_hex({n}))"),
                Engine::Datafusion => format!("to_hex({n})"),
                Engine::Spark => format!("lower(hex({n}))"),
            },
            ("real", [n]) => format!("CAST({n} AS DOUBLE)"),
            ("text_null", []) => self.null(Type::Text),
            ("bigint_null", []) => self.null(Type::I64),
            ("int_null", []) => self.null(Type::I32),
            // The frames of stacks with their places, the innermost at 0.
            ("stack_frames", []) => {
                let columns = "\"host\", \"recording\", \"id\" AS \"stack\", \"truncated\"";
                match self {
                    Engine::Duckdb => format!(
                        "SELECT {columns}, unnest(range(len(\"frames\"))) AS \"place\", \
                         unnest(\"frames\") AS \"frame\" FROM \"stack\""
                    ),
                    Engine::Datafusion => format!(
                        "SELECT {columns}, unnest(range(0, CAST(cardinality(\"frames\") AS BIGINT))) AS \
                         \"place\", unnest(\"frames\") AS \"frame\" FROM \"stack\""
                    ),
                    Engine::Spark => format!(
                        "SELECT {columns}, CAST(\"at\" AS BIGINT) AS \"place\", \"frame\" FROM \"stack\" \
                         LATERAL VIEW posexplode(\"frames\") AS \"at\", \"frame\""
                    ),
                }
            }
            // Texts of a group, joined in the order of a number.
            ("joined", [text, separator, order]) => match self {
                Engine::Duckdb | Engine::Datafusion => {
                    format!("string_agg({text}, {separator} ORDER BY {order})")
                }
                Engine::Spark => format!(
                    "array_join(transform(array_sort(collect_list(struct({order} AS o, {text} AS t))), \
                     x -> x.t), {separator})"
                ),
            },
            _ => return None,
        })
    }

    /// A definition in the words of the engine.
    ///
    /// # Panics
    /// If the definition has a word that there is not: each is tried for each engine by a test.
    #[must_use]
    pub fn spell(self, definition: &str) -> String {
        let text = self.replace_words(definition);
        match self {
            Engine::Duckdb | Engine::Datafusion => text,
            Engine::Spark => text.replace('"', "`"),
        }
    }

    fn replace_words(self, text: &str) -> String {
        let Some((before, rest)) = text.split_once('@') else { return text.to_owned() };
        let (word, rest) = rest.split_once('(').expect("a word has its arguments in parentheses");
        let (mut depth, mut begin, mut arguments) = (0, 0, Vec::new());
        for (place, byte) in rest.bytes().enumerate() {
            let ends = match byte {
                b'(' => {
                    depth += 1;
                    false
                }
                b')' => {
                    depth -= 1;
                    depth < 0
                }
                b',' => depth == 0,
                _ => false,
            };
            if !ends {
                continue;
            }
            let argument = rest[begin..place].trim();
            if !(argument.is_empty() && arguments.is_empty()) {
                arguments.push(self.replace_words(argument));
            }
            begin = place + 1;
            if byte == b')' {
                break;
            }
        }
        let spelled = self.word(word, &arguments).expect("a definition has only words of ours");
        format!("{before}{spelled}{}", self.replace_words(&rest[begin..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_spelled_wherever_they_stand() {
        let spelled = |text| Engine::ALL.map(|engine| engine.spell(text));
        assert_eq!(
            spelled("a + @div(\"x\" - f(1, 2), @div(y, 3)) + 1"),
            [
                "a + ((\"x\" - f(1, 2)) // (((y) // (3)))) + 1",
                "a + ((\"x\" - f(1, 2)) / (((y) / (3)))) + 1",
                "a + ((`x` - f(1, 2)) DIV (((y) DIV (3)))) + 1",
            ]
        );
        assert_eq!(Engine::Duckdb.spell("@text_null()"), "CAST(NULL AS VARCHAR)");
    }

    #[test]
    fn texts_end_where_they_should() {
        let quoted = |text| Engine::ALL.map(|engine| engine.quoted(text));
        assert_eq!(quoted("it's"), ["'it''s'", "'it''s'", "'it\\'s'"]);
        assert_eq!(quoted("\\'$"), ["'\\''$'", "'\\''$'", "'\\\\\\'\\u0024'"]);
    }
}
