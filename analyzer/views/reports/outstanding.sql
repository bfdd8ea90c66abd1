WITH events AS (
    -- What happens at one instant: memory begins, blocks are freed, blocks are allocated, processes end.
    SELECT "host", "recording", 'heap' AS "kind", "pid", "ts", 0 AS "order", 0 AS "executed",
           @bigint_null() AS "address", "ts" AS "called", @bigint_null() AS "bytes",
           @bigint_null() AS "stands_for", @bigint_null() AS "stack", @int_null() AS "tid"
    FROM "fork"
    UNION ALL
    SELECT "host", "recording", 'heap' AS "kind", "pid", "ts", 0 AS "order", 1 AS "executed",
           @bigint_null() AS "address", "ts" AS "called", @bigint_null() AS "bytes",
           @bigint_null() AS "stands_for", @bigint_null() AS "stack", @int_null() AS "tid"
    FROM "exec"
    UNION ALL
    SELECT "host", "recording", 'heap' AS "kind", "pid", "ts", 3 AS "order", 0 AS "executed",
           @bigint_null() AS "address", "ts" AS "called", @bigint_null() AS "bytes",
           @bigint_null() AS "stands_for", @bigint_null() AS "stack", @int_null() AS "tid"
    FROM "exit" WHERE "process_ended"
    UNION ALL
    SELECT "host", "recording", 'heap' AS "kind", "pid", "ts", 1 AS "order", 0 AS "executed",
           "address", "ts" AS "called", @bigint_null() AS "bytes",
           @bigint_null() AS "stands_for", @bigint_null() AS "stack", "tid"
    FROM "alloc" WHERE "function" IN (11, 12) AND "address" IS NOT NULL
    UNION ALL
    -- The old block of a realloc was freed at some time since the call, and another thread may have it.
    SELECT "host", "recording", 'heap' AS "kind", "pid", "ts", 1 AS "order", 0 AS "executed",
           "old" AS "address", "ts" - greatest(coalesce("duration", 0), 0) AS "called", @bigint_null() AS "bytes",
           @bigint_null() AS "stands_for", @bigint_null() AS "stack", "tid"
    FROM "alloc"
    WHERE "function" < 11 AND "old" IS NOT NULL AND ("address" IS NOT NULL OR "bytes" = 0)
    UNION ALL
    SELECT "host", "recording", 'heap' AS "kind", "pid", "ts", 2 AS "order", 0 AS "executed",
           "address", "ts" AS "called", coalesce("bytes", 0) AS "bytes",
           "stands_for", "stack", "tid"
    FROM "alloc" WHERE "function" < 11 AND "address" IS NOT NULL
), kernel AS (
    -- The kernel's memory is one, whoever allocates: it has no process as its space.
    SELECT "host", "recording", CASE WHEN "kind" = 0 THEN 'slab' ELSE 'percpu' END AS "kind", "pid", "ts",
           CASE WHEN "free" THEN 1 ELSE 2 END AS "order", "address",
           coalesce("bytes", "requested", 0) AS "bytes", "stack", "tid"
    FROM "kalloc" WHERE "kind" IN (0, 2)
), spaces AS (
    SELECT *,
           sum(CASE WHEN "order" = 0 THEN 1 ELSE 0 END)
               OVER (PARTITION BY "host", "recording", "pid" ORDER BY "ts", "order"
                     ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
           + coalesce(sum(CASE WHEN "order" = 3 THEN 1 ELSE 0 END)
               OVER (PARTITION BY "host", "recording", "pid" ORDER BY "ts", "order"
                     ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS "space"
    FROM events
), ended AS (
    -- Memory that exec replaced: what was in it is not outstanding.
    SELECT DISTINCT "host", "recording", "pid", "space" - 1 AS "space" FROM spaces WHERE "executed" = 1
), blocks AS (
    SELECT "host", "recording", "kind", "pid", "tid", "ts", "order", "address", "bytes", "stands_for",
           "stack", "space",
           max("called") OVER (PARTITION BY "host", "recording", "pid", "space", "address"
                               ORDER BY "ts", "order"
                               ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING) AS "gone"
    FROM spaces WHERE "address" IS NOT NULL
), kernel_blocks AS (
    SELECT *, max("ts") OVER (PARTITION BY "host", "recording", "kind", "address" ORDER BY "ts", "order"
                              ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING) AS "gone"
    FROM kernel
)
SELECT b."host", b."recording", b."kind", b."ts", b."pid", b."tid", b."address", b."bytes",
       b."stands_for", b."stack"
FROM blocks AS b LEFT JOIN ended AS e
  ON e."host" = b."host" AND e."recording" = b."recording" AND e."pid" = b."pid" AND e."space" = b."space"
WHERE b."order" = 2 AND (b."gone" IS NULL OR b."gone" < b."ts") AND e."pid" IS NULL
UNION ALL
SELECT "host", "recording", "kind", "ts", "pid", "tid", "address", "bytes", @bigint_null() AS "stands_for", "stack"
FROM kernel_blocks
WHERE "order" = 2 AND "gone" IS NULL
