SELECT "host", "recording", "table", "reason", CAST(sum("count") AS BIGINT) AS "count",
       min("ts") AS "start", max("end") AS "end"
FROM "loss"
GROUP BY "host", "recording", "table", "reason"
UNION ALL
SELECT "host", "recording", "table", 'segment unfinished' AS "reason",
       CAST(sum("rows") AS BIGINT) AS "count", @bigint_null() AS "start", @bigint_null() AS "end"
FROM "left_out"
GROUP BY "host", "recording", "table"
