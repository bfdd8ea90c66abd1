SELECT "host", "recording", "pid",
       CAST(max("all") AS BIGINT) AS "count",
       CAST(sum("wait" * "times") AS BIGINT) AS "total",
       @real(sum("wait" * "times")) / max("all") AS "mean",
       min(CASE WHEN "passed" * 1000 >= "all" * 500 THEN "wait" END) AS "p50",
       min(CASE WHEN "passed" * 1000 >= "all" * 900 THEN "wait" END) AS "p90",
       min(CASE WHEN "passed" * 1000 >= "all" * 990 THEN "wait" END) AS "p99",
       min(CASE WHEN "passed" * 1000 >= "all" * 999 THEN "wait" END) AS "p99.9",
       max("wait") AS "max"
FROM (SELECT "host", "recording", "pid", "wait", "times",
             sum("times") OVER (PARTITION BY "host", "recording", "pid") AS "all",
             sum("times") OVER (PARTITION BY "host", "recording", "pid" ORDER BY "wait") AS "passed"
      FROM (SELECT "host", "recording", "pid", "wait", count(*) AS "times"
            FROM "runq" GROUP BY "host", "recording", "pid", "wait") AS counted) AS ranked
GROUP BY "host", "recording", "pid"
