SELECT "host", "recording", "comm", "sig", "target_comm", "result", count(*) AS "count"
FROM "signal"
GROUP BY "host", "recording", "comm", "sig", "target_comm", "result"
