SELECT "host", "recording", "ts", "pid", "comm", -"result" AS "errno", "path", "dir", "duration"
FROM "open"
WHERE "result" < 0
