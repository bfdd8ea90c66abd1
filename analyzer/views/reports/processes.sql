WITH events AS (
    SELECT "host", "recording", "pid", "ts", 0 AS "kind", "ts" AS "start", "ppid", "uid", "cgroup", "comm"
    FROM "fork"
    UNION ALL
    SELECT "host", "recording", "pid", "ts", 1 AS "kind", "start", "ppid", "uid", "cgroup", "comm" FROM "process"
    UNION ALL
    SELECT "host", "recording", "pid", "ts", 2 AS "kind", @bigint_null() AS "start", "ppid", "uid", "cgroup", "comm" FROM "exec"
    UNION ALL
    SELECT "host", "recording", "pid", "ts", 3 AS "kind", "start", "ppid", "uid", "cgroup", "comm" FROM "exit"
    WHERE "process_ended"
), placed AS (
    SELECT *, row_number() OVER of_pid AS "place",
           lag("kind") OVER of_pid AS "last_kind", lag("start") OVER of_pid AS "last_start"
    FROM events
    WINDOW of_pid AS (PARTITION BY "host", "recording", "pid" ORDER BY "ts", "kind")
), begun AS (
    -- A fork begins a process, and so does what comes after an end; but the snapshot at the start also
    -- finds processes that have ended and were not waited for.
    SELECT *, CASE WHEN "last_kind" IS NULL OR "kind" = 0 THEN 1
                   WHEN "last_kind" = 3 AND "kind" = 1 AND abs("start" - "last_start") > 100000000 THEN 1
                   WHEN "last_kind" = 3 AND "kind" <> 1 THEN 1
                   ELSE 0 END AS "begins"
    FROM placed
), grouped AS (
    SELECT *, sum("begins") OVER (PARTITION BY "host", "recording", "pid" ORDER BY "place") AS "run"
    FROM begun
), started AS (
    SELECT *, max(CASE WHEN "begins" = 1 AND "kind" < 2 THEN "start" END)
                  OVER (PARTITION BY "host", "recording", "pid", "run") AS "run_start"
    FROM grouped
), split AS (
    -- The end of another process, of which nothing else was seen.
    SELECT *, CASE WHEN "begins" = 1 THEN 1
                   WHEN "kind" = 3 AND abs("start" - "run_start") > 100000000 THEN 1
                   ELSE 0 END AS "first"
    FROM started
), lives AS (
    SELECT *, sum("first") OVER (PARTITION BY "host", "recording", "pid" ORDER BY "place") AS "life"
    FROM split
), known AS (
    SELECT *,
           max(CASE WHEN "uid" IS NOT NULL THEN "place" END) OVER life AS "uid_place",
           max(CASE WHEN "cgroup" IS NOT NULL THEN "place" END) OVER life AS "cgroup_place",
           max(CASE WHEN "comm" IS NOT NULL AND ("kind" <> 1 OR "first" = 1) THEN "place" END) OVER life
               AS "comm_place"
    FROM lives
    WINDOW life AS (PARTITION BY "host", "recording", "pid", "life")
), joined AS (
    SELECT "host", "recording", "pid",
           max(CASE WHEN "first" = 1 THEN "ppid" END) AS "ppid",
           max(CASE WHEN "place" = "uid_place" THEN "uid" END) AS "uid",
           coalesce(max(CASE WHEN "kind" = 3 THEN "start" END),
                    max(CASE WHEN "first" = 1 THEN "start" END)) AS "start",
           max(CASE WHEN "kind" = 3 THEN "ts" END) AS "end",
           max(CASE WHEN "place" = "comm_place" THEN "comm" END) AS "comm",
           max(CASE WHEN "place" = "cgroup_place" THEN "cgroup" END) AS "cgroup",
           max(CASE WHEN "kind" = 1 THEN "ts" END) AS "found",
           max(CASE WHEN "kind" = 2 THEN "ts" END) AS "executed"
    FROM known
    GROUP BY "host", "recording", "pid", "life"
)
SELECT j."host", j."recording", j."pid", j."ppid", j."uid", j."start", j."end",
       j."end" - j."start" AS "duration",
       x."user", x."system", x."max_rss", x."code", x."signal", x."core",
       j."comm",
       CASE WHEN e."pid" IS NULL THEN p."exe" ELSE e."filename" END AS "exe",
       CASE WHEN e."pid" IS NULL THEN p."argv" ELSE e."argv" END AS "argv",
       e."cwd", j."cgroup"
FROM joined AS j
LEFT JOIN "exit" AS x
  ON x."host" = j."host" AND x."recording" = j."recording" AND x."pid" = j."pid" AND x."ts" = j."end"
 AND x."process_ended"
LEFT JOIN "exec" AS e
  ON e."host" = j."host" AND e."recording" = j."recording" AND e."pid" = j."pid" AND e."ts" = j."executed"
LEFT JOIN "process" AS p
  ON p."host" = j."host" AND p."recording" = j."recording" AND p."pid" = j."pid" AND p."ts" = j."found"
