//! HTML as text: everything that comes from outside is escaped here and nowhere else.

/// For text and for attributes in double quotes.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // No character reference may stand for these.
            c if c.is_control() && c != '\n' && c != '\t' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A cell: numbers stand on the right.
pub(crate) enum Cell {
    Text(String),
    Number(u64),
}

/// A table with a heading, scrolled by itself where the page is too narrow for it. Empty without rows.
pub(crate) fn table(title: &str, headings: &[&str], rows: Vec<Vec<Cell>>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "<section>\n<h2>{}</h2>\n<div class=\"scroll\"><table>\n<tr>",
        escaped(title)
    );
    let numbers: Vec<bool> = rows[0]
        .iter()
        .map(|cell| matches!(cell, Cell::Number(_)))
        .collect();
    for (at, heading) in headings.iter().enumerate() {
        let class = if numbers.get(at) == Some(&true) {
            " class=\"n\""
        } else {
            ""
        };
        text.push_str(&format!("<th{class}>{}</th>", escaped(heading)));
    }
    text.push_str("</tr>\n");
    for row in rows {
        text.push_str("<tr>");
        for cell in row {
            text.push_str(&match cell {
                Cell::Text(cell) => format!("<td>{}</td>", escaped(&cell)),
                Cell::Number(number) => {
                    format!("<td class=\"n\">{}</td>", super::figures::grouped(number))
                }
            });
        }
        text.push_str("</tr>\n");
    }
    text.push_str("</table></div>\n</section>\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_is_markup() {
        assert_eq!(
            escaped("<script>\"&'\u{0}</script>"),
            "&lt;script&gt;&quot;&amp;&#39;\u{fffd}&lt;/script&gt;"
        );
        let rows = vec![vec![Cell::Text("<b>".to_owned()), Cell::Number(1_000)]];
        let table = table("<i>", &["<u>", "count"], rows);
        for markup in ["<b>", "<i>", "<u>"] {
            assert!(!table.contains(markup), "{table}");
        }
        assert!(table.contains("1,000"));
    }
}
