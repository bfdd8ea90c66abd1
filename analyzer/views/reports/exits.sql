SELECT "host", "recording", "comm", "code", "signal", count(*) AS "count",
       CAST(sum("duration") AS BIGINT) AS "duration",
       CAST(sum("user") AS BIGINT) AS "user",
       CAST(sum("system") AS BIGINT) AS "system",
       max("max_rss") AS "max_rss"
FROM "exit"
WHERE "process_ended"
GROUP BY "host", "recording", "comm", "code", "signal"
