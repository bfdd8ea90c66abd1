SELECT "host", "recording", "number", "compat",
       CAST(sum("times") AS BIGINT) AS "count",
       CAST(sum("failed") AS BIGINT) AS "errors",
       coalesce(CAST(sum("duration" * "times") AS BIGINT), 0) AS "time",
       @real(sum("duration" * "times")) / max("all") AS "mean",
       min(CASE WHEN "passed" * 1000 >= "all" * 500 THEN "duration" END) AS "p50",
       min(CASE WHEN "passed" * 1000 >= "all" * 990 THEN "duration" END) AS "p99",
       max("duration") AS "max"
FROM (SELECT "host", "recording", "number", "compat", "duration", "times", "failed",
             sum(CASE WHEN "duration" IS NOT NULL THEN "times" END)
                 OVER (PARTITION BY "host", "recording", "number", "compat") AS "all",
             sum(CASE WHEN "duration" IS NOT NULL THEN "times" END)
                 OVER (PARTITION BY "host", "recording", "number", "compat" ORDER BY "duration" NULLS FIRST)
                 AS "passed"
      FROM (SELECT "host", "recording", "number", "compat", "duration", count(*) AS "times",
                   sum(CASE WHEN "result" BETWEEN -4095 AND -1 THEN 1 ELSE 0 END) AS "failed"
            FROM "syscall"
            GROUP BY "host", "recording", "number", "compat", "duration") AS counted) AS ranked
GROUP BY "host", "recording", "number", "compat"
