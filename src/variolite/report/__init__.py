"""The report's toolkit, below the fields: style, figures, tables and one page template."""
