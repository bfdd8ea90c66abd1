SELECT "host", "recording",
       CASE WHEN "row" = 0 THEN 0 ELSE CAST(power(2, "row") AS BIGINT) END AS "low",
       CAST(power(2, "row" + 1) AS BIGINT) - 1 AS "high",
       count(*) AS "count"
FROM (SELECT "host", "recording", @power_of_two(@div("wait", 1000)) AS "row"
      FROM "runq" WHERE "wait" >= 0) AS waits
GROUP BY "host", "recording", "row"
