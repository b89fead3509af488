"""The page of a run on boreholes or other tables."""

from variolite.corelogs.report.corelogs_page import table_page as table_page
